"""When each word of a transcript is said, from where a speech model looked while writing it.

The way of Whisper's authors: attention of a few heads that follow the sound, smoothed, and the
cheapest path through it (dynamic time warping). Pure NumPy. Such times are good to a tenth or two
of a second; a word before a pause may be told to last into it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from routerlab.tools.signal import Floats

Ints: TypeAlias = NDArray[np.int64]

_WIDTH = 7
"""Frames of the median filter (Whisper's)."""

_BROKEN = "\ufffd"
"""What a decoder gives for bytes that are no whole character yet."""


@dataclass(frozen=True)
class Piece:
    """A word and the tokens it is written with: `first` up to before `stop`."""

    text: str
    first: int
    stop: int


def token_edges(weights: Floats) -> Ints:
    """The frame at which each token starts, and the last one ends: [T + 1].

    Args:
        weights: attention [heads, T + 1, frames]; row i is looked with while token i is written,
            the last row while the end is.
    """
    rows, frames = weights.shape[1:]
    if frames < 2:
        return np.zeros(rows, np.int64)
    from scipy.ndimage import median_filter

    seen = weights / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-9)
    spread = np.maximum(seen.std(axis=1, keepdims=True), 1e-9)
    smooth = median_filter((seen - seen.mean(axis=1, keepdims=True)) / spread, (1, 1, _WIDTH))
    row, frame = cheapest_path(-smooth.mean(axis=0))
    return frame[np.diff(row, prepend=-1) > 0]


def cheapest_path(cost: Floats) -> tuple[Ints, Ints]:
    """Rows and columns of the cheapest way from the first cell to the last: down, right or both.

    >>> rows, columns = cheapest_path(np.array([[0.0, 0.0, 9.0], [9.0, 9.0, 0.0]]))
    >>> rows.tolist(), columns.tolist()
    ([0, 0, 1], [0, 1, 2])
    """
    total = _totals(cost)
    row, column = cost.shape
    path = []
    while row and column:
        path.append((row - 1, column - 1))
        before = (total[row - 1, column - 1], total[row - 1, column], total[row, column - 1])
        step = int(np.argmin(before))
        row -= step != 2
        column -= step != 1
    rows, columns = np.array(path[::-1], np.int64).T
    return rows, columns


def _totals(cost: Floats) -> Floats:
    """Cheapest total up to each cell, [rows + 1, columns + 1]; a diagonal at a time."""
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(2, rows + columns + 1):
        row = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        column = diagonal - row
        before = np.minimum(total[row - 1, column], total[row, column - 1])
        total[row, column] = cost[row - 1, column - 1] + np.minimum(
            before, total[row - 1, column - 1]
        )
    return total


def pieces(
    tokens: Sequence[int], decode: Callable[[Sequence[int]], str], spaced: bool
) -> list[Piece]:
    """Words of tokens, punctuation with the word that it touches.

    Args:
        decode: text of some tokens.
        spaced: whether the language parts words by spaces; else every character is one.
    """
    found: list[Piece] = []
    first = 0
    for stop in range(1, len(tokens) + 1):
        text = decode(tokens[first:stop])
        if _BROKEN in text and stop < len(tokens) and stop - first < 4:
            continue
        joins = not (text.startswith(" ") if spaced else _speaks(text))
        if found and joins:
            found[-1] = Piece(found[-1].text + text, found[-1].first, stop)
        else:
            found.append(Piece(text, first, stop))
        first = stop
    return [one for one in found if _speaks(one.text)]


def _speaks(text: str) -> bool:
    """Whether anything in it is said: a letter or a digit."""
    return any(map(str.isalnum, text))
