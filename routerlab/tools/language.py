"""Which language is spoken, by Whisper's first decoder step, asked only where a voice is heard.

It stops at one language a clip: a second one shows at most as a second guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from routerlab.errors import UserError
from routerlab.tools.hub_models import HubModel
from routerlab.tools.language_codes import language_names
from routerlab.tools.signal import Floats
from routerlab.tools.spoken import MODEL, Spoken, SpokenTool, in_batches
from routerlab.tools.voices import Gate, Span
from routerlab.types import Clip, ToolCard

_SURE = 50.0
"""Percent below which the likeliest language is told as a guess."""


class Language(SpokenTool):
    """The language of a clip's speech.

    Args:
        model: a folder, or a hub id; not an English-only one.
        revision: commit, tag or branch of a hub id.
        device: where it runs.
        dtype: number format of the weights.
        gate: "voice" asks the model where silero-vad hears a voice; "level" wherever it is loud.
        threshold: probability at which a voice starts.
        most_windows: how many windows of 30 s are heard, the longest first.
        top: most languages told.
    """

    card = ToolCard(
        name="language",
        measures="which language is spoken (Whisper's first guess), with the next likely ones",
        unit="percent",
        stops_at="one language a clip; unsure of short speech, accents, songs and close languages",
        needs=("silero-vad",),
        licence="Apache-2.0",
    )
    schema: ClassVar = {
        "language": (str, type(None)),
        "name": (str, type(None)),
        "percent": (float, type(None)),
        "top": list,
        "speech_s": float,
        "unheard_s": float,
    }
    revision = 1

    def __init__(
        self,
        model: str = MODEL,
        revision: str = "",
        device: str = "cpu",
        dtype: str = "float32",
        gate: str = "voice",
        threshold: float = 0.5,
        most_windows: int = 2,
        top: int = 3,
    ) -> None:
        if top < 1:
            raise ValueError("top must be 1 or more")
        self._open(HubModel(model, revision, device, dtype), Gate(gate, threshold), most_windows)
        self.top = top

    def load(self) -> None:
        """Whisper, if it knows several languages."""
        super().load()
        if not self._whisper.many_languages:
            raise UserError(
                f"tools: {self.source.name!r} knows English only. Give a multilingual Whisper, "
                f"as {MODEL!r}."
            )

    def run_many(
        self, clips: Sequence[Clip], choices: Sequence[tuple[str, ...]] = ()
    ) -> list[dict[str, Any]]:
        """Windows of all clips in batches; a clip's shares are those of its windows by length."""
        spoken = [self._spoken(clip, self._longest) for clip in clips]
        parts = [part for one in spoken for part in one.parts]
        rows: list[tuple[Floats, float]] = []
        for batch in in_batches(parts, self.batch_size):
            sound = self._whisper.hear([part.samples for part in batch])
            rows += zip(*self._whisper.languages(sound), strict=True)
        left = iter(rows)
        return [self._values(one, [next(left) for _ in one.parts]) for one in spoken]

    def describe(self, values: Mapping[str, Any]) -> str:
        """The likeliest language, then the next ones."""
        if values["language"] is None:
            return "language: no speech detected"
        first, *others = [
            f"{language_names()[row['language']].title()} {row['percent']:.0f} percent"
            for row in values["top"]
        ]
        guess = "" if values["percent"] >= _SURE else "unsure, likeliest "
        told = f"language: {guess}{first}"
        return f"{told}; next {', '.join(others[:8])}" if others else told

    def _longest(self, found: list[Span]) -> list[Span]:
        return sorted(found, key=lambda span: span[0] - span[1])[: self.most_windows]

    def _values(self, spoken: Spoken, rows: Sequence[tuple[Floats, float]]) -> dict[str, Any]:
        heard = [
            (part.end_s - part.start_s, row)
            for part, (row, silent) in zip(spoken.parts, rows, strict=True)
            if not self._nobody(float(silent), float(row.max()))
        ]
        if not heard:
            return dict.fromkeys(self.schema) | {"top": [], "speech_s": 0.0, "unheard_s": 0.0}
        weights, shares = zip(*heard, strict=True)
        percent = 100 * np.average(np.array(shares), axis=0, weights=weights)
        codes = self._whisper.codes
        top = [
            {"language": codes[at], "percent": round(float(percent[at]), 1)}
            for at in np.argsort(-percent, kind="stable")[: self.top].tolist()
        ]
        return {
            "language": top[0]["language"],
            "name": language_names()[str(top[0]["language"])],
            "percent": top[0]["percent"],
            "top": top,
            "speech_s": spoken.speech_s,
            "unheard_s": spoken.unheard_s,
        }
