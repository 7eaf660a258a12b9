"""The chord of a clip, and a first guess at its key, from chroma and templates.

One chord at a time: a melody or a change of chord is averaged into whatever fits best.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import numpy as np

from routerlab.tools.base import Tool
from routerlab.tools.chroma import FRAME, chroma_of, key_likenesses, mean_spectrum
from routerlab.tools.registry import register_tool
from routerlab.tools.signal import AUDIBLE_DB, NOTES, Floats, decibels, padded, warm_clip
from routerlab.types import Clip, ToolCard

QUALITIES = {
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "diminished": (0, 3, 6),
    "augmented": (0, 4, 8),
}
"""Semitones above the root."""

# Probe-tone ratings of Krumhansl and Kessler (1982), tonic first.
_KRUMHANSL = (
    (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
)

_OVERTONES = ((0, 1.0), (7, 0.18), (4, 0.06))
"""Semitones (mod 12) and energy that a note's third and fifth partials lend to other classes."""

_BASS_BONUS = 0.03
"""How much of the fit the bass note decides: it settles the three names of an augmented chord."""


@register_tool
class Chord(Tool):
    """The triad that fits the clip's chroma best, and the key (Krumhansl's profiles)."""

    card = ToolCard(
        name="chord",
        measures="which chord sounds (root and quality) and the likeliest key",
        unit="chord and key name",
        stops_at="one chord a clip: wrong on melodies, single notes, changing chords and noise",
    )
    schema: ClassVar = {
        "chord": (str, type(None)),
        "quality": (str, type(None)),
        "root": (str, type(None)),
        "fit": float,
        "key": (str, type(None)),
        "strongest": list,
    }
    revision = 1

    def setup(self) -> None:
        """Load and compile outside the limit of a call."""
        self.run(warm_clip())

    def run(self, clip: Clip) -> dict[str, Any]:
        """Mean chroma against 48 triads and 24 keys."""
        samples = clip.samples.astype(np.float64)
        if decibels(np.mean(samples**2)) < AUDIBLE_DB:
            nothing = dict.fromkeys(("chord", "quality", "root", "key"))
            return {**nothing, "fit": 0.0, "strongest": []}
        chroma, bass = _chroma_and_bass(padded(samples, FRAME), clip.sample_rate)
        root, quality, fit = _best_chord(chroma, bass)
        strongest = [NOTES[i] for i in np.argsort(-chroma)[:3]]
        return {
            "chord": f"{NOTES[root]} {quality}",
            "quality": quality,
            "root": NOTES[root],
            "fit": round(fit, 2),
            "key": _best_key(chroma),
            "strongest": strongest,
        }

    def describe(self, values: Mapping[str, Any]) -> str:
        """Chord, fit, key and the three strongest classes."""
        if values["chord"] is None:
            return "chord: nothing sounds"
        return (
            f"chord: {values['chord']}, fit {values['fit']:.2f}; key: {values['key']}; "
            f"strongest {' '.join(values['strongest'])}"
        )


def _chroma_and_bass(samples: Floats, rate: int) -> tuple[Floats, int | None]:
    """Chroma [12] of unit length, C first, and the pitch class of the lowest strong partial."""
    spectrum = mean_spectrum(samples)
    return chroma_of(spectrum, rate), _bass(spectrum, rate)


def _bass(spectrum: Floats, rate: int) -> int | None:
    """Pitch class of the lowest partial within 14 dB of the strongest, 50 to 1000 Hz."""
    low, high = round(50 * FRAME / rate), round(1000 * FRAME / rate)
    band = spectrum[low : high + 1]
    inner = band[1:-1]
    peaks = np.flatnonzero((inner > band[:-2]) & (inner >= band[2:]) & (inner > band.max() * 0.04))
    if not len(peaks):
        return None
    hertz = (low + 1 + int(peaks[0])) * rate / FRAME
    return round(float(69 + 12 * np.log2(hertz / 440.0))) % 12


@cache
def _chords() -> tuple[list[tuple[int, str]], Floats]:
    """(root, quality) and unit templates [48, 12] that include the first overtones."""
    names, rows = [], []
    for quality, steps in QUALITIES.items():
        for root in range(12):
            row = np.zeros(12)
            for step in steps:
                for overtone, energy in _OVERTONES:
                    row[(root + step + overtone) % 12] += energy
            names.append((root, quality))
            rows.append(np.sqrt(row) / np.linalg.norm(np.sqrt(row)))
    return names, np.array(rows)


def _best_chord(chroma: Floats, bass: int | None) -> tuple[int, str, float]:
    names, templates = _chords()
    fits = templates @ chroma
    bonus = np.array([_BASS_BONUS * (root == bass) for root, _ in names])
    best = int(np.argmax(fits + bonus))
    root, quality = names[best]
    return root, quality, float(fits[best])


def _best_key(chroma: Floats) -> str:
    """Highest correlation with the rotated key profiles."""
    _, tonic, mode = max(key_likenesses(chroma, _KRUMHANSL), key=lambda row: row[0])
    return f"{NOTES[tonic]} {mode}"
