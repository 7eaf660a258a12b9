"""Training questions drawn by what tools do to them, from a pool whose outcomes are known.

Most questions of a real data set are *redundant*: no tool changes whether the answer is right, and
a router learns little from them. Here a training set is drawn in which questions that a tool fixes
or breaks have a given share. Pure functions of outcomes and a seed; nothing is asked or read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routerlab.errors import UserError
from routerlab.types import OutcomeTable, Question

STRATA = ("fix", "break", "redundant")
"""Direct is wrong and some tool right; direct is right and some tool wrong; no tool differs."""

UNUSABLE = -1
"""Of a question whose direct outcome failed, or all of whose tools failed: nothing can be said."""


@dataclass(frozen=True)
class Stratify:
    """How training questions are drawn from the `train` split.

    Sampling by outcome changes how often a tool helps, and with it when a call pays. The *ratio* of
    fixes to breaks, which decides whether a call pays, stays as it is while `fix` and `break_` are
    null; redundant questions then only weigh less.

    Attributes:
        questions: how many to draw; fewer where the pool has not as many.
        pool: survey only so many questions of the split, drawn at random; all of them if null.
        redundant: share of questions that no tool changes.
        fix, break_: shares of questions that some tool puts right, or wrong; one that is null gets
            its part of what the others leave, as they are in the pool.
        strict: refuse a pool in which a kind that is wanted does not occur.
    """

    questions: int = 1500
    pool: int | None = None
    redundant: float = 0.34
    fix: float | None = None
    break_: float | None = None
    strict: bool = False

    def problems(self) -> list[str]:
        """What is wrong with the settings, one line each."""
        found = [
            f"data.stratify: {name} is {count}. Allowed: 1 or more questions."
            for name, count in (("questions", self.questions), ("pool", self.pool))
            if count is not None and count < 1
        ]
        if self.pool is not None and 1 <= self.pool < self.questions:
            found.append(
                f"data.stratify: a pool of {self.pool} cannot give {self.questions} questions. "
                "Give a larger pool, or null for the whole split."
            )
        given = {"fix": self.fix, "break_": self.break_, "redundant": self.redundant}
        shares = {name: share for name, share in given.items() if share is not None}
        wrong = {n: s for n, s in shares.items() if not (math.isfinite(s) and s >= 0)}
        found += [f"data.stratify: {n} is {s:g}. Allowed: 0 or more." for n, s in wrong.items()]
        if not wrong:
            found += self._sum_problems(sum(shares.values()), len(shares) == len(given))
        return found

    def _sum_problems(self, total: float, whole: bool) -> list[str]:
        if whole and total == 0:
            return ["data.stratify: all shares are 0. Give fix, break_ or redundant a share."]
        if not whole and total >= 1:
            return [
                f"data.stratify: the shares given are {total:g} in all, which leaves nothing for "
                "the one that is null. Give less than 1, or a share to each."
            ]
        return []


@dataclass(frozen=True)
class Drawn:
    """Which rows of a pool's table are trained on, and why so many of each kind.

    Attributes:
        rows: of the pool, rising.
        pool: questions of each of `STRATA` in the pool.
        drawn: questions of each among `rows`.
        wanted: the share of each that was asked for; they sum to 1.
        unusable: questions of the pool that were left out because their outcomes failed.
    """

    rows: tuple[int, ...]
    pool: tuple[int, ...]
    drawn: tuple[int, ...]
    wanted: tuple[float, ...]
    unusable: int

    def record(self) -> dict[str, Any]:
        """What a manifest keeps: by kind, what was there, wanted and drawn."""
        parts = zip(STRATA, self.pool, self.wanted, self.drawn, strict=True)
        return {
            "questions": len(self.rows),
            "unusable": self.unusable,
            **{k: {"pool": p, "wanted": round(w, 4), "drawn": d} for k, p, w, d in parts},
        }


def pool_of(questions: Sequence[Question], size: int | None, seed: int) -> list[Question]:
    """A random part of the questions, in their own order; all of them if there are no more."""
    if size is None or size >= len(questions):
        return list(questions)
    rows = np.random.default_rng([seed, 1]).permutation(len(questions))[:size]
    return [questions[row] for row in sorted(rows.tolist())]


def strata_of(table: OutcomeTable) -> NDArray[np.int64]:
    """Index into `STRATA` of every question, or `UNUSABLE`: int64 [N]."""
    direct, tools = table.correct[:, :1], table.correct[:, 1:]
    valid = table.valid[:, 1:]
    differs = ((tools != direct) & valid).any(1)
    kinds = np.where(differs, np.where(direct[:, 0], 1, 0), 2)
    return np.where(table.valid[:, 0] & valid.any(1), kinds, UNUSABLE).astype(np.int64)


def wanted_shares(settings: Stratify, pool: Sequence[int]) -> tuple[float, ...]:
    """The shares of `STRATA`, summing to 1; what is null is divided as in the pool.

    >>> wanted_shares(Stratify(redundant=0.4), (30, 10, 960))
    (0.45, 0.15, 0.4)
    """
    given = (settings.fix, settings.break_, settings.redundant)
    left = 1.0 - sum(share for share in given if share is not None)
    free = sum(n for n, share in zip(pool, given, strict=True) if share is None)
    shares = [
        share if share is not None else (left * n / free if free else 0.0)
        for n, share in zip(pool, given, strict=True)
    ]
    total = sum(shares)
    return tuple(round(share / total, 12) if total else 0.0 for share in shares)


def allot(pool: Sequence[int], shares: Sequence[float], count: int) -> list[int]:
    """How many to take of each kind, as near to the shares as the pool allows.

    A kind that has too few gives all it has, and the others make up for it in proportion to their
    own shares. Every kind that has some and is wanted gives at least one, if `count` allows.

    >>> allot((100, 5, 1000), (0.3, 0.3, 0.4), 100)
    [41, 5, 54]
    """
    wanted = [i for i, share in enumerate(shares) if share > 0 and pool[i]]
    taken = [0] * len(pool)
    left = min(count, sum(pool[i] for i in wanted))
    open_ = list(wanted)
    while open_:
        total = sum(shares[i] for i in open_)
        short = [i for i in open_ if pool[i] <= left * shares[i] / total]
        if not short:
            break
        for i in short:
            taken[i] = pool[i]
        left -= sum(pool[i] for i in short)
        open_ = [i for i in open_ if i not in short]
    _share_out(taken, open_, shares, pool, left)
    for i in wanted:
        most = max(wanted, key=lambda k: taken[k])
        if taken[i] == 0 and taken[most] > 1:
            taken[i], taken[most] = 1, taken[most] - 1
    return taken


def _share_out(
    taken: list[int], open_: Sequence[int], shares: Sequence[float], pool: Sequence[int], left: int
) -> None:
    """Whole numbers near `left` · share, by largest remainder; none above its pool."""
    if not open_:
        return
    total = sum(shares[i] for i in open_)
    exact = {i: left * shares[i] / total for i in open_}
    for i in open_:
        taken[i] = min(pool[i], math.floor(exact[i]))
    rest = left - sum(taken[i] for i in open_)
    for i in sorted(open_, key=lambda i: (taken[i] - exact[i], i)):
        if rest and taken[i] < pool[i]:
            taken[i], rest = taken[i] + 1, rest - 1


def draw(table: OutcomeTable, settings: Stratify, seed: int) -> Drawn:
    """The rows of a pool that are trained on: the same for the same outcomes and seed.

    Raises:
        UserError: a pool without a usable question; or, if it is to be strict, without one of a
            kind that is wanted.
    """
    kinds = strata_of(table)
    pool = tuple(int((kinds == k).sum()) for k in range(len(STRATA)))
    if not sum(pool):
        raise UserError(
            f"data.stratify: none of the {len(kinds)} questions of train has an outcome of direct "
            "and of a tool. See the errors in the survey, and start again."
        )
    if settings.strict:
        _refuse_empty(settings, pool)
    shares = wanted_shares(settings, pool)
    taken = allot(pool, shares, settings.questions)
    rows: list[int] = []
    for kind, count in enumerate(taken):
        of_kind = np.flatnonzero(kinds == kind)
        order = np.random.default_rng([seed, 2, kind]).permutation(len(of_kind))
        rows += of_kind[order[:count]].tolist()
    return Drawn(tuple(sorted(rows)), pool, tuple(taken), shares, int((kinds == UNUSABLE).sum()))


def _refuse_empty(settings: Stratify, pool: Sequence[int]) -> None:
    shares = (settings.fix, settings.break_, settings.redundant)
    empty = [
        kind for kind, n, share in zip(STRATA, pool, shares, strict=True) if not n and share != 0
    ]
    if empty:
        there = ", ".join(f"{n} {kind}" for kind, n in zip(STRATA, pool, strict=True))
        raise UserError(
            f"data.stratify: no {' and no '.join(empty)} question among the {sum(pool)} of the "
            f"pool ({there}), and strict is on. Give a larger pool or other tools, or set strict "
            "to false."
        )


def drawn_from(
    table: OutcomeTable, settings: Stratify, seed: int, *, whole: bool = False
) -> tuple[OutcomeTable, dict[str, Any]]:
    """The table to train on, and what a manifest says of the draw.

    Args:
        table: of the pool.
        whole: keep the whole pool and refuse no empty kind: for a survey, which only looks.

    Raises:
        UserError: as `draw`.
    """
    drawn = draw(table, replace(settings, strict=settings.strict and not whole), seed)
    record = {"settings": {**asdict(settings), "seed": seed}, **drawn.record()}
    return table if whole else table.select(drawn.rows), record


def strata_note(record: Mapping[str, Any]) -> str:
    """One line for people on what `drawn_from` recorded."""
    parts = ", ".join(f"{k} {record[k]['drawn']} of {record[k]['pool']}" for k in STRATA)
    left_out = record["unusable"]
    failed = f"; {left_out} left out because their outcomes failed" if left_out else ""
    drawn, asked = record["questions"], record["settings"]["questions"]
    few = f" of {asked} asked for" if drawn < asked else ""
    return f"training questions drawn: {drawn}{few} ({parts}){failed}"
