"""Outcome tables as the DataModule keeps them: judged by its scorer, the pseudo-action apart.

Pure functions of tables; filling them is the oracle's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from routerlab.oracle.keys import shown_order
from routerlab.scorers import rescored
from routerlab.types import OutcomeTable, Question


def judged(table: OutcomeTable, scorer: str) -> OutcomeTable:
    """The table with what is right decided by a scorer; the oracle's own is `strict`."""
    return table if scorer == "strict" else rescored(table, scorer)


def in_all_orders(tables: Sequence[OutcomeTable]) -> OutcomeTable:
    """The replicates 0, 1 ... of the same questions as one table, without cells.

    Each row shows its options as its replicate did, under an id of its own.
    """
    if len(tables) == 1:
        return tables[0]
    shown = [_as_shown(q, turn) for turn, table in enumerate(tables) for q in table.questions]
    return OutcomeTable(
        tuple(shown),
        tables[0].actions,
        np.concatenate([table.correct for table in tables]),
        np.concatenate([table.valid for table in tables]),
    )


def _as_shown(question: Question, replicate: int) -> Question:
    if replicate == 0:
        return question
    order = shown_order(question.id, len(question.choices), replicate)
    choices = tuple(question.choices[place] for place in order)
    return replace(question, id=f"{question.id}#{replicate}", choices=choices)


def split_last(table: OutcomeTable) -> tuple[OutcomeTable, NDArray[np.bool_]]:
    """The table without its last action, and whether that one is right: bool [N].

    Where the last action failed it falls back to direct, as a policy that takes it would.
    """
    right = np.where(table.valid[:, -1], table.correct[:, -1], table.correct[:, 0])
    rest = replace(
        table,
        actions=table.actions[:-1],
        correct=table.correct[:, :-1],
        valid=table.valid[:, :-1],
    )
    return rest, right
