"""What the tools on Whisper share: settings, a gate before the model, windows of a long clip.

Whisper writes sentences for silence and for noise too, so it is asked only where the gate hears a
voice. It stops at which parts of a clip are asked about; what is told of them is each tool's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from routerlab.errors import UserError
from routerlab.tools.hub_models import HubModel, HubTool, heard
from routerlab.tools.signal import warm_clip
from routerlab.tools.stretches import Stretch
from routerlab.tools.voices import RATE, Gate, Span, cut, windows
from routerlab.tools.whisper import UNSURE, Whisper
from routerlab.types import Clip

MODEL = "openai/whisper-small"

_MARGIN_S = 0.2
"""Heard before and after a voice, where there is room: soft first and last sounds."""

_GAP_S = 2.0
"""Shorter pauses are heard in one piece: the model needs the sentence."""

_LEAST_S = 0.2
"""Shorter sounds hold no word."""

_MOST_WINDOWS = 20
"""More would not fit what is kept of a call."""

_NOBODY = 0.6
"""Whisper's authors' threshold of "nobody speaks"."""


@dataclass(frozen=True)
class Spoken:
    """What of a clip a speech model is asked about.

    Attributes:
        parts: with margins, each within the model's window.
        speech_s: seconds that passed the gate.
        unheard_s: those of them that lie in no part.
    """

    parts: list[Stretch]
    speech_s: float
    unheard_s: float


class SpokenTool(HubTool):
    """A tool that stands on Whisper behind a gate; a subclass calls `_open` in `__init__`."""

    @property
    def version(self) -> str:
        """With the wheel that holds the gate's weights."""
        return f"{super().version} {self._gate_mark()}"

    def load(self) -> None:
        """Whisper, once it is clear that the gate is there."""
        self._gate_mark()
        self._whisper = Whisper(self.source)

    def setup(self) -> None:
        """Load, and hear a first sound; the gate would keep it from the model."""
        self.load()
        samples = heard(warm_clip())
        self._gate.spans(samples)
        self._whisper.write(self._whisper.hear([samples]), [0.1], [self._whisper.codes[0]])

    def _open(self, source: HubModel, gate: Gate, most_windows: int) -> None:
        if not 1 <= most_windows <= _MOST_WINDOWS:
            raise ValueError(f"most_windows must be 1 to {_MOST_WINDOWS}")
        self.source = source
        self.most_windows = most_windows
        self._gate = gate

    def _gate_mark(self) -> str:
        try:
            return self._gate.mark()
        except UserError as err:
            raise UserError(f"{err} Or set gate: level, which lets in all that is loud.") from err

    def _spoken(self, clip: Clip, choose: Callable[[list[Span]], list[Span]]) -> Spoken:
        """The parts of a clip to ask about; `choose` keeps some of the windows."""
        samples = heard(clip)
        found = [span for span in self._gate.spans(samples) if span[1] - span[0] >= _LEAST_S]
        whole = windows(found, self._whisper.window_s - 2 * _MARGIN_S, _GAP_S)
        kept = choose(whole)
        parts = [
            Stretch(cut(samples, wide), *wide)
            for window, wide in zip(whole, _widened(whole, len(samples) / RATE), strict=True)
            if window in kept
        ]
        total = sum((stop - start for start, stop in found), 0.0)
        left = [window for window in whole if window not in kept]
        missed = sum((_overlap(span, window) for span in found for window in left), 0.0)
        return Spoken(parts, round(total, 2), round(missed, 2))

    def _nobody(self, silent: float, confidence: float) -> bool:
        """Whether the model itself hears no speech. After the level gate its word alone counts."""
        return silent >= _NOBODY and (self._gate.kind == "level" or confidence < UNSURE)


def in_batches(parts: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Runs of at most `size`, in order."""
    return [parts[at : at + size] for at in range(0, len(parts), size)]


def _widened(found: Sequence[Span], end_s: float) -> list[Span]:
    """Windows with margins that do not reach into one another.

    >>> _widened([(0.1, 2.0), (2.2, 5.0)], 5.1)
    [(0.0, 2.1), (2.1, 5.1)]
    """
    edges = [-end_s, *(edge for window in found for edge in window), 2 * end_s + 1]
    wide = []
    for at, (start, stop) in enumerate(found):
        before, after = edges[2 * at], edges[2 * at + 3]
        first = max(start - _MARGIN_S, (before + start) / 2, 0.0)
        wide.append((round(first, 3), round(min(stop + _MARGIN_S, (stop + after) / 2, end_s), 3)))
    return wide


def _overlap(one: Span, other: Span) -> float:
    return max(min(one[1], other[1]) - max(one[0], other[0]), 0.0)
