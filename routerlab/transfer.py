"""A trained router in front of other reasoners: what it learned of one, tried on the next.

The router's choices stay as they are; only who answers changes, so each reasoner costs one more
outcome table of `test`. Trains nothing.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console

from routerlab import rivals
from routerlab.data.module import RouterDataModule
from routerlab.data.progress import progress
from routerlab.data.tables import judged
from routerlab.reasoners.base import Reasoner
from routerlab.report import results as files
from routerlab.report.evaluation import Evaluation
from routerlab.report.tables import final_grid
from routerlab.rivals import Scored
from routerlab.routing import Probabilities, best_actions
from routerlab.types import OutcomeTable


def transferred(datamodule: RouterDataModule, routes: Probabilities) -> dict[str, Any]:
    """Evaluate the router's choices on `test` with every reasoner of the setting `transfer`.

    Prints a table each.

    Returns:
        {"transfer": reasoner's name -> what results hold of a split}; {} where there is none.
    """
    found = {}
    for name, reasoner in datamodule.transfer.items():
        evaluation = on(datamodule, reasoner, routes)
        final_grid(evaluation, f"test, answered by {name}").show(Console())
        lalm = str(reasoner.identity().get("model", ""))
        found[name] = {"lalm": lalm, **files.split_results(evaluation)}
    return {"transfer": found} if found else {}


def on(datamodule: RouterDataModule, reasoner: Reasoner, routes: Probabilities) -> Evaluation:
    """The router, and the rivals that need no training, before another reasoner.

    The best single tool is the one that was best with the reasoner that the router learned from.
    """
    table = answered_by(reasoner, datamodule, "test")
    scored: dict[str, Scored] = {
        "direct": rivals.constant("direct", table, "direct"),
        "random": rivals.uniform(table),
        "keyword": rivals.keyword(table, datamodule.cards),
        "routed": rivals.score("routed", table, best_actions(routes)),
        "oracle": rivals.oracle(table),
    }
    if train := datamodule.tables.get("train"):
        scored["best_tool"] = rivals.constant("best_tool", table, rivals.best_tool(train))
    return Evaluation(table, scored)


def answered_by(reasoner: Reasoner, datamodule: RouterDataModule, split: str) -> OutcomeTable:
    """A split's outcomes with the same tools and another reasoner; its counts go to the rest."""
    questions = datamodule.questions(split)
    cells = len(questions) * len(datamodule.actions)
    with progress(cells) as advance, datamodule.oracle(advance, reasoner) as oracle:
        table = judged(oracle.fill(questions, oracle.actions), datamodule.scorer)
        for name in datamodule.counters:
            datamodule.counters[name] += getattr(oracle.counters, name)
    return table
