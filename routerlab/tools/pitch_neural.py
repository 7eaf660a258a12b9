"""Pitch by a network (CREPE), cut into notes as `pitch` cuts its own.

One voice at a time, as `pitch`, and slower by far; it still hears in noise as loud as the voice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from routerlab.errors import ToolError
from routerlab.tools.base import Tool
from routerlab.tools.crepe import FRAME, RATE, SIZES, WHEEL, Crepe, pitches
from routerlab.tools.hub_models import DEVICES, heard
from routerlab.tools.notes import SCHEMA, Track, notes_of, notes_text, summary
from routerlab.tools.signal import AUDIBLE_DB, Floats, level_curve, warm_clip
from routerlab.tools.wheels import wheel_mark
from routerlab.types import Clip, ToolCard

_HOP = 320


class PitchNeural(Tool):
    """Notes of a single voice: name, cents, times.

    Args:
        size: of the network, "tiny" or "full" (thirty times slower on a CPU).
        device: where it runs.
        fmin_hz: lowest pitch looked for.
        fmax_hz: highest.
        least_s: shortest note.
        voiced: least likelihood of a frame that belongs to a note.
        most_s: longer clips are refused: they would take longer than a call may.
    """

    card = ToolCard(
        name="pitch_neural",
        measures="the notes of one voice or instrument, in loud noise too: pitch, tuning and times",
        unit="note name, cents and Hz",
        stops_at="one voice at a time: none in chords, several voices or drums; slow",
        needs=(WHEEL,),
        licence="MIT",
    )
    schema: ClassVar = SCHEMA
    needs_torch: ClassVar[bool] = True

    def __init__(
        self,
        size: str = "tiny",
        device: str = "cpu",
        fmin_hz: float = 50.0,
        fmax_hz: float = 1900.0,
        least_s: float = 0.06,
        voiced: float = 0.5,
        most_s: float = 180.0,
    ) -> None:
        if size not in SIZES:
            raise ValueError(f"size is {size!r}; allowed: {', '.join(SIZES)}")
        if not DEVICES.fullmatch(device):
            raise ValueError(f"device is {device!r}; allowed: cpu, cuda, cuda:N, mps")
        self._size, self._device = size, device
        self._range = fmin_hz, fmax_hz
        self._least_s, self._voiced, self._most_s = least_s, voiced, most_s

    @property
    def version(self) -> str:
        """With the wheel that holds the weights."""
        return f"{super().version} {wheel_mark(WHEEL)}"

    def setup(self) -> None:
        """Read the weights."""
        self._network = Crepe(self._size, self._device)
        self.run(warm_clip())

    def run(self, clip: Clip) -> dict[str, Any]:
        """Track where it is loud enough, cut at gaps and at jumps, summarise.

        Raises:
            ToolError: kind "refused", for a clip that is too long or not finite.
        """
        if clip.seconds > self._most_s:
            raise ToolError(
                "refused", f"the clip is {clip.seconds:.0f} s long; most_s is {self._most_s:g}"
            )
        samples = heard(clip)
        track = self._track(samples)
        voiced = track.periodicity >= self._voiced
        notes = notes_of(track, samples, RATE, voiced, self._least_s)
        return summary(notes, float(voiced.mean()))

    def describe(self, values: Mapping[str, Any]) -> str:
        """The first five notes."""
        return notes_text("pitch_neural", values)

    def _track(self, samples: Floats) -> Track:
        """Frames around 0, 20 ms, 40 ms ...; quiet ones are not looked at and have no pitch."""
        loud = level_curve(samples, RATE, FRAME / RATE, _HOP / RATE) >= AUDIBLE_DB
        around = np.pad(samples.astype(np.float32), FRAME // 2)
        frames = np.lib.stride_tricks.sliding_window_view(around, FRAME)[::_HOP][: len(loud)]
        f0, likely = np.full(len(loud), self._range[0]), np.zeros(len(loud))
        if loud.any():
            f0[loud], likely[loud] = pitches(self._network.likelihoods(frames[loud]), *self._range)
        return Track(f0, likely, _HOP / RATE)
