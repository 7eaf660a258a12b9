"""What several tools share: note names, level curves, spans of sound. Pure NumPy on float arrays.

Times are seconds, levels are dB relative to full scale (a full-scale sine has -3 dB).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from routerlab.types import Clip

Floats: TypeAlias = NDArray[np.floating[Any]]

NOTES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
"""Pitch classes, flats only, everywhere in the package."""

FLOOR_DB = -80.0
"""Nothing is quieter than this: digital silence reads as this level."""

AUDIBLE_DB = -60.0
"""A clip whose loudest moment is below this is silence."""


def note_name(f0_hz: float) -> tuple[str, int]:
    """Nearest equal-tempered note (A4 = 440 Hz) and the deviation in cents, -50 to 50.

    >>> note_name(262.0)
    ('C4', 2)
    """
    midi = 69 + 12 * np.log2(f0_hz / 440.0)
    nearest = round(float(midi))
    return f"{NOTES[nearest % 12]}{nearest // 12 - 1}", round(100 * (float(midi) - nearest))


def decibels(power: Any) -> Any:
    """10 log10 of a mean square, not below `FLOOR_DB`."""
    return 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))


def level_curve(samples: Floats, rate: int, window_s: float, hop_s: float) -> Floats:
    """Level in dB of windows centred at 0, hop, 2 hop ...; edges see only the samples there are."""
    width, hop = max(1, round(window_s * rate)), max(1, round(hop_s * rate))
    total = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    centres = np.arange(0, len(samples), hop)
    start = np.maximum(centres - width // 2, 0)
    stop = np.minimum(centres - width // 2 + width, len(samples))
    curve: Floats = decibels((total[stop] - total[start]) / np.maximum(stop - start, 1))
    return curve


def gate_db(levels: Floats, below_peak: float) -> float:
    """The level that parts sound from rest in a level curve, in dB.

    `below_peak` under the loud parts where the rest is quiet, 4 dB above the rest where it is
    noise, and always at least 4 dB under the loud parts, so that a steady sound without any rest
    stays one sound.
    """
    loud, rest = np.percentile(levels, [95, 8])
    return float(min(max(loud - below_peak, rest + 4.0), loud - 4.0))


def spans(active: NDArray[np.bool_], gap: int, least: int) -> list[tuple[int, int]]:
    """Runs of True as (start, stop): holes under `gap` are filled, then runs under `least` dropped.

    >>> spans(np.array([0, 1, 1, 0, 1, 0, 0, 0, 1], bool), gap=2, least=2)
    [(1, 5)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(np.int8), [0]])))
    merged: list[tuple[int, int]] = []
    for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if merged and start - merged[-1][1] < gap:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return [(start, stop) for start, stop in merged if stop - start >= least]


def padded(samples: Floats, least: int) -> Floats:
    """At least `least` samples, zeros added at the end."""
    if len(samples) >= least:
        return samples
    return np.pad(samples, (0, least - len(samples)))


def softmax(logits: Floats) -> Floats:
    """Shares that sum to 1 over the last axis."""
    weights: Floats = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def times(values: Any) -> str:
    """Times as the tools print them: "0.21 0.63"."""
    return " ".join(f"{value:.2f}" for value in values)


def warm_clip() -> Clip:
    """Half a second of tone and hiss: a first run on it loads libraries and compiled code."""
    noise = np.random.default_rng(0).standard_normal(8000)
    samples = 0.1 * np.sin(2 * np.pi * 220 / 16_000 * np.arange(8000)) + 0.001 * noise
    return Clip(samples.astype(np.float32), 16_000, "")
