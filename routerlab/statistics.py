"""What a table of outcomes says: headroom, fixes and breaks, and how sure one may be. Pure numpy.

A policy is an array of column indices, one a row of the table; everything about it follows from
`routed`, which says where its answers are right. Nothing here prints, samples an action or knows
of a reward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from routerlab.types import OutcomeTable

Bools: TypeAlias = NDArray[np.bool_]
Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.integer[Any]] | Sequence[int]

# -- what a policy gets ---------------------------------------------------------------------------


def effective(table: OutcomeTable, actions: Indices) -> NDArray[np.int64]:
    """The column that answers each row [N]: the chosen one, or direct where its cell is invalid."""
    chosen = np.asarray(actions, dtype=np.int64)
    return np.where(table.valid[np.arange(len(table)), chosen], chosen, 0)


def fallback(table: OutcomeTable, actions: Indices) -> Bools:
    """Rows [N] in which a tool was called, failed, and direct answered instead."""
    return np.asarray(effective(table, actions) != np.asarray(actions), dtype=bool)


def routed(table: OutcomeTable, actions: Indices) -> Bools:
    """Whether the policy's answers are right [N], falling back to direct where a tool failed."""
    right: Bools = table.correct[np.arange(len(table)), effective(table, actions)]
    return right


def direct(table: OutcomeTable) -> Bools:
    """Whether the answers without a tool are right [N]."""
    return routed(table, np.zeros(len(table), dtype=np.int64))


def always(table: OutcomeTable, action: str) -> NDArray[np.int64]:
    """The policy [N] that takes one action on every question."""
    return np.full(len(table), table.column(action), dtype=np.int64)


def action_accuracy(table: OutcomeTable) -> dict[str, float]:
    """Accuracy of each action if it is forced on every question."""
    return {name: share(routed(table, always(table, name))) for name in table.actions}


def call_rate(actions: Indices) -> float:
    """Share of questions on which a tool was called, whether or not it then worked."""
    return share(np.asarray(actions) != 0)


def share(values: NDArray[Any]) -> float:
    """The mean, and 0.0 of nothing."""
    return float(np.mean(values)) if len(values) else 0.0


# -- what could be got ----------------------------------------------------------------------------


def oracle_raw(table: OutcomeTable) -> Bools:
    """Rows [N] in which some action is right. Inflated by luck, more so with more tools."""
    return np.asarray((table.correct & table.valid).any(axis=1), dtype=bool)


def oracle_actions(table: OutcomeTable) -> NDArray[np.int64]:
    """The policy [N] behind the raw oracle: the first action that is right, or direct."""
    return np.asarray(np.argmax(table.correct & table.valid, axis=1), dtype=np.int64)


def oracle_cross_fitted(chosen_on: OutcomeTable, scored_on: OutcomeTable) -> Floats:
    """Score [N] of the best action in a row of one replicate, on the other replicate.

    Luck in one replicate does not carry over to the other, so the mean is not inflated. A tie goes
    to direct if direct is among the best, and is averaged over the tied tools if it is not.
    """
    best = chosen_on.correct & chosen_on.valid
    best[:, 0] |= ~best.any(axis=1)
    best[best[:, 0], 1:] = False
    scores = np.stack([routed(scored_on, always(scored_on, a)) for a in scored_on.actions], axis=1)
    return np.asarray((best * scores).sum(axis=1) / best.sum(axis=1), dtype=np.float64)


def headroom(table: OutcomeTable) -> float:
    """Raw oracle accuracy minus direct accuracy: the most that routing could add."""
    return share(oracle_raw(table)) - share(direct(table))


def headroom_closed(routed: float, direct: float, oracle: float) -> float:
    """The share of the headroom that a policy takes; NaN where there is none to take.

    >>> round(headroom_closed(routed=0.62, direct=0.50, oracle=0.80), 9)
    0.4
    >>> headroom_closed(0.5, 0.5, 0.5)
    nan
    """
    return (routed - direct) / (oracle - direct) if oracle != direct else math.nan


def regret(table: OutcomeTable, actions: Indices) -> Floats:
    """1.0 in rows [N] where some action was right and the policy's answer is not."""
    return np.asarray(oracle_raw(table) & ~routed(table, actions), dtype=np.float64)


# -- what the calls did ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Counts:
    """What calling tools did to the direct answers, in questions.

    Attributes:
        rows: questions looked at, called or not.
        failed: calls whose cell is invalid; they neither fix nor break.
    """

    rows: int
    fix: int
    break_: int
    redundant_right: int
    redundant_wrong: int
    failed: int

    @property
    def calls(self) -> int:
        """Questions on which a tool was called."""
        return self.fix + self.break_ + self.redundant + self.failed

    @property
    def redundant(self) -> int:
        """Calls that changed nothing about being right."""
        return self.redundant_right + self.redundant_wrong

    @property
    def net(self) -> int:
        """Questions gained over direct."""
        return self.fix - self.break_


def counts(table: OutcomeTable, actions: Indices) -> Counts:
    """Fixes, breaks and redundant calls of a policy; rows where direct failed count as wrong."""
    chosen = np.asarray(actions, dtype=np.int64)
    worked = (chosen != 0) & ~fallback(table, chosen)
    d, t = direct(table), routed(table, chosen)

    def number(mask: Bools) -> int:
        return int((worked & mask).sum())

    return Counts(
        rows=len(table),
        fix=number(~d & t),
        break_=number(d & ~t),
        redundant_right=number(d & t),
        redundant_wrong=number(~d & ~t),
        failed=int(((chosen != 0) & ~worked).sum()),
    )


def tool_counts(table: OutcomeTable) -> dict[str, Counts]:
    """Counts of each tool if it is called on every question: the survey's rows."""
    return {name: counts(table, always(table, name)) for name in table.actions[1:]}


# -- how sure -------------------------------------------------------------------------------------


def mcnemar(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Exact two-sided McNemar p-value of two systems' correctness [N] on the same questions.

    Of the questions on which they differ, half would favour `a` if the two were equal: twice the
    smaller tail of Binomial(n, 1/2). 1 against 9 gives 2 * (1 + 10) / 2**10:

    >>> a, b = np.array([1] * 9 + [0] + [1] * 5, bool), np.array([0] * 9 + [1] + [1] * 5, bool)
    >>> mcnemar(a, b)
    0.021484375
    """
    left, right = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    only_a, only_b = int((left & ~right).sum()), int((~left & right).sum())
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1))
    return float(min(1.0, 2 * tail / 2**n))


def paired_bootstrap(
    a: NDArray[Any], b: NDArray[Any], n: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Mean of `a - b` over the same questions [N], with its percentile interval.

    Values may be fractions, so a mean over training runs can be resampled by question. Resampling
    rows is drawing how often each distinct difference occurs: one multinomial a resample.

    >>> paired_bootstrap(np.array([True] * 8), np.array([True] * 6 + [False] * 2))
    (0.25, 0.0, 0.625)
    """
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    rows = len(differences)
    if not rows:
        return math.nan, math.nan, math.nan
    values, often = np.unique(differences, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(rows, often / rows, size=n)
    means = draws @ values / rows
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(differences.mean()), float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment of several p-values, in the order given (Holm 1979, step-down).

    >>> [round(p, 9) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
