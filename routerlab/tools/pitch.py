"""Pitch: fundamental frequency by YIN (librosa), cut into notes.

One voice at a time: on a chord or in noise the track is confident and wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routerlab.tools.base import Tool
from routerlab.tools.notes import SCHEMA, Track, notes_of, notes_text, summary
from routerlab.tools.registry import register_tool
from routerlab.tools.signal import Floats, padded, warm_clip
from routerlab.types import Clip, ToolCard

_FRAME_S = 0.064
VOICED = 0.6
"""Least periodicity of a frame that belongs to a note."""
_AS_GOOD = 0.03
"""How much less periodic a higher pitch may be and still be taken for the fundamental."""
_CLIMB = (2, 3, 2, 2)
"""Multiples tried in turn; together more than the range from lowest to highest."""


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
    schema: ClassVar = SCHEMA
    revision = 3

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
        track = self.track(clip.samples, clip.sample_rate)
        voiced = track.periodicity > VOICED
        notes = notes_of(track, clip.samples, clip.sample_rate, voiced, self.least_s)
        return summary(notes, float(voiced.mean()))

    def describe(self, values: Mapping[str, Any]) -> str:
        """The first five notes."""
        return notes_text("pitch", values)

    def track(self, samples: Floats, rate: int) -> Track:
        """Pitch and periodicity of every frame of samples [n], voiced or not."""
        import librosa

        frame = 2 ** round(np.log2(_FRAME_S * rate))
        hop = 5 * frame // 16
        samples = padded(samples, frame)
        top = min(self.fmax_hz, rate / 4)
        low = max(min(self.fmin_hz, top / 2), 2.2 * rate / frame)
        f0 = librosa.yin(samples, fmin=low, fmax=top, sr=rate, frame_length=frame, hop_length=hop)
        periodicity = _periodicity(samples, np.rint(rate / f0).astype(int), frame, hop)
        for multiple in _CLIMB:
            # In noise YIN takes two or three periods for one; as good a period is the pitch.
            higher = np.minimum(f0 * multiple, rate / 4)
            as_good = _periodicity(samples, np.rint(rate / higher).astype(int), frame, hop)
            repeats = as_good > periodicity - _AS_GOOD
            taken = repeats & (f0 * multiple <= top)
            # As good all the way up: no period, but a slow drift (brown noise) or a higher pitch.
            beyond = repeats & (f0 * multiple > top)
            f0 = np.where(taken, higher, f0)
            periodicity = np.where(beyond, 0.0, np.where(taken, as_good, periodicity))
        return Track(f0, periodicity, hop / rate)


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
