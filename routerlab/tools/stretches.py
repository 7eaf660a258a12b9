"""Long clips for models that hear a few seconds at a time: even stretches, and how much was heard.

It stops at cutting; what a stretch says, and how stretches are put together, is each tool's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_LEAST_S = 0.1
"""Shorter sounds are filled up with silence: models take a frame or two at least."""

Part = TypeVar("Part")


@dataclass(frozen=True)
class Stretch:
    """Part of a clip: float32 [n] samples at the model's rate, and where it lies in seconds."""

    samples: NDArray[np.float32]
    start_s: float
    end_s: float


def stretches(samples: NDArray[np.float32], rate: int, seconds: float, most: int) -> list[Stretch]:
    """Up to `most` stretches of `seconds` that cover the clip, or are spread evenly over it.

    >>> [one.start_s for one in stretches(np.zeros(250, np.float32), 10, 10.0, 9)]
    [0.0, 7.5, 15.0]
    """
    width = round(seconds * rate)
    count = min(max(-(-len(samples) // width), 1), most)
    first = np.rint(np.linspace(0, max(len(samples) - width, 0), count)).astype(int)
    return [_stretch(samples[at : at + width], rate, int(at)) for at in first]


def spread(found: Sequence[Part], most: int) -> list[Part]:
    """At most `most` of them, evenly spread.

    >>> spread("abcdefg", 3)
    ['a', 'd', 'g']
    """
    if len(found) <= most:
        return list(found)
    return [found[at] for at in np.linspace(0, len(found) - 1, most).round().astype(int).tolist()]


def heard_s(parts: list[Stretch]) -> float:
    """Seconds of the clip that lie in some stretch; they are in order and may overlap."""
    total, end = 0.0, 0.0
    for part in parts:
        total += max(part.end_s - max(part.start_s, end), 0.0)
        end = max(end, part.end_s)
    return round(total, 2)


def _stretch(samples: NDArray[np.float32], rate: int, at: int) -> Stretch:
    lacking = max(round(_LEAST_S * rate) - len(samples), 0)
    filled = np.pad(samples, (0, lacking)) if lacking else samples
    return Stretch(filled, at / rate, (at + len(samples)) / rate)
