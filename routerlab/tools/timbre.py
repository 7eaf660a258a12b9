"""Brightness of the spectrum, and the technical quality of a recording.

Both describe the mixture: they cannot say which source is bright, or what the noise is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from routerlab.tools.base import Tool
from routerlab.tools.registry import register_tool
from routerlab.tools.signal import AUDIBLE_DB, Floats, decibels, level_curve, padded, warm_clip
from routerlab.types import Clip, ToolCard

_FRAME, _HOP = 1024, 512
_FULL_SCALE = 0.999
_LEAST_SNR_DB = -5.0


def power_frames(clip: Clip) -> Floats:
    """Power spectra [bins, frames] of Hann windows."""
    import librosa

    samples = padded(clip.samples.astype(np.float64), _FRAME)
    power: Floats = np.abs(librosa.stft(samples, n_fft=_FRAME, hop_length=_HOP)) ** 2
    return power


@register_tool
class Brightness(Tool):
    """Centre of gravity of the spectrum, of the whole and of both halves."""

    card = ToolCard(
        name="brightness",
        measures="how bright or dull the sound is: where its spectrum has its weight",
        unit="Hz",
        stops_at="the mixture only: noise brightens it; says nothing about pitch or source",
    )
    schema: ClassVar = {
        "centroid_hz": (float, type(None)),
        "rolloff_hz": (float, type(None)),
        "halves_hz": list,
        "flatness": float,
    }
    revision = 1

    def setup(self) -> None:
        """Load and compile outside the limit of a call."""
        self.run(warm_clip())

    def run(self, clip: Clip) -> dict[str, Any]:
        """Power-weighted centroid, 85 % roll-off and flatness."""
        power = power_frames(clip)
        if decibels(np.mean(clip.samples.astype(np.float64) ** 2)) < AUDIBLE_DB:
            return {"centroid_hz": None, "rolloff_hz": None, "halves_hz": [], "flatness": 0.0}
        hertz = np.fft.rfftfreq(_FRAME, 1 / clip.sample_rate)
        whole = power.mean(axis=1)
        share = np.cumsum(whole) / whole.sum()
        halves = [half.mean(axis=1) for half in np.array_split(power, 2, axis=1) if half.size]
        floor = whole + 1e-12
        return {
            "centroid_hz": round(_centroid(whole, hertz), 0),
            "rolloff_hz": round(float(hertz[np.searchsorted(share, 0.85)]), 0),
            "halves_hz": [round(_centroid(half, hertz), 0) for half in halves],
            "flatness": round(float(np.exp(np.log(floor).mean()) / floor.mean()), 3),
        }

    def describe(self, values: Mapping[str, Any]) -> str:
        """Centroid, roll-off and the halves."""
        if values["centroid_hz"] is None:
            return "brightness: no sound"
        halves = " then ".join(f"{half:.0f}" for half in values["halves_hz"])
        return (
            f"brightness: centroid {values['centroid_hz']:.0f} Hz, rolloff "
            f"{values['rolloff_hz']:.0f} Hz; halves {halves} Hz"
        )


@register_tool
class Quality(Tool):
    """Signal-to-noise ratio from loud and quiet moments, clipping and bandwidth."""

    card = ToolCard(
        name="quality",
        measures="how clean the recording is: noise, clipping and bandwidth",
        unit="dB, percent and Hz",
        stops_at="needs pauses to hear the noise in; not the content, loudness or source",
    )
    schema: ClassVar = {
        "snr_db": (float, type(None)),
        "clipped_percent": float,
        "bandwidth_hz": (float, type(None)),
    }
    revision = 2

    def setup(self) -> None:
        """Load and compile outside the limit of a call."""
        self.run(warm_clip())

    def run(self, clip: Clip) -> dict[str, Any]:
        """Percentiles of the level, share of full-scale samples, highest strong frequency."""
        clipped = 100 * float((np.abs(clip.samples) >= _FULL_SCALE).mean())
        levels = level_curve(clip.samples, clip.sample_rate, 0.03, 0.015)
        if levels.max() < AUDIBLE_DB:
            return {"snr_db": None, "clipped_percent": round(clipped, 2), "bandwidth_hz": None}
        loud, rest = np.percentile(levels, [90, 8])
        signal = max(10 ** (loud / 10) - 10 ** (rest / 10), 1e-12)
        snr = min(10 * np.log10(signal) - rest, 60.0)
        spectrum = decibels(power_frames(clip).mean(axis=1))
        hertz = np.fft.rfftfreq(_FRAME, 1 / clip.sample_rate)
        strong = np.flatnonzero(spectrum > spectrum.max() - 50.0)
        return {
            # Where the level hardly moves there is no pause, and a tone cannot be told from noise.
            "snr_db": round(float(snr), 1) if snr > _LEAST_SNR_DB else None,
            "clipped_percent": round(clipped, 2),
            "bandwidth_hz": round(float(hertz[strong[-1]]), 0),
        }

    def describe(self, values: Mapping[str, Any]) -> str:
        """Noise, clipping, bandwidth."""
        if values["bandwidth_hz"] is None:
            return "quality: no sound"
        snr = values["snr_db"]
        noise = "no pause to hear noise in" if snr is None else f"SNR {snr:.0f} dB"
        return (
            f"quality: {noise}, clipped {values['clipped_percent']:.1f} "
            f"percent, bandwidth {values['bandwidth_hz']:.0f} Hz"
        )


def _centroid(spectrum: Floats, hertz: Floats) -> float:
    return float((spectrum * hertz).sum() / max(float(spectrum.sum()), 1e-12))
