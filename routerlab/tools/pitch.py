"""Pitch: fundamental frequency by YIN (librosa), cut into notes.

One voice at a time: on a chord or in noise the track is confident and wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routerlab.tools.base import Tool
from routerlab.tools.levels import sound_spans
from routerlab.tools.registry import register_tool
from routerlab.tools.signal import Floats, note_name, padded
from routerlab.types import Clip, ToolCard

_FRAME, _HOP = 1024, 256
_MAYBE_FLOAT = (float, type(None))


@register_tool
class Pitch(Tool):
    """Notes of a single voice: name, cents, times.

    Args:
        fmin_hz: lowest pitch looked for.
        fmax_hz: highest.
        least_s: shortest note.
    """

    card = ToolCard(
        name="pitch",
        measures="the notes of one voice or instrument: pitch, tuning and times",
        unit="note name, cents and Hz",
        stops_at="one voice at a time: wrong on chords, several voices, strong noise or drums",
    )
    schema: ClassVar = {
        "notes": list,
        "f0_hz": _MAYBE_FLOAT,
        "note": (str, type(None)),
        "cents": (int, type(None)),
        "voiced_share": float,
        "confidence": float,
    }
    revision = 1

    def __init__(
        self, fmin_hz: float = 65.0, fmax_hz: float = 1400.0, least_s: float = 0.06
    ) -> None:
        self.fmin_hz = fmin_hz
        self.fmax_hz = fmax_hz
        self.least_s = least_s

    def run(self, clip: Clip) -> dict[str, Any]:
        """Track, cut at gaps and at jumps of more than half a semitone, summarise."""
        samples, rate = clip.samples.astype(np.float64), clip.sample_rate
        f0, periodicity = self._track(padded(samples, _FRAME), rate)
        centre = np.arange(len(f0)) * _HOP / rate
        notes = []
        for start, stop in sound_spans(samples, rate, 30.0, self.least_s):
            inside = np.flatnonzero((centre >= start) & (centre <= stop) & (periodicity > 0.6))
            notes += self._notes(f0, periodicity, inside, (start, stop), rate)
        return _summary(notes, f0, periodicity)

    def describe(self, values: Mapping[str, Any]) -> str:
        """The first five notes."""
        if not values["notes"]:
            return "pitch: no clear pitch"
        return "pitch: " + "; ".join(
            f"{note['note']} {note['cents']:+d} cents at {note['start_s']:.1f} to "
            f"{note['end_s']:.1f} s"
            for note in values["notes"][:5]
        )

    def _track(self, samples: Floats, rate: int) -> tuple[Floats, Floats]:
        """F0 in Hz and periodicity in 0 to 1, a frame every 16 ms at 16 kHz."""
        import librosa

        top = min(self.fmax_hz, rate / 4)
        low = max(min(self.fmin_hz, top / 2), 2.2 * rate / _FRAME)
        f0 = librosa.yin(samples, fmin=low, fmax=top, sr=rate, frame_length=_FRAME, hop_length=_HOP)
        return f0, _periodicity(samples, np.rint(rate / f0).astype(int))

    def _notes(
        self,
        f0: Floats,
        periodicity: Floats,
        inside: NDArray[np.intp],
        span: tuple[float, float],
        rate: int,
    ) -> list[dict[str, Any]]:
        """Notes of one stretch of sound: runs of voiced frames that keep their pitch."""
        if not len(inside):
            return []
        step_s = _HOP / rate
        runs = _steady_runs(12 * np.log2(f0[inside]), round(self.least_s / step_s))
        edges = [
            (float(inside[a] - 0.5) * step_s, float(inside[b - 1] + 0.5) * step_s) for a, b in runs
        ]
        notes = []
        for (a, b), (start, stop) in zip(runs, edges, strict=True):
            frames = inside[a:b]
            start, stop = max(start, span[0]), min(stop, span[1])
            pitch = float(np.median(f0[frames]))
            name, cents = note_name(pitch)
            notes.append(
                {
                    "note": name,
                    "start_s": round(start, 2),
                    "end_s": round(stop, 2),
                    "f0_hz": round(pitch, 1),
                    "cents": cents,
                    "confidence": round(float(periodicity[frames].mean()), 2),
                }
            )
        return notes


def _periodicity(samples: Floats, period: NDArray[np.intp]) -> Floats:
    """Normalised correlation of each frame's middle with itself one period later."""
    half, width = _FRAME // 2, _FRAME // 2
    around = np.pad(samples, (half, _FRAME))
    start = np.arange(len(period)) * _HOP + half // 2
    offsets = np.arange(0, width, 2)
    now = around[start[:, None] + offsets]
    later = around[(start + period)[:, None] + offsets]
    power = np.sqrt((now**2).sum(axis=1) * (later**2).sum(axis=1))
    likeness: Floats = np.clip((now * later).sum(axis=1) / np.maximum(power, 1e-9), 0.0, 1.0)
    return likeness


def _steady_runs(semitones: Floats, least: int) -> list[tuple[int, int]]:
    """(start, stop) of stretches without a jump of half a semitone; equal neighbours are joined."""
    jumps = np.flatnonzero(np.abs(np.diff(semitones)) > 0.5) + 1
    cuts = [0, *jumps.tolist(), len(semitones)]
    runs: list[tuple[int, int]] = []
    for start, stop in pairwise(cuts):
        if stop - start < max(2, least):
            continue
        middle = np.median(semitones[start:stop])
        if runs and abs(np.median(semitones[slice(*runs[-1])]) - middle) < 0.6:
            runs[-1] = (runs[-1][0], stop)
        else:
            runs.append((start, stop))
    return runs


def _summary(notes: list[dict[str, Any]], f0: Floats, periodicity: Floats) -> dict[str, Any]:
    """The notes, and the longest of them as the clip's pitch."""
    voiced = float((periodicity > 0.6).mean())
    rows = [{k: v for k, v in note.items() if k != "confidence"} for note in notes]
    if not notes:
        return {
            "notes": [],
            "f0_hz": None,
            "note": None,
            "cents": None,
            "voiced_share": round(voiced, 2),
            "confidence": 0.0,
        }
    longest = max(notes, key=lambda note: note["end_s"] - note["start_s"])
    return {
        "notes": rows,
        "f0_hz": longest["f0_hz"],
        "note": longest["note"],
        "cents": longest["cents"],
        "voiced_share": round(voiced, 2),
        "confidence": longest["confidence"],
    }
