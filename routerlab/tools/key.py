"""The key of a clip, from its chroma and Temperley's profiles.

One key a clip: a modulation is averaged, and notes that fit two keys alike are said to do so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from routerlab.tools.base import Tool
from routerlab.tools.chroma import FRAME, Profiles, chroma_of, key_likenesses, mean_spectrum
from routerlab.tools.registry import register_tool
from routerlab.tools.signal import AUDIBLE_DB, NOTES, Floats, decibels, padded, warm_clip
from routerlab.types import Clip, ToolCard

# How often each degree is in a beat of the Kostka-Payne corpus (Temperley, Music and Probability,
# 2007). Krumhansl's profiles, which ask listeners, take a dominant for the tonic far more often.
_TEMPERLEY: Profiles = (
    (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
    (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
)

_FLAT = 0.28
"""Deviation of the chroma over its mean: hiss and drums stay below, music in noise above."""

_STRONG = 0.25
_LEAST_NOTES = 4
"""Pitch classes that must be at least a quarter of the strongest: a note or a triad has no key."""

_LEAST_FIT = 0.6


@register_tool
class Key(Tool):
    """The key that fits the clip's chroma best, and the one that fits next."""

    card = ToolCard(
        name="key",
        measures="the key of a piece (tonic, major or minor) and the next likely one",
        unit="key name and fit (0 to 1)",
        stops_at="one key a clip: unsure of short tunes and modulations; none in noise or drums",
    )
    schema: ClassVar = {
        "key": (str, type(None)),
        "tonic": (str, type(None)),
        "mode": (str, type(None)),
        "fit": (float, type(None)),
        "next_key": (str, type(None)),
        "next_fit": (float, type(None)),
        "why_none": (str, type(None)),
    }
    revision = 1

    def setup(self) -> None:
        """Load and compile outside the limit of a call."""
        self.run(warm_clip())

    def run(self, clip: Clip) -> dict[str, Any]:
        """Mean chroma against 24 keys."""
        samples = clip.samples.astype(np.float64)
        if decibels(np.mean(samples**2)) < AUDIBLE_DB:
            return _none("nothing sounds")
        # Frames as long as at 16 kHz, or the notes of a faster rate would blur.
        frame = round(FRAME * 2.0 ** round(np.log2(clip.sample_rate / 16_000)))
        chroma = chroma_of(mean_spectrum(padded(samples, frame), frame), clip.sample_rate)
        if chroma.std() < _FLAT * chroma.mean():
            return _none("no notes stand out")
        if (chroma > _STRONG * chroma.max()).sum() < _LEAST_NOTES:
            return _none(f"fewer than {_LEAST_NOTES} notes")
        return _best(chroma)

    def describe(self, values: Mapping[str, Any]) -> str:
        """The two likeliest keys with their fits, or why there is none."""
        if values["key"] is None:
            return f"key: none found, {values['why_none']}"
        return (
            f"key: {values['key']}, fit {values['fit']:.2f}; "
            f"next {values['next_key']}, fit {values['next_fit']:.2f}"
        )


def _best(chroma: Floats) -> dict[str, Any]:
    ranked = sorted(key_likenesses(chroma, _TEMPERLEY), key=lambda row: -row[0])
    (fit, tonic, mode), (next_fit, next_tonic, next_mode) = ranked[:2]
    if fit < _LEAST_FIT:
        return _none("the notes fit no key")
    return {
        "key": f"{NOTES[tonic]} {mode}",
        "tonic": NOTES[tonic],
        "mode": mode,
        "fit": round(fit, 2),
        "next_key": f"{NOTES[next_tonic]} {next_mode}",
        "next_fit": round(next_fit, 2),
        "why_none": None,
    }


def _none(why: str) -> dict[str, Any]:
    return dict.fromkeys(Key.schema) | {"why_none": why}
