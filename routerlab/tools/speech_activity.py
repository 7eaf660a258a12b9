"""Where somebody speaks, by the weights of silero-vad.

It stops at speech or not: singing may count, and who speaks or what is said is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from routerlab.tools.base import MAX_TEXT, Tool
from routerlab.tools.hub_models import heard
from routerlab.tools.signal import warm_clip
from routerlab.tools.silero import WHEEL
from routerlab.tools.voices import Gate, loud, voiced
from routerlab.types import Clip, ToolCard


class SpeechActivity(Tool):
    """Stretches of speech and their share of the clip.

    Args:
        threshold: probability of a voice at which speech starts (silero-vad's own default).
        least_s: shorter stretches are dropped.
        gap_s: shorter pauses are not told.
    """

    card = ToolCard(
        name="speech_activity",
        measures="whether and where somebody speaks: stretches of speech and their total",
        unit="seconds and percent",
        stops_at="speech or not: no words, no speakers; singing or a loud crowd may count",
        needs=(WHEEL,),
        licence="MIT",
    )
    schema: ClassVar = {
        "speech": bool,
        "count": int,
        "speech_s": float,
        "speech_percent": float,
        "segments": list,
    }

    def __init__(
        self, threshold: float = 0.5, *, least_s: float = 0.25, gap_s: float = 0.1
    ) -> None:
        self._gate = Gate("voice", threshold)
        self._least_s, self._gap_s = least_s, gap_s

    @property
    def version(self) -> str:
        """With the wheel that holds the weights."""
        return f"{super().version} {self._gate.mark()}"

    def setup(self) -> None:
        """Read the weights."""
        self.run(warm_clip())

    def run(self, clip: Clip) -> dict[str, Any]:
        """Spans of seconds; nothing at all in a clip too quiet to be heard."""
        samples = heard(clip)
        spans = (
            voiced(samples, self._gate.threshold, self._least_s, self._gap_s)
            if loud(samples)
            else []
        )
        total = sum(stop - start for start, stop in spans)
        return {
            "speech": bool(spans),
            "count": len(spans),
            "speech_s": round(total, 2),
            "speech_percent": round(100 * total / clip.seconds, 1),
            "segments": [{"start_s": a, "end_s": b} for a, b in spans[:1000]],
        }

    def describe(self, values: Mapping[str, Any]) -> str:
        """Total, share and the first stretches."""
        if not values["speech"]:
            return "speech_activity: no speech detected"
        stretches = "stretch" if values["count"] == 1 else "stretches"
        text = (
            f"speech_activity: {values['speech_s']:.1f} s of speech "
            f"({values['speech_percent']:.0f} percent) in {values['count']} {stretches}:"
        )
        for segment in values["segments"]:
            told = f" {segment['start_s']:.2f}-{segment['end_s']:.2f}"
            if len(text) + len(told) > MAX_TEXT - 4:
                return f"{text} ..."
            text += told
        return f"{text} s"
