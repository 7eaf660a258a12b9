"""Finished runs against each other on the same questions: paired intervals, exact tests, Holm.

Reads `scores.json` of run folders; what a policy earned there is compared, nothing is run again.
Several seeds of one system are averaged question by question first: they make its mean surer, but
never count as more questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routerlab import statistics
from routerlab.errors import Problems, UserError, unknown
from routerlab.report.evaluation import RIVALS
from routerlab.report.grid import Grid, p_value, percent, points
from routerlab.report.summary import Run, read_runs

FLIPS = 10_000
"""Draws of the sign-flip test, which serves where averaged seeds leave McNemar no yes or no."""


@dataclass(frozen=True)
class System:
    """One line of the comparison.

    Attributes:
        right: question id -> share of its runs that got it right.
        calls: mean call rate of its runs, None where not recorded.
        data: hash of the question files.
    """

    name: str
    right: dict[str, float]
    calls: float | None
    data: str
    runs: int


@dataclass(frozen=True)
class Difference:
    """`second - first` on the questions that both answered.

    Attributes:
        low, high: 95 % interval of the paired bootstrap over questions.
        p: McNemar's exact p of single runs, the sign-flip test's of averaged seeds.
        p_holm: the same after Holm's step-down over all differences of the table.
    """

    first: str
    second: str
    questions: int
    difference: float
    low: float
    high: float
    p: float
    p_holm: float


def read_systems(
    words: Sequence[str], policies: Sequence[str] = ("routed",), split: str = "test"
) -> list[System]:
    """The systems that words name: `RUN`, `NAME=RUN` or `NAME=RUN,RUN` (seeds of one system).

    Args:
        policies: each run gives a system for each of these.

    Raises:
        ProblemList: folders without a finished run, policies or splits that a run has not.
        UserError: fewer than two systems, or systems that answered other questions.
    """
    systems: list[System] = []
    problems = Problems()
    for word in words:
        name, folders = _named(word)
        with problems.gathered():
            runs = read_runs(folders, "compare")
            systems += [_system(name, runs, p, split, len(policies) > 1) for p in policies]
    problems.refuse()
    _check(systems, split)
    return systems


def differences(systems: Sequence[System], all_pairs: bool = False) -> list[Difference]:
    """Each system minus the first one, or every later one minus every earlier one."""
    if all_pairs:
        pairs = list(combinations(systems, 2))
    else:
        pairs = [(systems[0], other) for other in systems[1:]]
    found = [(a, b, *_paired(a, b)) for a, b in pairs]
    adjusted = statistics.holm([p for *_, p in found])
    return [
        Difference(a.name, b.name, n, *interval, p, holm)
        for (a, b, n, interval, p), holm in zip(found, adjusted, strict=True)
    ]


def versus_grid(
    systems: Sequence[System], found: Sequence[Difference], split: str = "test"
) -> Grid:
    """The table for a paper: a system a row, each against the first."""
    against = {it.second: it for it in found if it.first == systems[0].name}
    heads = ("system", "accuracy %", "calls %", f"minus {systems[0].name}", "95 % interval")
    rows = [_row(system, against.get(system.name)) for system in systems]
    questions = found[0].questions
    title = f"{split}: {questions} questions, paired"
    return Grid(title, (*heads, "p", "p (Holm)"), rows, notes=list(_notes(systems, found)))


def pairs_grid(found: Sequence[Difference]) -> Grid:
    """Every pair, a row each."""
    heads = ("difference", "points", "95 % interval", "p", "p (Holm)")
    rows = [[f"{it.second} minus {it.first}", *_cells(it)] for it in found]
    return Grid("all pairs", heads, rows)


# -- reading ----------------------------------------------------------------------------------


def _named(word: str) -> tuple[str, list[str]]:
    """A word's name and folders; a folder whose own name holds `=` is a folder."""
    name, equals, rest = word.partition("=")
    if not equals or Path(word).exists():
        name, rest = "", word
    return name, [folder for folder in rest.split(",") if folder]


def _system(name: str, runs: Sequence[Run], policy: str, split: str, many: bool) -> System:
    parts = [_part(run, policy, split) for run in runs]
    data = {part["data"] for part in parts}
    ids = {tuple(part["ids"]) for part in parts}
    if len(data) > 1 or len(ids) > 1:
        raise UserError(
            f"compare: {', '.join(str(r.folder) for r in runs)} answered different questions, so "
            "they are no seeds of one system. Give runs on the same data."
        )
    mean = np.mean([part["right"][policy] for part in parts], axis=0)
    inner = [run.results if split == "test" else run.results.get(split, {}) for run in runs]
    calls = [it.get("call_rate", {}).get(policy) for it in inner]
    known = [c for c in calls if c is not None]
    own = name or " ".join(str(run.folder) for run in runs)
    return System(
        f"{own} {RIVALS.get(policy, policy)}" if many else own,
        dict(zip(parts[0]["ids"], mean.tolist(), strict=True)),
        float(np.mean(known)) if known else None,
        data.pop(),
        len(runs),
    )


def _part(run: Run, policy: str, split: str) -> dict[str, Any]:
    splits = run.scores["splits"]
    if split not in splits:
        raise UserError(unknown(f"compare: {run.folder}: no split", split, splits))
    part: dict[str, Any] = splits[split]
    if policy not in part["right"]:
        raise UserError(unknown(f"compare: {run.folder}: no policy", policy, part["right"]))
    return part


def _check(systems: Sequence[System], split: str) -> None:
    if len(systems) < 2:
        raise UserError(
            "compare: one system alone. Give two runs or more, or several policies of one run "
            "(--policy routed,text)."
        )
    first = systems[0]
    for other in systems[1:]:
        if other.name == first.name:
            raise UserError(f"compare: {other.name!r} is given twice. Name them: NAME=RUN.")
        if other.data != first.data or not first.right.keys() & other.right.keys():
            raise UserError(
                f"compare: {first.name} and {other.name} answered different questions ({split}), "
                "so nothing can be paired. Compare runs on the same data (its hash is `data` in "
                "scores.json)."
            )


# -- comparing --------------------------------------------------------------------------------


def _paired(a: System, b: System) -> tuple[int, tuple[float, float, float], float]:
    shared = [ident for ident in a.right if ident in b.right]
    first = np.array([a.right[ident] for ident in shared])
    second = np.array([b.right[ident] for ident in shared])
    certain = all(np.isin(it, (0.0, 1.0)).all() for it in (first, second))
    p = statistics.mcnemar(second > 0, first > 0) if certain else sign_flip(second - first)
    return len(shared), statistics.paired_bootstrap(second, first), p


def sign_flip(differences: NDArray[np.float64], n: int = FLIPS, seed: int = 0) -> float:
    """Two-sided p of a mean of paired differences [N], each sign as likely as the other.

    McNemar's test for values between 0 and 1: with differences of -1, 0 and 1 it draws what that
    counts. The smallest p is 1 / (n + 1).

    >>> 0.03 < sign_flip(np.array([0.5] * 5)) < 0.1  # exactly 2 / 2**5
    True
    """
    sizes, often = np.unique(np.abs(differences), return_counts=True)
    flips = np.random.default_rng(seed).binomial(often, 0.5, size=(n, len(often)))
    sums = np.abs((2 * flips - often) @ sizes)
    reached = int((sums >= abs(differences.sum()) - 1e-9).sum())
    return (1 + reached) / (1 + n)


# -- laying out -------------------------------------------------------------------------------


def _row(system: System, it: Difference | None) -> list[str]:
    cells = [""] * 4 if it is None else _cells(it)
    accuracy = float(np.mean(list(system.right.values())))
    return [system.name, percent(accuracy), percent(system.calls), *cells]


def _cells(it: Difference) -> list[str]:
    interval = f"{points(it.low)} to {points(it.high)}"
    return [points(it.difference), interval, p_value(it.p), p_value(it.p_holm)]


def _notes(systems: Sequence[System], found: Sequence[Difference]) -> Iterator[str]:
    if any(system.runs > 1 for system in systems):
        yield (
            "Seeds are averaged question by question; intervals are over questions, and p is the "
            "sign-flip test's."
        )
    else:
        yield "p: McNemar's exact test; intervals: paired bootstrap over questions."
    fewest, most = min(it.questions for it in found), max(len(s.right) for s in systems)
    if fewest < most:
        yield f"Some runs answered more questions than others: {fewest} are shared."
