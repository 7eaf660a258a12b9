"""Pitch: fundamental frequency by YIN (librosa), cut into notes.

One voice at a time: on a chord or in noise the track is confident and wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routerlab.tools.base import Tool
from routerlab.tools.levels import sound_spans
from routerlab.tools.registry import register_tool
from routerlab.tools.signal import Floats, note_name, padded, warm_clip
from routerlab.types import Clip, ToolCard

_FRAME_S = 0.064
_VOICED = 0.6
"""Least periodicity of a frame that belongs to a note."""
_AS_GOOD = 0.03
"""How much less periodic a higher pitch may be and still be taken for the fundamental."""


@dataclass(frozen=True)
class Track:
    """Frames of a clip: f0 [T] in Hz, periodicity [T] in 0 to 1, seconds between frames."""

    f0_hz: Floats
    periodicity: Floats
    step_s: float


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
        "steps": list,
        "f0_hz": (float, type(None)),
        "note": (str, type(None)),
        "cents": (int, type(None)),
        "voiced_share": float,
        "confidence": float,
    }
    revision = 2

    def __init__(
        self, fmin_hz: float = 65.0, fmax_hz: float = 1400.0, least_s: float = 0.06
    ) -> None:
        self.fmin_hz = fmin_hz
        self.fmax_hz = fmax_hz
        self.least_s = least_s

    def setup(self) -> None:
        """Load and compile outside the limit of a call."""
        self.run(warm_clip())

    def run(self, clip: Clip) -> dict[str, Any]:
        """Track, cut at gaps and at jumps of more than half a semitone, summarise."""
        samples, rate = clip.samples, clip.sample_rate
        track = self._track(samples, rate)
        voiced = track.periodicity > _VOICED
        centre = np.arange(len(voiced)) * track.step_s
        notes = []
        for start, stop in sound_spans(samples, rate, 35.0, self.least_s):
            inside = np.flatnonzero((centre >= start) & (centre <= stop) & voiced)
            notes += self._notes(track, inside, (start, stop))
        return _summary(notes, float(voiced.mean()))

    def describe(self, values: Mapping[str, Any]) -> str:
        """The first five notes."""
        if not values["notes"]:
            return "pitch: no clear pitch"
        notes = "; ".join(
            f"{note['note']} {note['cents']:+d} cents at {note['start_s']:.1f} to "
            f"{note['end_s']:.1f} s"
            for note in values["notes"][:5]
        )
        steps = " ".join(f"{step:+d}" for step in values["steps"][:4])
        return f"pitch: {notes}; steps {steps}" if steps else f"pitch: {notes}"

    def _track(self, samples: Floats, rate: int) -> Track:
        import librosa

        frame = 2 ** round(np.log2(_FRAME_S * rate))
        hop = 5 * frame // 16
        samples = padded(samples, frame)
        top = min(self.fmax_hz, rate / 4)
        low = max(min(self.fmin_hz, top / 2), 2.2 * rate / frame)
        f0 = librosa.yin(samples, fmin=low, fmax=top, sr=rate, frame_length=frame, hop_length=hop)
        periodicity = _periodicity(samples, np.rint(rate / f0).astype(int), frame, hop)
        for multiple in (2, 3):
            # In noise YIN takes two or three periods for one; as good a period is the pitch.
            higher = np.minimum(f0 * multiple, rate / 4)
            as_good = _periodicity(samples, np.rint(rate / higher).astype(int), frame, hop)
            taken = (as_good > periodicity - _AS_GOOD) & (f0 * multiple <= top)
            f0 = np.where(taken, higher, f0)
            periodicity = np.where(taken, as_good, periodicity)
        return Track(f0, periodicity, hop / rate)

    def _notes(
        self, track: Track, inside: NDArray[np.intp], span: tuple[float, float]
    ) -> list[dict[str, Any]]:
        """Notes of one stretch of sound: runs of voiced frames that keep their pitch."""
        semitones = 12 * np.log2(track.f0_hz[inside])
        notes = []
        for first, last in _steady_runs(semitones, round(self.least_s / track.step_s)):
            frames = inside[first:last]
            start = max(span[0], float(frames[0] - 0.5) * track.step_s)
            stop = min(span[1], float(frames[-1] + 0.5) * track.step_s)
            notes.append(_note(track, frames, start, stop))
        return notes


def _note(track: Track, frames: NDArray[np.intp], start: float, stop: float) -> dict[str, Any]:
    f0 = float(np.median(track.f0_hz[frames]))
    name, cents = note_name(f0)
    return {
        "note": name,
        "start_s": round(start, 2),
        "end_s": round(stop, 2),
        "f0_hz": round(f0, 1),
        "cents": cents,
        "confidence": round(float(track.periodicity[frames].mean()), 2),
    }


def _periodicity(samples: Floats, period: NDArray[np.intp], frame: int, hop: int) -> Floats:
    """Normalised correlation of each frame's middle with itself one period later."""
    half = frame // 2
    around = np.pad(samples, (half, frame))
    start = np.arange(len(period)) * hop + half // 2
    offsets = np.arange(0, half, 2)
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


def _steps(notes: Sequence[Mapping[str, Any]]) -> list[int]:
    """Semitones from each note to the next, rounded."""
    return [
        round(12 * float(np.log2(after["f0_hz"] / before["f0_hz"])))
        for before, after in pairwise(notes)
    ]


def _summary(notes: list[dict[str, Any]], voiced: float) -> dict[str, Any]:
    """The notes, and the longest of them as the clip's pitch."""
    rows = [{k: v for k, v in note.items() if k != "confidence"} for note in notes]
    if not notes:
        return {
            "notes": [],
            "steps": [],
            "f0_hz": None,
            "note": None,
            "cents": None,
            "voiced_share": round(voiced, 2),
            "confidence": 0.0,
        }
    longest = max(notes, key=lambda note: note["end_s"] - note["start_s"])
    return {
        "notes": rows,
        "steps": _steps(notes),
        "f0_hz": longest["f0_hz"],
        "note": longest["note"],
        "cents": longest["cents"],
        "voiced_share": round(voiced, 2),
        "confidence": longest["confidence"],
    }
