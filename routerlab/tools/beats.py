"""Beats and downbeats of music by the Beat This! network, from a folder or hub id.

Its own front end, cutting and peak picking are used. It stops at times: which part of a bar a beat
is beyond the first, and the style, are not asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from routerlab.tools.base import MAX_TEXT
from routerlab.tools.beat_weights import WHEEL, network
from routerlab.tools.hub_models import HubTool, audible, heard
from routerlab.tools.signal import Floats, padded
from routerlab.types import Clip, ToolCard

RATE = 22_050
_FRAMES_A_S = 50
_CHUNK, _BORDER = 1500, 6
"""Frames that the network hears at once, and of each side that are not believed (its own)."""

_MOST = 1000
_LEAST_S = 0.1


class Beats(HubTool):
    """Beats, downbeats, tempo and metre, from weights that `beat_weights` has written.

    Args:
        model: a folder, or a hub id.
        revision: commit, tag or branch of a hub id.
        device: where it runs.
        dtype: number format of the weights.
    """

    card = ToolCard(
        name="beats",
        measures="when the beats and downbeats of music fall, its tempo and beats a bar",
        unit="seconds and beats per minute",
        stops_at="music with a pulse: not speech or single sounds; the metre needs two bars",
        needs=(WHEEL,),
        licence="MIT",
    )
    schema: ClassVar = {
        "tempo_bpm": (float, type(None)),
        "count": int,
        "beats_s": list,
        "downbeats_s": list,
        "beats_per_bar": (int, type(None)),
        "confidence": float,
    }
    batch_size = 1
    library: ClassVar[str] = WHEEL

    def load(self) -> None:
        """Network, spectrogram and peak picking."""
        self._network = network(self.source)
        from beat_this.inference import split_predict_aggregate
        from beat_this.model.postprocessor import Postprocessor
        from beat_this.preprocessing import LogMelSpect

        self._spectrum = LogMelSpect(device=self.source.device)
        self._predict, self._peaks = split_predict_aggregate, Postprocessor("minimal")

    def run_many(
        self, clips: Sequence[Clip], choices: Sequence[tuple[str, ...]] = ()
    ) -> list[dict[str, Any]]:
        """Values clip by clip: they differ in length, and a chunk is a batch already."""
        return [_values(*self._beats(clip)) for clip in clips]

    def describe(self, values: Mapping[str, Any]) -> str:
        """Tempo, count, metre, and as many beats as there is room for; downbeats with a star."""
        if not values["count"]:
            return "beats: no beats found"
        tempo, bar = values["tempo_bpm"], values["beats_per_bar"]
        text = "beats: " + (f"{tempo:.0f} bpm, " if tempo else "tempo not found, ")
        text += f"{values['count']} beat{'s' if values['count'] > 1 else ''}, "
        text += f"{bar} a bar" if bar else "metre not found"
        text += "; at (* downbeat)"
        first = set(values["downbeats_s"])
        for at in values["beats_s"]:
            told = f" {at:.2f}{'*' if at in first else ''}"
            if len(text) + len(told) > MAX_TEXT - 6:
                return f"{text} ... s"
            text += told
        return f"{text} s"

    def _beats(self, clip: Clip) -> tuple[Floats, Floats, Floats]:
        """Beats and downbeats in seconds, and how likely each beat is."""
        import torch

        samples = padded(heard(clip, RATE), round(_LEAST_S * RATE))
        if not audible(clip):
            return np.zeros(0), np.zeros(0), np.zeros(0)
        with torch.inference_mode():
            given = torch.tensor(samples, device=self.source.device)
            seen = self._spectrum(given).to(self._network.frontend.linear.weight.dtype)
            found = self._predict(seen, _CHUNK, _BORDER, "keep_first", self._network)
            beat = found["beat"].float()
            beats, downbeats = self._peaks(beat, found["downbeat"].float())
            likely = torch.sigmoid(beat).cpu().numpy()
        frames = np.clip(np.rint(beats * _FRAMES_A_S).astype(int), 0, len(likely) - 1)
        return np.asarray(beats), np.asarray(downbeats), likely[frames]


def _values(beats: Floats, downbeats: Floats, likely: Floats) -> dict[str, Any]:
    return {
        "tempo_bpm": tempo_of(beats),
        "count": len(beats),
        "beats_s": [round(float(at), 2) for at in beats[:_MOST]],
        "downbeats_s": [round(float(at), 2) for at in downbeats[:_MOST]],
        "beats_per_bar": metre_of(beats, downbeats),
        "confidence": round(float(likely.mean()), 2) if len(likely) else 0.0,
    }


def tempo_of(beats: Floats) -> float | None:
    """Beats a minute by the mean of the usual gaps; None below three beats or without usual ones.

    >>> tempo_of(np.array([0.5, 1.0, 1.5, 2.0, 4.0]))
    120.0
    """
    gaps = np.diff(beats)
    if len(gaps) < 2:
        return None
    usual = gaps[np.abs(gaps / np.median(gaps) - 1) < 0.2]
    return round(60 / float(usual.mean()), 1) if len(usual) > len(gaps) / 2 else None


def metre_of(beats: Floats, downbeats: Floats) -> int | None:
    """Beats from downbeat to downbeat, where most of two or more bars agree; else None.

    >>> metre_of(np.arange(10.0), np.array([0.0, 3.0, 6.0, 9.0]))
    3
    """
    bars = np.diff(np.searchsorted(beats, downbeats))
    if len(bars) < 2:
        return None
    counts = np.bincount(bars)
    usual = int(counts.argmax())
    return usual if counts[usual] > len(bars) / 2 and usual > 1 else None
