"""The figures behind the page's plots: outcomes, calibration, risk and coverage, tools by category.

Arrays of one split's rows in, small records out. Nothing is drawn and no text is made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from routerlab.types import DIRECT

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

OUTCOMES: Mapping[str, str] = {
    "fix": "fixed: direct wrong, the call right",
    "break": "broken: direct right, the call wrong",
    "right_anyway": "right either way",
    "wrong_anyway": "wrong either way",
    "direct_right": "no call, right",
    "direct_wrong": "no call, wrong",
    "failed": "the tool failed, direct answered",
}
"""What came of a question -> in words."""

FEWEST_IN_BIN = 5


@dataclass(frozen=True)
class Split:
    """One split's rows as arrays.

    Attributes:
        rows: N rows of predictions.
        actions: A names, direct first.
        chosen: [N] index of the action taken.
        probabilities: [N, A]; rows sum to 1.
        right: [N, A] whether each action's answer is right.
        routed: [N] whether the answer given is right.
        fell_back: [N] whether the tool failed, so that direct answered.
        group: [N] category of each question, "–" where it has none.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]
    actions: tuple[str, ...]
    chosen: NDArray[np.int64]
    probabilities: Floats
    right: Bools
    routed: Bools
    fell_back: Bools
    group: NDArray[Any]

    @property
    def confidence(self) -> Floats:
        """[N] the probability of the action taken."""
        return np.asarray(self.probabilities[np.arange(len(self.rows)), self.chosen])


def split_of(
    name: str, rows: Sequence[Mapping[str, Any]], earned: Mapping[str, Sequence[float]]
) -> Split:
    """The arrays of one split.

    Args:
        earned: policy or `tool.NAME` -> [N] what it earned; where it is missing, an answer is right
            if it is the gold text.
    """
    own = [row for row in rows if row["split"] == name]
    actions = tuple(own[0]["probabilities"]) if own else (DIRECT,)
    column = {action: i for i, action in enumerate(actions)}
    right = np.zeros((len(own), len(actions)), dtype=bool)
    for action, index in column.items():
        known = earned.get(action if action == DIRECT else f"tool.{action}")
        if known is None:
            known = [row["answers"].get(action) == row["gold"] for row in own]
        right[:, index] = np.asarray(known) > 0
    return Split(
        name=name,
        rows=own,
        actions=actions,
        chosen=np.array([column[row["action"]] for row in own], dtype=np.int64),
        probabilities=np.array([[row["probabilities"][a] for a in actions] for row in own]),
        right=right,
        routed=np.array([bool(row["correct"]) for row in own]),
        fell_back=np.array([bool(row["fallback"]) for row in own]),
        group=np.array([row.get("category") or "–" for row in own]),
    )


def outcomes(split: Split) -> list[str]:
    """[N] keys of `OUTCOMES`."""
    called = {(False, True): "fix", (True, False): "break"}
    called |= {(True, True): "right_anyway", (False, False): "wrong_anyway"}
    found = []
    for row in range(len(split.rows)):
        before, after = bool(split.right[row, 0]), bool(split.routed[row])
        if split.fell_back[row]:
            found.append("failed")
        elif split.chosen[row] == 0:
            found.append("direct_right" if after else "direct_wrong")
        else:
            found.append(called[before, after])
    return found


@dataclass(frozen=True)
class Bin:
    """Questions of about the same confidence: their mean confidence, accuracy and number."""

    confidence: float
    accuracy: float
    questions: int


def reliability(split: Split, bins: int = 10) -> list[Bin]:
    """Accuracy of the answers by the router's confidence in its action, in bins of equal width."""
    at = np.minimum((split.confidence * bins).astype(int), bins - 1)
    found = []
    for index in range(bins):
        rows = at == index
        if rows.sum() >= FEWEST_IN_BIN:
            sure, right = split.confidence[rows], split.routed[rows]
            found.append(Bin(float(sure.mean()), float(right.mean()), int(rows.sum())))
    return found


def calibration_error(split: Split, bins: int = 10) -> float:
    """Mean distance of confidence and accuracy over bins (Naeini et al. 2015, "ECE")."""
    at = np.minimum((split.confidence * bins).astype(int), bins - 1)
    apart = np.abs(
        np.bincount(at, split.confidence, bins) - np.bincount(at, split.routed.astype(float), bins)
    )
    return float(apart.sum() / max(1, len(split.rows)))


def risk_coverage(split: Split, points: int = 120) -> tuple[Floats, Floats]:
    """Error [P] of the answers kept, when the share [P] of questions with most confidence is kept.

    Questions of equal confidence are kept in the order of the file (El-Yaniv and Wiener 2010).
    """
    order = np.argsort(-split.confidence, kind="stable")
    wrong = np.cumsum(~split.routed[order])
    count = np.arange(1, len(order) + 1)
    first = min(len(order), 20)
    at = np.unique(np.linspace(first, len(order), points).astype(int)) - 1
    at = at[at >= 0]
    return count[at] / max(1, len(order)), (wrong / count)[at]


@dataclass(frozen=True)
class Heat:
    """A table of numbers to colour: `values` [R, C] with a text for each cell."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Floats
    sizes: tuple[int, ...]


def categories(split: Split, most: int = 24) -> list[str]:
    """The categories, those with most questions first."""
    names, sizes = np.unique(split.group, return_counts=True)
    return [str(names[i]) for i in np.argsort(-sizes, kind="stable")[:most]]


def gains(split: Split) -> Heat:
    """What each tool would add to direct in each category if always called, as a share."""
    gain = split.right[:, 1:].astype(float) - split.right[:, :1]
    return _heat(split, split.actions[1:], gain)


def calls(split: Split) -> Heat:
    """The share of each category's questions on which the router takes each action."""
    return _heat(split, split.actions, np.eye(len(split.actions))[split.chosen])


def _heat(split: Split, columns: Sequence[str], each: Floats) -> Heat:
    names = categories(split)
    masks = [split.group == name for name in names]
    values = [each[mask].mean(axis=0) for mask in masks]
    sizes = tuple(int(mask.sum()) for mask in masks)
    shape = (len(names), len(columns))
    return Heat(tuple(names), tuple(columns), np.array(values).reshape(shape), sizes)
