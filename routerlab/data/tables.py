"""Outcome tables as the DataModule keeps them: judged by its scorer, the pseudo-action apart.

Pure functions of tables; filling them is the oracle's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from routerlab.scorers import rescored
from routerlab.types import OutcomeTable


def judged(table: OutcomeTable, scorer: str) -> OutcomeTable:
    """The table with what is right decided by a scorer; the oracle's own is `strict`."""
    return table if scorer == "strict" else rescored(table, scorer)


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
