"""Loudness over time, and the segments of sound in silence.

Both see only energy: they know nothing of what sounds, and noise or reverberation fills their gaps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from routerlab.tools.base import Tool
from routerlab.tools.registry import register_tool
from routerlab.tools.signal import (
    AUDIBLE_DB,
    FLOOR_DB,
    Floats,
    decibels,
    gate_db,
    level_curve,
    spans,
    warm_clip,
)
from routerlab.types import Clip, ToolCard

_BLOCK_S = 0.4
WINDOWS = 8


@register_tool
class Loudness(Tool):
    """Programme loudness after ITU-R BS.1770-4, and the level in eight equal windows.

    The windows reach from the start of the first sound to the end of the last one; the change is
    that of a straight line through them.

    `measure` says what `lufs` is: "LUFS" (gated), "LUFS ungated" where every block is below the
    gates, or "dBFS" (plain RMS) for a clip too short for one block of 0.4 s.
    """

    card = ToolCard(
        name="loudness",
        measures="how loud the clip is and how its level changes over time",
        unit="dB",
        stops_at="levels only: not what sounds, nor when; noise and reverberation count as sound",
    )
    schema: ClassVar = {
        "lufs": float,
        "measure": str,
        "levels_db": list,
        "trend_db_per_s": float,
        "change_db": float,
        "range_db": float,
    }
    revision = 1

    def setup(self) -> None:
        """Load and compile outside the limit of a call."""
        self.run(warm_clip())

    def run(self, clip: Clip) -> dict[str, Any]:
        """Levels from the first sound to the last, a line through the audible ones, LUFS."""
        samples = clip.samples.astype(np.float64)
        found = sound_spans(samples, clip.sample_rate) or [(0.0, clip.seconds)]
        start, stop = found[0][0], found[-1][1]
        inside = samples[round(start * clip.sample_rate) : round(stop * clip.sample_rate)]
        parts = [part for part in np.array_split(inside, WINDOWS) if len(part)]
        levels = np.array([decibels(np.mean(part**2)) for part in parts])
        heard = np.flatnonzero(levels > max(AUDIBLE_DB, levels.max() - 45.0))
        slope = _slope(heard * (stop - start) / len(parts), levels[heard])
        lufs, measure = integrated_loudness(samples, clip.sample_rate)
        return {
            "lufs": round(lufs, 1),
            "measure": measure,
            "levels_db": [round(float(level), 1) for level in levels],
            "trend_db_per_s": round(slope, 2),
            "change_db": round(slope * (stop - start), 1),
            "range_db": round(float(np.ptp(levels[heard])) if len(heard) else 0.0, 1),
        }

    def describe(self, values: Mapping[str, Any]) -> str:
        """Eight levels, their change and range."""
        levels = " ".join(f"{level:.0f}" for level in values["levels_db"])
        return (
            f"loudness: levels {levels} dB; change {values['change_db']:+.1f} dB; "
            f"range {values['range_db']:.1f} dB"
        )


@register_tool
class Segments(Tool):
    """Stretches of sound parted by rest, with their edges, lengths and levels."""

    card = ToolCard(
        name="segments",
        measures="where sound starts and stops: edges, length and level of each stretch",
        unit="seconds",
        stops_at="sounds that touch count as one; steady noise or reverberation hides the gaps",
    )
    schema: ClassVar = {
        "count": int,
        "segments": list,
        "longest": (int, type(None)),
        "loudest": (int, type(None)),
        "silence_s": float,
    }
    revision = 2

    def __init__(self, below_peak_db: float = 40.0, least_s: float = 0.04) -> None:
        self.below_peak_db = below_peak_db
        self.least_s = least_s

    def setup(self) -> None:
        """Load and compile outside the limit of a call."""
        self.run(warm_clip())

    def run(self, clip: Clip) -> dict[str, Any]:
        """Stretches above the gate, at most 4 ms early or late on clean edges."""
        samples = clip.samples.astype(np.float64)
        found = sound_spans(samples, clip.sample_rate, self.below_peak_db, self.least_s)
        rows = [_segment(samples, clip.sample_rate, start, stop) for start, stop in found]
        silence = max(0.0, clip.seconds - sum(row["seconds"] for row in rows))
        several = len(rows) > 1
        lengths = [stop - start for start, stop in found]
        powers = [_power(samples, clip.sample_rate, start, stop) for start, stop in found]
        return {
            "count": len(rows),
            "segments": rows,
            "longest": int(np.argmax(lengths)) + 1 if several else None,
            "loudest": int(np.argmax(powers)) + 1 if several else None,
            "silence_s": round(silence, 2),
        }

    def describe(self, values: Mapping[str, Any]) -> str:
        """Edges, length and level of the first six stretches; which is longest, which loudest."""
        if not values["count"]:
            return "segments: no sound"
        rows = ", ".join(
            f"{row['start_s']:.2f} to {row['end_s']:.2f} s ({row['seconds']:.2f} s, "
            f"{row['level_db']:.0f} dB)"
            for row in values["segments"][:6]
        )
        noun = "sound" if values["count"] == 1 else "sounds"
        most = ""
        if values["longest"] is not None:
            most = f"; longest {values['longest']}, loudest {values['loudest']}"
        return f"segments: {values['count']} {noun}, {rows}{most}"


def sound_spans(
    samples: Floats, rate: int, below_peak_db: float = 40.0, least_s: float = 0.04
) -> list[tuple[float, float]]:
    """(start_s, end_s) of each stretch of sound; empty for silence."""
    hop_s = 0.004
    levels = level_curve(samples, rate, 0.012, hop_s)
    if levels.max() < AUDIBLE_DB:
        return []
    active = levels > gate_db(levels, below_peak_db)
    found = spans(active, gap=4, least=max(1, round(least_s / hop_s)))
    length = len(samples) / rate
    return [(start * hop_s, min(stop * hop_s, length)) for start, stop in found]


def integrated_loudness(samples: Floats, rate: int) -> tuple[float, str]:
    """Loudness and what it is; see `Loudness`. Mono, weight 1.

    >>> tone = np.sin(2 * np.pi * 997 * np.arange(48_000) / 48_000)
    >>> integrated_loudness(tone, 48_000)
    (-3.0..., 'LUFS')
    """
    block = round(_BLOCK_S * rate)
    if len(samples) < block:
        return float(decibels(np.mean(samples**2))), "dBFS"
    total = np.concatenate([[0.0], np.cumsum(_k_weighted(samples, rate) ** 2)])
    starts = np.arange(0, len(samples) - block + 1, max(1, block // 4))
    power = (total[starts + block] - total[starts]) / block
    loudness = -0.691 + decibels(power)
    kept = power[loudness > -70.0]
    if not len(kept):
        return max(FLOOR_DB, float(-0.691 + decibels(power.mean()))), "LUFS ungated"
    gate = -0.691 + decibels(kept.mean()) - 10.0
    kept = power[loudness > max(gate, -70.0)]
    return float(-0.691 + decibels(kept.mean())), "LUFS"


def _slope(at: Floats, levels: Floats) -> float:
    """dB a second of the least-squares line; 0 for fewer than two points."""
    if len(at) < 2:
        return 0.0
    away = at - at.mean()
    return float((away * levels).sum() / (away**2).sum())


def _k_weighted(samples: Floats, rate: int) -> Floats:
    from scipy.signal import sosfilt

    sections = np.array([_shelf(rate), _high_pass(rate)])
    weighted: Floats = sosfilt(sections, samples)
    return weighted


def _shelf(rate: int) -> list[float]:
    """The head's shelf of BS.1770, for any rate (bilinear transform of its analogue prototype)."""
    gain, q, centre = 3.999843853973347, 0.7071752369554196, 1681.974450955533
    k, vh = np.tan(np.pi * min(centre / rate, 0.49)), 10 ** (gain / 20)
    vb, a0 = vh**0.4996667741545416, 1 + k / q + k * k
    b = [(vh + vb * k / q + k * k) / a0, 2 * (k * k - vh) / a0, (vh - vb * k / q + k * k) / a0]
    return [*b, 1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]


def _high_pass(rate: int) -> list[float]:
    """The low-frequency roll-off of BS.1770, for any rate."""
    q, centre = 0.5003270373238773, 38.13547087602444
    k = np.tan(np.pi * centre / rate)
    a0 = 1 + k / q + k * k
    return [1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]


def _segment(samples: Floats, rate: int, start: float, stop: float) -> dict[str, float]:
    return {
        "start_s": round(start, 3),
        "end_s": round(stop, 3),
        "seconds": round(stop - start, 3),
        "level_db": round(float(decibels(_power(samples, rate, start, stop))), 1),
    }


def _power(samples: Floats, rate: int, start: float, stop: float) -> float:
    """Mean square of a stretch."""
    return float(np.mean(samples[round(start * rate) : round(stop * rate)] ** 2))
