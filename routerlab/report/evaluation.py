"""A trained router beside its rivals on one split: accuracy, calls, intervals, p-values.

Pure functions of outcome tables and of what each policy did on them. Nothing is trained, run or
printed here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routerlab import statistics
from routerlab.rivals import Scored, score
from routerlab.types import OutcomeTable

RIVALS: Mapping[str, str] = {
    "direct": "direct",
    "random": "random",
    "keyword": "keyword heuristic",
    "best_tool": "best single tool",
    "all_outputs": "all outputs at once",
    "text": "text router",
    "no_audio": "no-audio router",
    "prompted": "untrained prompted router",
    "predictable": "predictable",
    "routed": "trained router",
    "oracle": "oracle (raw)",
}
"""Key in results -> name in tables, in the order of the table."""


@dataclass(frozen=True)
class Comparison:
    """`a - b` on the same questions.

    Attributes:
        difference, low, high: mean difference of accuracy with its 95 % bootstrap interval.
        p: McNemar's exact p; None where a policy draws lots, since it takes right and wrong.
    """

    difference: float
    low: float
    high: float
    p: float | None


@dataclass(frozen=True)
class Evaluation:
    """What is known of one split.

    Attributes:
        scored: policy -> what it did; a policy without figures is in `missing` instead.
        missing: policy -> why it has no figures, in one line.
        cross_fitted: accuracy of the cross-fitted oracle, None if it was not computed.
    """

    table: OutcomeTable
    scored: Mapping[str, Scored]
    missing: Mapping[str, str] = field(default_factory=dict)
    cross_fitted: float | None = None

    def accuracy(self, name: str) -> float | None:
        """A policy's accuracy, None if it has no figures."""
        return self.scored[name].accuracy if name in self.scored else None

    def against(self, name: str) -> dict[str, Comparison]:
        """One policy minus each other one, and minus each single tool (`tool.NAME`)."""
        if name not in self.scored:
            return {}
        others = {k: v for k, v in self.scored.items() if k != name} | self.tools()
        return {other: compare(self.scored[name], it) for other, it in others.items()}

    def minus_direct(self) -> dict[str, Comparison]:
        """Each policy minus direct."""
        direct = self.scored["direct"]
        return {k: compare(it, direct) for k, it in self.scored.items() if k != "direct"}

    def tools(self) -> dict[str, Scored]:
        """Each tool, forced on every question."""
        table = self.table
        return {
            f"tool.{tool}": score(f"tool.{tool}", table, statistics.always(table, tool))
            for tool in table.actions[1:]
        }

    def headroom_closed(self) -> dict[str, float | None]:
        """(routed - direct) / (bound - direct) for each upper bound that is known."""
        direct, routed = self.accuracy("direct"), self.accuracy("routed")
        bounds = {
            "predictable": self.accuracy("predictable"),
            "raw": self.accuracy("oracle"),
            "cross_fitted": self.cross_fitted,
        }
        if direct is None or routed is None:
            return dict.fromkeys(bounds)
        return {
            name: None if bound is None else statistics.headroom_closed(routed, direct, bound)
            for name, bound in bounds.items()
        }


def compare(a: Scored, b: Scored) -> Comparison:
    """Paired comparison of two policies on the same questions."""
    difference, low, high = statistics.paired_bootstrap(a.right, b.right)
    certain = all(np.isin(it.right, (0.0, 1.0)).all() for it in (a, b))
    p = statistics.mcnemar(a.right > 0, b.right > 0) if certain else None
    return Comparison(difference, low, high, p)


def crossed(table: OutcomeTable, again: OutcomeTable) -> float:
    """Accuracy of the cross-fitted oracle of two replicates, each chosen on and scored on once."""
    halves = (
        statistics.oracle_cross_fitted(table, again),
        statistics.oracle_cross_fitted(again, table),
    )
    return float(np.mean(halves))


def by_group(
    table: OutcomeTable, scored: Mapping[str, Scored], group: Callable[[Any], str]
) -> dict[str, dict[str, float]]:
    """Accuracy of each policy in each group of questions, with the group's size."""
    labels = np.array([group(q) for q in table.questions])
    return {
        str(label): {
            "questions": int((labels == label).sum()),
            **{name: float(it.right[labels == label].mean()) for name, it in scored.items()},
        }
        for label in np.unique(labels)
        if label
    }


def kind_accuracy(evaluation: Evaluation, kind: str, names: Sequence[str]) -> dict[str, Any]:
    """Accuracy of some policies on the questions of one `sub-category`."""
    rows = np.array([q.sub_category == kind for q in evaluation.table.questions], dtype=bool)
    figures: dict[str, Any] = {"questions": int(rows.sum())}
    for name in names:
        scored = evaluation.scored.get(name)
        figures[name] = float(scored.right[rows].mean()) if scored and rows.any() else None
    return figures


def pairs(table: OutcomeTable, truth: Mapping[str, Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Rows of each keyword trap and of its twin, which asks the same without the keyword."""
    found: dict[str, dict[str, int]] = {}
    for row, question in enumerate(table.questions):
        pair = truth.get(question.id, {}).get("pair")
        if pair is not None:
            found.setdefault(str(pair), {})[question.sub_category] = row
    return [(p["keyword_trap"], p["keyword_twin"]) for p in found.values() if len(p) == 2]


def changed(actions: NDArray[np.int64] | None, twins: Sequence[tuple[int, int]]) -> float | None:
    """Share of pairs on which a policy acts differently because of the keyword alone."""
    if actions is None or not twins:
        return None
    return float(np.mean([actions[a] != actions[b] for a, b in twins]))


def moved(probabilities: NDArray[Any], twins: Sequence[tuple[int, int]]) -> float | None:
    """Mean total variation between a policy's probabilities [N, A] on a trap and on its twin."""
    if not twins:
        return None
    rows = np.asarray(twins)
    apart = np.abs(probabilities[rows[:, 0]] - probabilities[rows[:, 1]]).sum(axis=1) / 2
    return float(apart.mean())


def verbatim(table: OutcomeTable) -> float:
    """Share of questions whose gold text stands, as whole words, in some tool's output."""
    hits = [
        any(_stands_in(question.answer, text) for text in _texts(table, row))
        for row, question in enumerate(table.questions)
    ]
    return float(np.mean(hits)) if hits else 0.0


def _texts(table: OutcomeTable, row: int) -> list[str]:
    seen = [table.outcome(row, column).observation for column in range(1, len(table.actions))]
    return [observation.text for observation in seen if observation is not None]


def _stands_in(wanted: str, text: str) -> bool:
    """Whole words only: "3" does not stand in "13".

    >>> _stands_in("C4", "pitch: C4 +3 cents"), _stands_in("3", "onsets: 13 events")
    (True, False)
    """
    words = f" {' '.join(_words(text))} "
    return f" {' '.join(_words(wanted))} " in words


def _words(text: str) -> list[str]:
    return [word.strip(".,;:()!?") for word in text.lower().split()]
