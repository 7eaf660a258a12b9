"""The two failure modes of tool use, in figures: surface keywords, and outputs beyond their scope.

Pure functions of an outcome table, of what the truth beside generated data says of each tool, and
of actions. What has to be asked anew is asked in `routerlab.diagnostics`; the words and tables are
in `report.diagnostics_tables`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from routerlab import statistics
from routerlab.report.evaluation import changed, moved
from routerlab.report.outlook import paired_interval
from routerlab.rivals import Scored
from routerlab.types import OutcomeTable

Bools: TypeAlias = NDArray[np.bool_]
Twins: TypeAlias = Sequence[tuple[int, int]]
"""Rows of a keyword trap and of the question that asks the same without the keyword."""

TRAP, TWIN = "keyword_trap", "keyword_twin"
SCOPES: Mapping[str, str] = {
    "fits": "the tool measures what is asked",
    "beyond": "the clip is beyond the tool's limits",
    "other": "the tool measures something else",
}
"""What a tool's output is to a question -> in words; the last two are out of scope."""

_RESAMPLES = 1000


# --- keyword traps ----------------------------------------------------------------------------


def twin_rows(table: OutcomeTable, truth: Mapping[str, Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Pairs of a trap and its twin, marked by `sub_category`.

    Two belong together by the truth's `pair`; without one, if clip and choices are the same.
    """
    found: dict[Any, dict[str, int]] = {}
    for row, question in enumerate(table.questions):
        if question.sub_category in (TRAP, TWIN):
            pair = truth.get(question.id, {}).get("pair")
            key = (question.audio, question.choices) if pair is None else pair
            found.setdefault(key, {})[question.sub_category] = row
    return [(it[TRAP], it[TWIN]) for it in found.values() if len(it) == 2]


def keyword_twins(
    table: OutcomeTable,
    twins: Twins,
    scored: Mapping[str, Scored],
    truth: Mapping[str, Mapping[str, Any]],
    probabilities: NDArray[Any],
) -> dict[str, Any]:
    """What a keyword that is not asked about does to every policy.

    Args:
        scored: policies; those without single actions are left out.
        truth: may name each trap's tool (`trap`); then calls of that tool are counted.
        probabilities: of the trained router, [N, A].
    """
    rows = np.asarray(twins, dtype=np.int64)
    said = answers(table)
    acting = {name: it for name, it in scored.items() if it.actions is not None}
    policies = {name: _on_twins(table, rows, it, said) for name, it in acting.items()}
    for name, it in acting.items():
        named = _named(table, rows, truth, it)
        if named is not None:
            policies[name]["calls_named_tool"] = named
    policies["routed"]["variation"] = moved(probabilities, twins)
    return {"pairs": len(rows), "policies": policies}


def _on_twins(
    table: OutcomeTable, rows: NDArray[np.int64], it: Scored, said: NDArray[Any]
) -> dict[str, Any]:
    """Accuracy on both halves of the pairs, and what changes from one to the other."""
    assert it.actions is not None
    used = statistics.effective(table, it.actions)
    trap, twin = it.right[rows[:, 0]], it.right[rows[:, 1]]
    difference, low, high = paired_interval(trap, twin)
    answer = said[np.arange(len(table)), used]
    return {
        "trap": float(trap.mean()),
        "twin": float(twin.mean()),
        "difference": difference,
        "ci95": [low, high],
        "action_changes": changed(it.actions, [(a, b) for a, b in rows]),
        "answer_changes": float(np.mean(answer[rows[:, 0]] != answer[rows[:, 1]])),
    }


def _named(
    table: OutcomeTable, rows: NDArray[np.int64], truth: Mapping[str, Any], it: Scored
) -> dict[str, float] | None:
    """How often the tool that the keyword names is called, on traps and on twins."""
    tools = [truth.get(table.questions[row].id, {}).get("trap") for row in rows[:, 0]]
    known = [i for i, tool in enumerate(tools) if tool in table.actions]
    if it.actions is None or not known:
        return None
    columns = np.array([table.column(tools[i]) for i in known])
    called = [it.actions[rows[known, half]] == columns for half in (0, 1)]
    return {"trap": float(called[0].mean()), "twin": float(called[1].mean())}


# --- scope ------------------------------------------------------------------------------------


def answers(table: OutcomeTable) -> NDArray[Any]:
    """The option answered in every cell [N, A]; -1 where none was read or the cell is invalid."""
    given = [
        [_choice(table, row, column) for column in range(len(table.actions))]
        for row in range(len(table))
    ]
    return np.array(given, dtype=np.int64).reshape(len(table), len(table.actions))


def _choice(table: OutcomeTable, row: int, column: int) -> int:
    answer = table.outcome(row, column).answer
    return -1 if answer is None or answer.choice is None else answer.choice


def scopes(
    table: OutcomeTable, truth: Mapping[str, Mapping[str, Any]]
) -> dict[str, NDArray[np.bool_]]:
    """For each of `SCOPES`, its cells [N, A]: tools of the truth's `fits`, `outside`, or neither.

    Direct's column is in none, nor is a cell without a valid output.
    """
    names = table.actions
    fits = _marked(table, truth, "fits")
    beyond = _marked(table, truth, "outside") & ~fits
    tools = np.array([i > 0 for i in range(len(names))]) & table.valid & table.valid[:, :1]
    return {"fits": fits & tools, "beyond": beyond & tools, "other": tools & ~fits & ~beyond}


def _marked(table: OutcomeTable, truth: Mapping[str, Mapping[str, Any]], key: str) -> Bools:
    marks = [
        [name in truth.get(q.id, {}).get(key, ()) for name in table.actions]
        for q in table.questions
    ]
    return np.array(marks, dtype=bool).reshape(len(table), len(table.actions))


def over_inference(
    table: OutcomeTable,
    cells: Mapping[str, Bools],
    actions: NDArray[np.int64],
) -> dict[str, Any]:
    """P(the answer changes | a valid output), apart for outputs in scope and out of it.

    Every tool's output on every question counts, called or not: this is the Reasoner's failing.
    What the router makes of it is `called`.

    Args:
        cells: of `scopes`.
        actions: of the trained router, [N].
    """
    said = answers(table)
    changes = said != said[:, :1]
    called = np.zeros_like(table.valid)
    called[np.arange(len(table)), actions] = True
    return {name: _of_cells(table, mask, changes, called) for name, mask in cells.items()}


def _of_cells(table: OutcomeTable, mask: Bools, changes: Bools, called: Bools) -> dict[str, Any]:
    direct = np.broadcast_to(table.correct[:, :1], mask.shape)
    right, wrong = mask & direct, mask & ~direct
    if not mask.any():
        return {"cells": 0}
    share, low, high = ratio_interval((changes & mask).sum(1), mask.sum(1))
    return {
        "cells": int(mask.sum()),
        "answer_changes": share,
        "ci95": [low, high],
        "breaks": _share(right & ~table.correct, right),
        "fixes": _share(wrong & table.correct, wrong),
        "called": int((called & mask).sum()),
        "called_share": _share(called & mask, mask),
    }


def by_kind(
    table: OutcomeTable,
    scored: Mapping[str, Scored],
    cells: Mapping[str, Bools],
) -> dict[str, dict[str, Any]]:
    """For each `sub_category`: accuracy, calls, and calls of tools that are out of scope there."""
    kinds = np.array([q.sub_category for q in table.questions])
    routed = scored["routed"]
    assert routed.actions is not None
    taken = np.zeros_like(table.valid)
    taken[np.arange(len(table)), routed.actions] = True
    out: dict[str, Bools] = {name: np.any(taken & mask, axis=1) for name, mask in cells.items()}
    found: dict[str, dict[str, Any]] = {}
    for kind in (str(k) for k in np.unique(kinds) if k):
        rows = kinds == kind
        difference, low, high = paired_interval(routed.right[rows], scored["direct"].right[rows])
        found[kind] = {
            "questions": int(rows.sum()),
            "direct": float(scored["direct"].right[rows].mean()),
            "routed": float(routed.right[rows].mean()),
            "gain": difference,
            "ci95": [low, high],
            "calls": float(routed.called[rows].mean()),
            **{f"calls_{name}": float(it[rows].mean()) for name, it in out.items()},
        }
    return found


# --- the same cells asked in another way ------------------------------------------------------


def asked_otherwise(
    table: OutcomeTable, again: Mapping[tuple[int, int], Any], mask: Bools
) -> dict[str, Any]:
    """What another way to ask some cells changes: accuracy, and how often direct's answer is left.

    Args:
        again: (row, column) -> outcome; a cell that is missing or failed is left out.
        mask: cells [N, A] to be compared.
    """
    cells = [
        (row, column)
        for row, column in zip(*np.nonzero(mask), strict=True)
        if (row, column) in again and again[row, column].state == "ok"
    ]
    if not cells:
        return {"cells": 0}
    said = answers(table)
    before = np.array([table.correct[cell] for cell in cells], dtype=float)
    after = np.array([again[cell].correct for cell in cells], dtype=float)
    other = [_own(again[cell]) for cell in cells]
    difference, low, high = paired_interval(after, before)
    direct = [said[row, 0] for row, _ in cells]
    return {
        "cells": len(cells),
        "accuracy": [float(before.mean()), float(after.mean())],
        "difference": difference,
        "ci95": [low, high],
        "answer_changes": [
            float(np.mean([said[cell] != d for cell, d in zip(cells, direct, strict=True)])),
            float(np.mean([one != d for one, d in zip(other, direct, strict=True)])),
        ],
    }


def _own(outcome: Any) -> int:
    answer = outcome.answer
    return -1 if answer is None or answer.choice is None else int(answer.choice)


def beside(scored: Scored, base: Scored) -> dict[str, Any]:
    """A policy under a control beside the same policy without it."""
    difference, low, high = paired_interval(scored.right, base.right)
    figures = {
        "accuracy": scored.accuracy,
        "calls": scored.call_rate,
        "difference": difference,
        "ci95": [low, high],
    }
    if scored.actions is not None and base.actions is not None:
        figures["same_action"] = statistics.share(scored.actions == base.actions)
    return figures


# --- small parts ------------------------------------------------------------------------------


def ratio_interval(hits: NDArray[Any], of: NDArray[Any]) -> tuple[float, float, float]:
    """A share of cells with its 95 % interval, questions resampled as they come.

    The cells of one question depend on each other, so they are drawn together.

    Args:
        hits, of: [N] counts a question.
    """
    used = np.flatnonzero(of)
    top, bottom = np.asarray(hits, float)[used], np.asarray(of, float)[used]
    if not len(used):
        return float("nan"), float("nan"), float("nan")
    draws = np.random.default_rng(0).multinomial(
        len(used), np.full(len(used), 1 / len(used)), size=_RESAMPLES
    )
    low, high = np.quantile((draws @ top) / (draws @ bottom), [0.025, 0.975])
    return float(top.sum() / bottom.sum()), float(low), float(high)


def _share(hits: Bools, of: Bools) -> float | None:
    return float(hits.sum() / of.sum()) if of.any() else None
