"""The trained router and all its rivals on the tables of a DataModule, and what follows from it.

Knows which rival needs what, and says in one line why a rival is missing. Statistics are in
`routerlab.report.evaluation`; nothing is trained, run or printed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from routerlab import rivals
from routerlab.data.module import RouterDataModule
from routerlab.errors import UserError
from routerlab.report.evaluation import Evaluation, crossed, verbatim
from routerlab.report.results import data_hash, keyword_traps
from routerlab.report.survey import survey_split
from routerlab.rewards import alignment_report
from routerlab.rivals import PredictableMap, Scored
from routerlab.routing import Probabilities, best_actions


def evaluate(
    datamodule: RouterDataModule,
    split: str,
    probabilities: Probabilities,
    controls: Mapping[str, Any],
) -> Evaluation:
    """The router and every rival on one split."""
    table, train = datamodule.tables[split], datamodule.tables.get("train")
    scored: dict[str, Scored] = {
        "direct": rivals.constant("direct", table, "direct"),
        "random": rivals.uniform(table),
        "keyword": rivals.keyword(table, datamodule.cards),
        "routed": rivals.score("routed", table, best_actions(probabilities)),
        "oracle": rivals.oracle(table),
    }
    missing: dict[str, str] = {}
    if train is not None:
        scored["best_tool"] = rivals.constant("best_tool", table, rivals.best_tool(train))
    else:
        missing["best_tool"] = "no train split to choose it on"
    if split in datamodule.together:
        right = datamodule.together[split].astype(np.float64)
        scored["all_outputs"] = Scored("all_outputs", right, np.ones(len(table)))
    else:
        missing["all_outputs"] = "all_outputs is off"
    for name in ("text", "no_audio", "prompted"):
        _add_control(name, datamodule, split, controls, scored, missing)
    try:
        scored["predictable"] = _predictable(datamodule, split)
    except UserError as error:
        missing["predictable"] = str(error).removeprefix("predictable: ")
    again = datamodule.replicates.get(split)
    return Evaluation(table, scored, missing, None if again is None else crossed(table, again))


def _add_control(
    name: str,
    datamodule: RouterDataModule,
    split: str,
    controls: Mapping[str, Any],
    scored: dict[str, Scored],
    missing: dict[str, str],
) -> None:
    actions = controls["actions"].get(name, {}).get(split)
    if actions is None:
        missing[name] = "not part of this run (data setting `controls`)"
    elif controls["data"] != data_hash(datamodule.files):
        missing[name] = "the run's own figures are of other questions"
    else:
        scored[name] = rivals.score(name, datamodule.tables[split], np.asarray(actions))


def _predictable(datamodule: RouterDataModule, split: str) -> Scored:
    best = PredictableMap.load()
    return best.policy(
        datamodule.tables[split],
        datamodule.truth(split),
        datamodule.lalm,
        datamodule.versions,
        shifted=split == "ood",
    )


def gate(datamodule: RouterDataModule) -> dict[str, Any]:
    """How much better than by its wording a question can be routed by its clip; {} without truth.

    Both policies know the best action of a group of questions; one groups them by latent cell, the
    other by wording, fitted once on `train` and once on the very table that the cells come from.
    """
    table, train = datamodule.tables.get("test"), datamodule.tables.get("train")
    if table is None or train is None or not datamodule.truth("test"):
        return {}
    try:
        by_cell = _predictable(datamodule, "test")
    except UserError as error:
        return {"why": str(error).removeprefix("predictable: ")}
    by_words = rivals.by_wording(train, table).accuracy
    wordings, keys = PredictableMap.load().wordings, rivals.wording_keys(table.questions)
    same = rivals.apply("", table, keys, wordings, rivals.best_overall(train)).accuracy
    return {
        "predictable": by_cell.accuracy,
        "by_wording": by_words,
        "by_wording_same_table": same,
        "gap": by_cell.accuracy - max(by_words, same),
    }


def findings(
    model: Any, datamodule: RouterDataModule, evaluation: Evaluation, routes: Probabilities
) -> dict[str, Any]:
    """What is looked into on `test` alone."""
    truth = datamodule.truth("test")
    return {
        "keyword_trap": keyword_traps(evaluation, truth, routes),
        "gold_verbatim": verbatim(evaluation.table),
        "break_rate": {
            name: tool["break_rate"]
            for name, tool in survey_split(evaluation.table)["tools"].items()
        },
        "alignment": _alignment(model, datamodule, truth),
    }


def _alignment(
    model: Any, datamodule: RouterDataModule, truth: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """What the reward gives away, for a router that sees the cell, or else the wording."""
    table = datamodule.tables["test"]
    if truth:
        sees = rivals.cell_keys(table.questions, truth)
    else:
        sees = rivals.wording_keys(table.questions)
    try:
        report = alignment_report(table, np.asarray(sees), {"recipe": model.reward})
    except UserError:  # too few questions to say anything
        return []
    return [asdict(line) for line in report]
