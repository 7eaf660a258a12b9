"""What routing could gain on one table: every bound and reference with its interval, in figures.

Pure functions of outcome tables, nothing printed and nothing trained that ships. The words to these
figures are in `report.verdict`, their tables in `report.survey_tables`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routerlab import references, rivals, statistics
from routerlab.predictors import Floats, foretell, views_of
from routerlab.rewards import PRESETS, RelativeOutcomeReward
from routerlab.rivals import Scored, earned
from routerlab.types import OutcomeTable, Question

FEWEST = 20
"""With fewer questions nothing is cross-fitted: each fold would hold next to nothing."""
MOST_GROUPS = 40

Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Evidence:
    """All that is known of one split before any router is trained.

    Attributes:
        table: N questions under K+1 actions.
        replicates: the same questions with the options in other orders; the first one whole, the
            others of direct alone if they are there for the vote only.
        together: whether the answer with every tool's output is right [N], None if not asked.
        sounds: features of the clips [N, F], None if no sound was opened.
        of: how many questions there are, if the table is a random part of them.
    """

    table: OutcomeTable
    replicates: Sequence[OutcomeTable] = ()
    together: NDArray[np.bool_] | None = None
    sounds: Floats | None = None
    of: int = 0
    notes: Sequence[str] = field(default=())


def outlook(evidence: Evidence) -> dict[str, Any]:
    """The survey's figures of one split, in JSON's types."""
    table = evidence.table
    foretold, presets = _foretold(evidence)
    whole = next((r for r in evidence.replicates if r.actions == table.actions), None)
    scored = _policies(evidence, whole) | foretold
    return {
        "questions": len(table),
        "of": evidence.of or len(table),
        "policies": {name: _figures(it, scored["direct"]) for name, it in scored.items()},
        "tools": tools(table),
        "shares": greedy_shares(table),
        "groups": groups(table),
        "presets": presets,
        "flips": None if whole is None else references.flips(table, whole),
        "by_position": references.by_position(table),
        "by_length": references.by_length(table),
    }


# -- policies ---------------------------------------------------------------------------------


def _policies(evidence: Evidence, whole: OutcomeTable | None) -> dict[str, Scored]:
    table, confidence = evidence.table, references.margins(evidence.table)
    scored = {"direct": rivals.constant("direct", table, table.actions[0])}
    for name in table.actions[1:]:
        scored[f"tool.{name}"] = rivals.constant(name, table, name)
    scored["random"] = rivals.uniform(table)
    if len(table) >= FEWEST and len(table.actions) > 1:
        scored["best_tool"] = references.best_single(table)
        if confidence is not None:
            scored["cascade"] = references.cascade(table, confidence)
    if table.cells:
        scored["vote"] = references.vote(table)
    if evidence.replicates:
        scored["permutation_vote"] = references.permutation_vote(table, evidence.replicates)
    if evidence.together is not None:
        right = evidence.together.astype(np.float64)
        scored["all_outputs"] = Scored("all_outputs", right, np.ones(len(table)))
    scored["oracle"] = rivals.oracle(table)
    if whole is not None:
        scored["oracle_cross_fitted"] = _crossed(table, whole)
    return scored


def _crossed(table: OutcomeTable, again: OutcomeTable) -> Scored:
    """The cross-fitted oracle, each replicate chosen on and scored on once.

    Its direct is replicate 0's, so that its gain is that of the other oracle's scale.
    """
    one = statistics.oracle_cross_fitted(table, again) - statistics.direct(again)
    two = statistics.oracle_cross_fitted(again, table) - statistics.direct(table)
    right = statistics.direct(table) + (one + two) / 2
    called = (statistics.oracle_actions(table) > 0).astype(np.float64)
    return Scored("oracle_cross_fitted", right, called)


def _foretold(evidence: Evidence) -> tuple[dict[str, Scored], list[dict[str, Any]]]:
    """The predictors that act on features alone, and what each reward's own optimum would reach."""
    table = evidence.table
    if len(table) < FEWEST or len(table.actions) < 2:
        return {}, []
    right = earned(table)
    payoffs: dict[str, Any] = {"right": right.astype(np.float64)}
    payoffs |= {name: RelativeOutcomeReward(name)(right) for name in PRESETS}
    found = foretell(views_of(table.questions, evidence.sounds), payoffs)
    scored = {
        f"foretold.{view}": rivals.score(f"foretold.{view}", table, actions["right"])
        for view, actions in found.items()
    }
    best = max(scored, key=lambda name: scored[name].accuracy)
    chosen = found[best.removeprefix("foretold.")]
    scored["predictable"] = scored[best]
    presets = []
    for name in PRESETS:
        own = rivals.score(name, table, chosen[name])
        difference, low, high = paired_interval(scored[best].right, own.right)
        presets.append(
            {
                "reward": name,
                "accuracy": own.accuracy,
                "calls": own.call_rate,
                "given_away": difference,
                "ci95": [low, high],
                "sees": best.removeprefix("foretold."),
            }
        )
    return scored, presets


def _figures(scored: Scored, direct: Scored) -> dict[str, Any]:
    difference, low, high = paired_interval(scored.right, direct.right)
    return {
        "name": scored.name,
        "accuracy": scored.accuracy,
        "calls": scored.call_rate,
        "gain": difference,
        "ci95": [low, high],
    }


def paired_interval(a: NDArray[Any], b: NDArray[Any]) -> Interval:
    """Mean of `a - b` [N] with a 95 % interval that is honest for few questions too.

    Where both are 0 or 1: Agresti and Min (2005), half a question added to each of the four cells,
    so that ten questions without a difference do not say "none". Else the paired bootstrap.

    >>> [round(v, 3) for v in paired_interval(np.ones(10), np.ones(10))]
    [0.0, -0.163, 0.163]
    """
    one, two = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not len(one) or not all(np.isin(it, (0.0, 1.0)).all() for it in (one, two)):
        return statistics.paired_bootstrap(one, two)
    n = len(one) + 2.0
    plus, minus = ((one > two).sum() + 0.5) / n, ((one < two).sum() + 0.5) / n
    middle, wide = plus - minus, 1.96 * np.sqrt((plus + minus - (plus - minus) ** 2) / n)
    return float((one - two).mean()), float(middle - wide), float(middle + wide)


# -- tools ------------------------------------------------------------------------------------


def tools(table: OutcomeTable) -> dict[str, dict[str, Any]]:
    """Each tool forced on every question: what it fixes, breaks and leaves, and how sure that is.

    `only` counts questions that no other action gets right; `p` is McNemar's, Holm-adjusted over
    the tools.
    """
    counted = statistics.tool_counts(table)
    direct, right = statistics.direct(table), earned(table)
    p = [statistics.mcnemar(right[:, table.column(name)], direct) for name in counted]
    alone = right.sum(axis=1) == 1
    return {
        name: {
            "accuracy": float(right[:, table.column(name)].mean()) if len(table) else 0.0,
            "fix": it.fix,
            "break": it.break_,
            "redundant_right": it.redundant_right,
            "redundant_wrong": it.redundant_wrong,
            "failed": it.failed,
            "only": int((alone & right[:, table.column(name)]).sum()),
            "p": adjusted,
        }
        for (name, it), adjusted in zip(counted.items(), statistics.holm(p), strict=True)
    }


def greedy_shares(table: OutcomeTable) -> list[dict[str, Any]]:
    """Tools in the order in which they add most to what can be fixed, with the share so far.

    A share is of the questions that direct gets wrong and some tool right.
    """
    open_ = earned(table) & ~statistics.direct(table)[:, None]
    whole, taken, order = int(open_.any(axis=1).sum()), np.zeros(len(table), bool), []
    left = set(range(1, len(table.actions)))
    while whole and left and taken.sum() < whole:
        best = max(sorted(left), key=lambda c: int((open_[:, c] & ~taken).sum()))
        left.remove(best)
        taken |= open_[:, best]
        order.append({"tool": table.actions[best], "share": float(taken.sum()) / whole})
    return order


def groups(table: OutcomeTable) -> dict[str, dict[str, Any]]:
    """Fixes, breaks and redundant calls of each tool in each group of questions, largest first.

    Groups are categories; tasks where there are none, or too many.
    """
    of = _group(table)
    labels = np.array([of(q) for q in table.questions])
    names, sizes = np.unique(labels, return_counts=True)
    found: dict[str, dict[str, Any]] = {}
    for name in names[np.argsort(-sizes, kind="stable")][:MOST_GROUPS]:
        part = table.select(labels == name)
        counted = statistics.tool_counts(part)
        found[str(name) or "–"] = {
            "questions": len(part),
            "direct": statistics.share(statistics.direct(part)),
            "oracle": statistics.share(statistics.oracle_raw(part)),
            "tools": {
                tool: {"fix": it.fix, "break": it.break_, "redundant": it.redundant}
                for tool, it in counted.items()
            },
        }
    return found if len(found) > 1 else {}


def _group(table: OutcomeTable) -> Callable[[Question], str]:
    """The first way to group questions that gives neither one group nor very many."""
    for name in ("category", "task", "sub_category"):
        of = attrgetter(name)
        if 1 < len({of(q) for q in table.questions}) <= MOST_GROUPS:
            return of
    return attrgetter("category")


def gain(figures: Mapping[str, Any], name: str) -> Interval | None:
    """A policy's gain over direct with its interval, None where it has no figures."""
    it = figures["policies"].get(name)
    return None if it is None else (it["gain"], *it["ci95"])
