"""Where voices are in a clip, so that a speech model is asked about them and about nothing else.

A speech model given silence or music answers all the same. Two gates: `voice`, by silero-vad's
weights, and `level`, by loudness alone for where those are not installed. Pure functions on float32
samples at 16 kHz; it stops at spans of seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from routerlab.tools.signal import AUDIBLE_DB, Floats, gate_db, level_curve, spans
from routerlab.tools.silero import FRAME_S, WHEEL, voice_probabilities
from routerlab.tools.wheels import wheel_mark

RATE = 16_000
GATES = ("voice", "level")

Span: TypeAlias = tuple[float, float]
"""Start and end in seconds."""

_SLACK = 0.15
"""A voice goes on until its probability is so far below the threshold that started it (silero)."""

_PAD_S = 0.03
_HOP_S = 0.025


@dataclass(frozen=True)
class Gate:
    """What is passed on to a speech model.

    Args:
        kind: "voice": where silero-vad hears one (`pip install "routerlab[tools]"`). "level": all
            that is loud enough, music and noise included.
        threshold: probability at which a voice starts.

    Raises:
        ValueError: another kind, or a threshold that is no probability.
    """

    kind: str = "voice"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        if self.kind not in GATES:
            raise ValueError(f"gate is {self.kind!r}; allowed: {', '.join(GATES)}")
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold is {self.threshold!r}; allowed: above 0 and below 1")

    def mark(self) -> str:
        """What of it changes a value beside its settings; UserError if silero-vad is missing."""
        return wheel_mark(WHEEL) if self.kind == "voice" else "level gate"

    def spans(self, samples: Floats) -> list[Span]:
        """Where to listen, in seconds; empty where there is nothing, or nothing loud enough."""
        if not loud(samples):
            return []
        if self.kind == "voice":
            return voiced(samples, self.threshold)
        levels = level_curve(samples, RATE, 2 * _HOP_S, _HOP_S)
        active = levels >= max(gate_db(levels, 30.0), AUDIBLE_DB)
        found = spans(active, round(0.3 / _HOP_S), round(0.1 / _HOP_S))
        return _in_seconds(found, _HOP_S, len(samples))


def loud(samples: Floats) -> bool:
    """Whether anything is above what counts as silence."""
    return bool(level_curve(samples, RATE, 0.05, _HOP_S).max(initial=-np.inf) >= AUDIBLE_DB)


def voiced(
    samples: Floats, threshold: float = 0.5, least_s: float = 0.25, gap_s: float = 0.1
) -> list[Span]:
    """Stretches of voice: they start at `threshold` and last while it is not far below.

    Args:
        samples: float32 [n] at 16 kHz.
        least_s: shorter stretches are dropped.
        gap_s: shorter pauses are not told.
    """
    likely = voice_probabilities(np.asarray(samples, np.float32))
    active = np.zeros(len(likely), dtype=np.bool_)
    for start, stop in spans(likely > threshold - min(_SLACK, threshold / 2), 1, 1):
        sure = np.flatnonzero(likely[start:stop] >= threshold)
        if len(sure):
            active[start + sure[0] : stop] = True
    found = spans(active, max(1, round(gap_s / FRAME_S)), max(1, round(least_s / FRAME_S)))
    return _in_seconds(found, FRAME_S, len(samples))


def windows(found: Sequence[Span], longest_s: float, gap_s: float) -> list[Span]:
    """Spans put together over gaps up to `gap_s`, none longer than `longest_s`; in order.

    >>> windows([(0.0, 2.0), (2.5, 4.0), (9.0, 9.5)], longest_s=10.0, gap_s=1.0)
    [(0.0, 4.0), (9.0, 9.5)]
    >>> windows([(0.0, 25.0)], longest_s=10.0, gap_s=1.0)[1]
    (8.333333333333334, 16.666666666666668)
    """
    merged: list[Span] = []
    for start, stop in found:
        if merged and start - merged[-1][1] <= gap_s and stop - merged[-1][0] <= longest_s:
            merged[-1] = (merged[-1][0], stop)
        else:
            parts = int(np.ceil((stop - start) / longest_s))
            edges = np.linspace(start, stop, max(parts, 1) + 1).tolist()
            merged += list(pairwise(edges))
    return merged


def cut(samples: Floats, window: Span) -> Floats:
    """The samples of a window, at least one."""
    start = min(round(window[0] * RATE), len(samples) - 1)
    return samples[start : max(round(window[1] * RATE), start + 1)]


def _in_seconds(found: Sequence[tuple[int, int]], hop_s: float, samples: int) -> list[Span]:
    last = samples / RATE
    return [
        (round(max(a * hop_s - _PAD_S, 0.0), 3), round(min(b * hop_s + _PAD_S, last), 3))
        for a, b in found
        if a * hop_s < last
    ]
