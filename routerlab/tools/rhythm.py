"""Onsets of events, and tempo of a regular pulse, from librosa's onset strength.

Both look for sudden rises of energy: reverberation, slow attacks and dense noise mislead them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routerlab.tools.base import Tool
from routerlab.tools.registry import register_tool
from routerlab.tools.signal import AUDIBLE_DB, Floats, level_curve, times, warm_clip
from routerlab.types import Clip, ToolCard

_FRAME = 512
_LEAD_S = 0.1
"""Silence put before the clip, so that a sound that starts it is an onset too."""


def onset_envelope(clip: Clip, hop: int) -> Floats:
    """Onset strength, one value a hop, `_LEAD_S` early; zeros for silence."""
    import librosa

    samples = clip.samples.astype(np.float64)
    lead = round(_LEAD_S * clip.sample_rate)
    samples = np.pad(samples, (lead, max(0, _FRAME - len(samples))))
    mel = librosa.feature.melspectrogram(
        y=samples, sr=clip.sample_rate, n_fft=_FRAME, hop_length=hop, n_mels=32
    )
    levels = librosa.power_to_db(mel, top_db=50.0)
    # Clamped to a floor a band: below it, noise flickers and the ends of tones splatter. The floor
    # stays 15 dB under the loudest moment, so that one long sound still starts somewhere.
    rest = np.percentile(levels[:, lead // hop :], 20, axis=1, keepdims=True)
    levels = np.maximum(levels, np.minimum(rest + 12.0, levels.max() - 15.0))
    envelope: Floats = librosa.onset.onset_strength(S=levels, sr=clip.sample_rate, center=False)
    return envelope


def audible(clip: Clip) -> bool:
    """Whether anything in the clip is above `AUDIBLE_DB`."""
    return bool(level_curve(clip.samples, clip.sample_rate, 0.02, 0.01).max() > AUDIBLE_DB)


@register_tool
class Onsets(Tool):
    """Times at which events start.

    Args:
        delta: how far above its surroundings the (normalised) strength must rise.
        wait_s: shortest time between two events.
    """

    card = ToolCard(
        name="onsets",
        measures="how many events start, when, and the gaps between them",
        unit="events and seconds",
        stops_at="needs clear attacks: echoes count twice, soft or overlapping starts are missed",
    )
    schema: ClassVar = {
        "count": int,
        "times_s": list,
        "mean_gap_s": (float, type(None)),
        "rate_per_min": (float, type(None)),
        "gaps_s": list,
    }
    revision = 2

    def __init__(self, delta: float = 0.12, wait_s: float = 0.06) -> None:
        self.delta = delta
        self.wait_s = wait_s

    def setup(self) -> None:
        """Load and compile outside the limit of a call."""
        self.run(warm_clip())

    def run(self, clip: Clip) -> dict[str, Any]:
        """Peaks of the onset strength."""
        found = self._peaks(clip) if audible(clip) else np.zeros(0)
        gaps = np.diff(found)
        return {
            "count": len(found),
            "times_s": [round(float(t), 2) for t in found],
            "mean_gap_s": round(float(gaps.mean()), 2) if len(gaps) else None,
            "rate_per_min": round(60.0 / float(gaps.mean()), 1) if len(gaps) else None,
            "gaps_s": [round(float(gap), 2) for gap in gaps],
        }

    def describe(self, values: Mapping[str, Any]) -> str:
        """Count, the first twelve times, mean gap."""
        count = values["count"]
        if not count:
            return "onsets: no events"
        noun = "event" if count == 1 else "events"
        gap = ""
        if values["mean_gap_s"] is not None:
            gap = f"; mean gap {values['mean_gap_s']:.2f} s, {values['rate_per_min']:.0f} a minute"
        return f"onsets: {count} {noun} at {times(values['times_s'][:12])} s{gap}"

    def _peaks(self, clip: Clip) -> Floats:
        import librosa

        hop = 128
        envelope = onset_envelope(clip, hop)
        step_s = hop / clip.sample_rate
        reach = max(1, round(0.03 / step_s))
        peaks = librosa.util.peak_pick(
            envelope / max(float(envelope.max()), 1e-9),
            pre_max=reach,
            post_max=reach,
            pre_avg=3 * reach,
            post_avg=3 * reach + 1,
            delta=self.delta,
            wait=round(self.wait_s / step_s),
        )
        found: Floats = np.clip(peaks * step_s - _LEAD_S, 0.0, clip.seconds)
        return found[~_falls(clip, found)]


def _falls(clip: Clip, at: Floats) -> NDArray[np.bool_]:
    """Whether the level falls by 3 dB around a time: the click of a sound that stops."""
    hop_s = 0.005
    levels = level_curve(clip.samples, clip.sample_rate, 0.02, hop_s)
    centre = np.rint(at / hop_s).astype(int)
    before = levels[np.clip(centre - 4, 0, len(levels) - 1)]
    after = levels[np.clip(centre + 4, 0, len(levels) - 1)]
    falls: NDArray[np.bool_] = after < before - 3.0
    return falls


@register_tool
class Tempo(Tool):
    """Beats a minute of a regular pulse, and how many beats the clip holds."""

    card = ToolCard(
        name="tempo",
        measures="the tempo of a regular pulse and its number of beats",
        unit="beats per minute",
        stops_at="needs four or more even pulses: two events or speech still get a number",
    )
    schema: ClassVar = {"tempo_bpm": (float, type(None)), "beats": int, "confidence": float}
    revision = 1

    def __init__(self, slowest_bpm: float = 50.0, fastest_bpm: float = 240.0) -> None:
        self.slowest_bpm = slowest_bpm
        self.fastest_bpm = fastest_bpm

    def setup(self) -> None:
        """Load and compile outside the limit of a call."""
        self.run(warm_clip())

    def run(self, clip: Clip) -> dict[str, Any]:
        """Autocorrelation of the onset strength, and a comb at the period found."""
        nothing: dict[str, Any] = {"tempo_bpm": None, "beats": 0, "confidence": 0.0}
        if not audible(clip):
            return nothing
        hop = 256
        rate = clip.sample_rate / hop
        envelope = onset_envelope(clip, hop)
        lag, confidence = self._period(envelope, rate)
        if not lag:
            return nothing
        bpm = 60.0 * rate / lag
        beats = _beats(envelope, lag)
        return {
            "tempo_bpm": round(bpm, 1),
            "beats": beats,
            "confidence": round(confidence, 2),
        }

    def describe(self, values: Mapping[str, Any]) -> str:
        """Rounded tempo and beats."""
        if values["tempo_bpm"] is None:
            return "tempo: no pulse"
        return f"tempo: {values['tempo_bpm']:.0f} bpm, {values['beats']} beats"

    def _period(self, envelope: Floats, rate: float) -> tuple[float, float]:
        """The pulse's period in frames (0 if none) and its correlation."""
        centred = envelope - envelope.mean()
        size = len(centred)
        spectrum = np.abs(np.fft.rfft(centred, 2 * size)) ** 2
        correlation = np.fft.irfft(spectrum)[:size]
        # Unbiased, and a little smoothed: pulses fall between frames.
        correlation = correlation / np.maximum(np.arange(size, 0, -1), size // 4) * size
        correlation = np.convolve(correlation, np.array([1, 2, 3, 2, 1]) / 9, mode="same")
        correlation = correlation / max(float(correlation[0]), 1e-9)
        low = max(2, int(60 * rate / self.fastest_bpm))
        high = min(int(np.ceil(60 * rate / self.slowest_bpm)), size - 2)
        lags = np.arange(low, high + 1)
        if not len(lags):
            return 0.0, 0.0
        here = correlation[lags]
        peaks = lags[(here > correlation[lags - 1]) & (here >= correlation[lags + 1]) & (here > 0)]
        if not len(peaks):
            return 0.0, 0.0
        # The shortest period that is nearly as good as the best: multiples are as good as it.
        good = peaks[correlation[peaks] >= 0.75 * correlation[peaks].max()]
        return _refined(correlation, int(good[0])), float(correlation[good[0]])


def _beats(envelope: Floats, period: float) -> int:
    """Pulses on the best comb of this period (librosa's tracker drops the outer ones)."""
    near = np.maximum.reduce([envelope, np.roll(envelope, 1), np.roll(envelope, -1)])
    combs = [np.arange(phase, len(near), period).astype(int) for phase in range(int(period) + 1)]
    best = max((near[comb] for comb in combs), key=lambda teeth: float(teeth.sum()))
    return int((best > 0.3 * np.percentile(best, 75)).sum())


def _refined(correlation: Floats, lag: int) -> float:
    """The period from the farthest multiple of `lag` that still peaks: finer than a frame."""
    period, best = float(lag), float(lag)
    for multiple in range(1, 8):
        at = round(period * multiple)
        if at + 2 >= 0.8 * len(correlation) and multiple > 1:
            break
        at += int(np.argmax(correlation[at - 1 : at + 2])) - 1
        if correlation[at] < 0.5 * correlation[lag]:
            break
        a, b, c = correlation[at - 1 : at + 2]
        bend = a - 2 * b + c
        shift = 0.5 * (a - c) / bend if bend < 0 else 0.0
        period = best = (at + float(np.clip(shift, -0.5, 0.5))) / multiple
    return best
