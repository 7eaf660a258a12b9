"""Notes out of a pitch track: cut at gaps and jumps, named, summarised, told in one form.

It stops at a track of one voice; where the track comes from is each pitch tool's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routerlab.tools.levels import sound_spans
from routerlab.tools.signal import Floats, note_name

SCHEMA: Mapping[str, Any] = {
    "notes": list,
    "steps": list,
    "f0_hz": (float, type(None)),
    "note": (str, type(None)),
    "cents": (int, type(None)),
    "voiced_share": float,
    "confidence": float,
}
"""Of `summary`."""


@dataclass(frozen=True)
class Track:
    """Frames of a clip: f0 [T] in Hz, periodicity [T] in 0 to 1, seconds between frames."""

    f0_hz: Floats
    periodicity: Floats
    step_s: float


def notes_of(
    track: Track, samples: Floats, rate: int, voiced: NDArray[np.bool_], least_s: float
) -> list[dict[str, Any]]:
    """Notes in the stretches of sound: runs of voiced frames that keep their pitch."""
    centre = np.arange(len(voiced)) * track.step_s
    notes = []
    for start, stop in sound_spans(samples, rate, 35.0, least_s):
        inside = np.flatnonzero((centre >= start) & (centre <= stop) & voiced)
        semitones = 12 * np.log2(track.f0_hz[inside])
        for first, last in _steady_runs(semitones, round(least_s / track.step_s)):
            notes.append(_note(track, inside[first:last], (start, stop)))
    return notes


def summary(notes: list[dict[str, Any]], voiced: float) -> dict[str, Any]:
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


def notes_text(tool: str, values: Mapping[str, Any]) -> str:
    """The first five notes."""
    if not values["notes"]:
        return f"{tool}: no clear pitch"
    notes = "; ".join(
        f"{note['note']} {note['cents']:+d} cents at {note['start_s']:.1f} to {note['end_s']:.1f} s"
        for note in values["notes"][:5]
    )
    steps = " ".join(f"{step:+d}" for step in values["steps"][:4])
    return f"{tool}: {notes}; steps {steps}" if steps else f"{tool}: {notes}"


def _note(track: Track, frames: NDArray[np.intp], span: tuple[float, float]) -> dict[str, Any]:
    start = max(span[0], float(frames[0] - 0.5) * track.step_s)
    stop = min(span[1], float(frames[-1] + 0.5) * track.step_s)
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
