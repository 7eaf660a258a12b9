"""A random part of what is known, for a quick look: drawn, never a sorted file's first rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from routerlab.errors import UserError
from routerlab.report.outlook import Evidence


def drawn(rows: int, limit: int | None, seed: int = 0) -> NDArray[np.int64]:
    """Indices of `limit` of `rows` rows, drawn without repetition, in their own order.

    Benchmarks are sorted by task, so the first rows would be one task: an interval around them
    would be of that task alone.

    Raises:
        UserError: a limit below 1.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit: {limit}. Allowed: 1 or more questions.")
    if limit is None or limit >= rows:
        return np.arange(rows, dtype=np.int64)
    picked = np.random.default_rng(seed).choice(rows, limit, replace=False)
    return np.asarray(np.sort(picked), dtype=np.int64)


def limited(evidence: Evidence, limit: int | None, seed: int = 0) -> Evidence:
    """The evidence of a random part of its questions."""
    rows = drawn(len(evidence.table), limit, seed)
    if len(rows) == len(evidence.table):
        return evidence
    return replace(
        evidence,
        table=evidence.table.select(rows),
        replicates=[it.select(rows) for it in evidence.replicates],
        together=None if evidence.together is None else evidence.together[rows],
        sounds=None if evidence.sounds is None else evidence.sounds[rows],
        of=len(evidence.table),
    )
