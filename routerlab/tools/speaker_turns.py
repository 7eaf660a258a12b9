"""Who speaks when, out of spans of speech and a vector a window: cut, group, put together.

Pure functions on seconds and arrays. It stops at one voice at a time: where two speak at once, one
of them is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from routerlab.tools.signal import Floats
from routerlab.tools.voices import Span

NAMES = "ABCDEFGHIJ"
"""Speakers in the order in which they begin; no more are told apart."""

_PAUSE_S = 0.5
"""A turn goes on over a shorter pause if the same voice follows."""


@dataclass(frozen=True)
class Window:
    """What is heard at once, and the part of it that it speaks for; all in seconds.

    Windows overlap; the parts `from_s` to `to_s` do not, and together they are the speech.
    """

    start_s: float
    end_s: float
    from_s: float
    to_s: float


@dataclass(frozen=True)
class Turn:
    """A stretch of one speaker, and how much of it is speech; in seconds."""

    speaker: str
    start_s: float
    end_s: float
    speaking_s: float


def slide(spans: Sequence[Span], width_s: float, hop_s: float) -> list[Window]:
    """Windows of one width, at most a hop apart; a span that is no longer is a window by itself.

    >>> [(w.start_s, w.end_s, w.to_s) for w in slide([(0.0, 2.5), (3.0, 3.5)], 1.5, 0.75)]
    [(0.0, 1.5, 1.0), (0.5, 2.0, 1.5), (1.0, 2.5, 2.5), (3.0, 3.5, 3.5)]
    """
    found = []
    for start, end in spans:
        room = max(end - start - width_s, 0.0)
        count = int(np.ceil(round(room / hop_s, 6))) + 1
        # To the millisecond, which is a whole number of samples: all windows are of one length.
        first = [round(start + float(at), 3) for at in np.linspace(0, room, count)]
        last = [round(at + width_s, 3) for at in first[:-1]] + [end]
        centres = [(a + b) / 2 for a, b in zip(first, last, strict=True)]
        edges = [start, *((a + b) / 2 for a, b in pairwise(centres)), end]
        heard = zip(first, last, pairwise(edges), strict=True)
        found += [Window(start_s, end_s, *part) for start_s, end_s, part in heard]
    return found


def group(vectors: Floats, distance: float, most: int) -> list[int]:
    """Which speaker each window has, numbered in the order of their first windows.

    Agglomerative, by cosine distance and average linkage.

    Args:
        vectors: [windows, D], in order of time.
        distance: groups that are further apart on average (0 to 2) are two speakers.
        most: most speakers; the nearest groups are joined until there are no more.

    >>> group(np.array([[0.0, 2.0], [1.0, 0.1], [0.1, 1.0]]), 0.3, 5)
    [0, 1, 0]
    """
    if len(vectors) < 2:
        return [0] * len(vectors)
    from sklearn.cluster import AgglomerativeClustering

    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    apart = np.clip(1 - unit @ unit.T, 0, 2)
    kind = {"metric": "precomputed", "linkage": "average"}
    found = AgglomerativeClustering(None, distance_threshold=distance, **kind).fit_predict(apart)
    if found.max() >= most:
        found = AgglomerativeClustering(most, **kind).fit_predict(apart)
    order = list(dict.fromkeys(found.tolist()))
    return [order.index(label) for label in found.tolist()]


def turns(windows: Sequence[Window], speakers: Sequence[int]) -> list[Turn]:
    """Windows of one speaker in a row, over short pauses, as one turn.

    Args:
        windows: in order of time.
        speakers: the number of each one's speaker, below `len(NAMES)`.
    """
    found: list[Turn] = []
    for window, number in zip(windows, speakers, strict=True):
        spoken = window.to_s - window.from_s
        before = found[-1] if found else None
        if (
            before is not None
            and before.speaker == NAMES[number]
            and window.from_s - before.end_s <= _PAUSE_S
        ):
            total = before.speaking_s + spoken
            found[-1] = replace(before, end_s=window.to_s, speaking_s=total)
        else:
            found.append(Turn(NAMES[number], window.from_s, window.to_s, spoken))
    return found
