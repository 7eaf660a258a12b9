"""Reference columns of a survey: what routing must beat, for the same or for less work.

Policies over an outcome table that need no training beyond a threshold: a cascade on direct's
confidence, votes over tools and over permuted options, the best single tool. What is chosen on the
table is chosen on other questions than it is scored on. Pure numpy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routerlab import statistics
from routerlab.answers import strict_match
from routerlab.predictors import Floats, fold_of
from routerlab.rivals import Scored, earned, score
from routerlab.types import Answer, OutcomeTable, Question


def margins(table: OutcomeTable) -> Floats | None:
    """Direct's log-probability of its option minus that of the next [N]; None where not known.

    An answer without log-probabilities (`generate`, or a prediction file) has no margin, and then
    there is no cascade.
    """
    found = np.full(len(table), np.nan)
    for row in range(len(table)):
        cell = table.cells.get((table.questions[row].id, table.actions[0]))
        if cell is not None and cell.answer is not None and len(cell.answer.log_probs) > 1:
            last, best = np.sort(cell.answer.log_probs)[-2:]
            found[row] = best - last
    return None if np.isnan(found).any() else found


def cascade(table: OutcomeTable, confidence: Floats) -> Scored:
    """Direct where it is sure, else the tool that helps most there.

    Tool and threshold are those of highest accuracy on the other folds.

    Args:
        confidence: [N], higher is surer.
    """
    fold, actions = fold_of(len(table)), np.zeros(len(table), dtype=np.int64)
    gains = earned(table).astype(np.float64)
    gains = gains[:, 1:] - gains[:, :1]
    for held_out in (fold == k for k in np.unique(fold)):
        tool, threshold = _threshold(gains[~held_out], confidence[~held_out])
        actions[held_out] = np.where(confidence[held_out] <= threshold, tool, 0)
    return score("cascade", table, actions)


def best_single(table: OutcomeTable) -> Scored:
    """The action that is best on the other folds, on every question of this one."""
    fold, actions = fold_of(len(table)), np.zeros(len(table), dtype=np.int64)
    right = earned(table)
    for held_out in (fold == k for k in np.unique(fold)):
        if right.shape[1] > 1 and not held_out.all():
            actions[held_out] = 1 + right[~held_out, 1:].mean(axis=0).argmax()
    return score("best_tool", table, actions)


def vote(table: OutcomeTable) -> Scored:
    """The option that most actions answer with, direct among them; direct's own on a tie."""
    right = [_voted(q, _answers(table, q, table.actions)) for q in table.questions]
    return Scored("vote", np.array(right, dtype=np.float64), np.ones(len(table)))


def permutation_vote(table: OutcomeTable, replicates: Sequence[OutcomeTable]) -> Scored:
    """The option that direct answers most often with the options in several orders.

    With as many orders as there are actions it costs what one row of the table costs.
    """
    tables = [table, *replicates]
    right = []
    for question in table.questions:
        given = [a for t in tables for a in _answers(t, question, t.actions[:1])]
        right.append(_voted(question, given))
    return Scored("permutation_vote", np.array(right, dtype=np.float64), np.zeros(len(table)))


# -- what changes when the options are shown in another order ------------------------------------


def flips(table: OutcomeTable, again: OutcomeTable) -> dict[str, float]:
    """Share of cells, of both replicates valid, whose answer or whose being right changes."""
    both = table.valid & again.valid
    if not both.any():
        return {"right": 0.0, "answer": 0.0, "cells": 0}
    changed = []
    for row, column in zip(*np.nonzero(both), strict=True):
        one, two = table.outcome(row, column).answer, again.outcome(row, column).answer
        changed.append(_said(one) != _said(two))
    return {
        "right": float((table.correct != again.correct)[both].mean()),
        "answer": float(np.mean(changed)),
        "cells": int(both.sum()),
    }


# -- whether answers lean on where an option stands or how long it is ---------------------------


def by_position(table: OutcomeTable) -> list[dict[str, Any]]:
    """For each place: how often gold stands there, direct's accuracy then, how often it is chosen.

    A reasoner without a lean chooses each place about as often as gold stands there.
    """
    gold = np.array([q.gold for q in table.questions])
    chosen = _chosen(table)
    right = statistics.direct(table)
    return [
        {
            "place": int(place) + 1,
            "questions": int((gold == place).sum()),
            "direct": statistics.share(right[gold == place]),
            "gold": statistics.share(gold == place),
            "chosen": statistics.share(chosen == place),
        }
        for place in range(int(gold.max()) + 1 if len(gold) else 0)
    ]


def by_length(table: OutcomeTable) -> list[dict[str, Any]]:
    """The same for the shortest, a middle and the longest option, in characters.

    Log-probabilities summed over tokens favour short options, averaged ones long options.
    Questions whose options are all of one length are left out.
    """
    kinds = ("shortest", "middle", "longest")
    lengths = [[len(c) for c in q.choices] for q in table.questions]
    uneven = np.array([min(row) < max(row) for row in lengths], dtype=bool)
    gold = np.array([_kind(row, q.gold) for row, q in zip(lengths, table.questions, strict=True)])
    chosen = np.array([_kind(row, int(c)) for row, c in zip(lengths, _chosen(table), strict=True)])
    right = statistics.direct(table)
    return [
        {
            "option": kind,
            "questions": int((uneven & (gold == kind)).sum()),
            "direct": statistics.share(right[uneven & (gold == kind)]),
            "gold": statistics.share(gold[uneven] == kind),
            "chosen": statistics.share(chosen[uneven] == kind),
        }
        for kind in kinds
    ]


def _kind(lengths: Sequence[int], index: int) -> str:
    if index < 0:
        return ""
    if lengths[index] == min(lengths):
        return "shortest"
    return "longest" if lengths[index] == max(lengths) else "middle"


def _chosen(table: OutcomeTable) -> NDArray[np.int64]:
    """The place [N] that direct answers with; -1 where it was not read."""
    found = [_answers(table, q, table.actions[:1]) for q in table.questions]
    return np.array(
        [-1 if not a or a[0].choice is None else a[0].choice for a in found], dtype=np.int64
    )


def _threshold(gains: Floats, confidence: Floats) -> tuple[int, float]:
    """The tool, and the confidence up to which calling it gains most; direct alone if none does."""
    order = np.argsort(confidence, kind="stable")
    summed = np.cumsum(gains[order], axis=0)
    if not summed.size or summed.max() <= 0:
        return 0, -np.inf
    row, tool = np.unravel_index(int(summed.argmax()), summed.shape)
    return int(tool) + 1, float(confidence[order[row]])


def _answers(table: OutcomeTable, question: Question, actions: Sequence[str]) -> list[Answer]:
    cells = (table.cells.get((question.id, action)) for action in actions)
    return [c.answer for c in cells if c is not None and c.state == "ok" and c.answer is not None]


def _voted(question: Question, answers: Sequence[Answer]) -> bool:
    """Whether the most frequent option is right; a tie goes to the one answered first."""
    counted = Counter(a.text for a in answers if a.choice is not None)
    return bool(counted) and strict_match(counted.most_common(1)[0][0], question.answer)


def _said(answer: Answer | None) -> str:
    return "" if answer is None else answer.text
