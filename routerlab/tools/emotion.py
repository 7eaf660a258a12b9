"""How a voice sounds: emotions by any classifier of the wav2vec 2.0 family, asked where one speaks.

It stops at the labels that the checkpoint was trained on: they were acted or played out for a
microphone, and what is said does not count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from routerlab.errors import UserError
from routerlab.tools.base import MAX_TEXT
from routerlab.tools.hub_models import HubModel, HubTool, heard
from routerlab.tools.signal import Floats, softmax
from routerlab.tools.stretches import Stretch, heard_s, spread
from routerlab.tools.voices import Gate, cut, windows
from routerlab.tools.waveforms import WaveformModel
from routerlab.types import Clip, ToolCard

_MODEL, _CONVERTED = "superb/wav2vec2-base-superb-er", "refs/pr/2"
"""Its main branch has no safetensors; this one has the same weights in that form."""

_GAP_S = 1.0
"""Speech over shorter pauses is heard in one piece."""

_WORDS = {"neu": "neutral", "hap": "happy", "ang": "angry", "sad": "sad"}
"""IEMOCAP's codes, which checkpoints trained on it have for labels."""

_UNNAMED = re.compile(r"LABEL_\d+")
_LABEL = 24


class Emotion(HubTool):
    """Emotion of the speech in a clip, from any Wav2Vec2, HuBERT or WavLM classifier.

    Args:
        model: a folder, or a hub id.
        revision: commit, tag or branch of a hub id; "" for the default model's safetensors, and
            for the main branch of any other.
        device: where it runs.
        dtype: number format of the weights.
        top: most emotions told.
        stretch_s: longest stretch of speech heard at once, in seconds.
        most_stretches: how many are heard; of more speech than that, evenly spread.
        gate: what counts as speech: "voice" (silero-vad) or "level" (all that is loud).
        threshold: probability at which a voice starts.
    """

    card = ToolCard(
        name="emotion",
        measures="how a voice sounds: the model's emotions (neutral, happy, angry, sad), scored",
        unit="score 0 to 1 and seconds",
        stops_at="the model's few labels, learnt from acted speech: not words, reasons or songs",
        needs=("silero-vad",),
        licence="Apache-2.0",
    )
    schema: ClassVar = {
        "speech": bool,
        "best": (str, type(None)),
        "emotions": list,
        "stretches": list,
        "speech_s": float,
        "heard_s": float,
    }
    revision = 1

    def __init__(
        self,
        model: str = _MODEL,
        revision: str = "",
        device: str = "cpu",
        dtype: str = "float32",
        top: int = 4,
        stretch_s: float = 10.0,
        most_stretches: int = 6,
        gate: str = "voice",
        threshold: float = 0.5,
    ) -> None:
        if top < 1 or most_stretches < 1 or stretch_s <= 0:
            raise ValueError("top and most_stretches must be 1 or more, stretch_s above 0")
        revision = revision or (_CONVERTED if model == _MODEL else "")
        self.source = HubModel(model, revision, device, dtype)
        self.top, self.stretch_s, self.most_stretches = top, stretch_s, most_stretches
        self._gate = Gate(gate, threshold)

    @property
    def version(self) -> str:
        """With the gate's weights."""
        return f"{super().version} {self._gate.mark()}"

    def load(self) -> None:
        """Network and labels.

        Raises:
            UserError: a checkpoint that is no classifier of waveforms, or names no classes.
        """
        self._gate.mark()
        self._model = WaveformModel(self.source, "AutoModelForAudioClassification", output="logits")
        self._labels = [_WORDS.get(label, label)[:_LABEL] for label in self._model.labels]
        if len(self._labels) < 2 or all(map(_UNNAMED.fullmatch, self._labels)):
            raise UserError(
                f"tools: the config of {self.source.name!r} names no emotions "
                f"({self._labels[0]}). Give a model whose config.json has id2label."
            )

    def run_many(
        self, clips: Sequence[Clip], choices: Sequence[tuple[str, ...]] = ()
    ) -> list[dict[str, Any]]:
        """Scores of every stretch in batches; a clip's are their mean, long ones counting more."""
        spoken = [self._spoken(heard(clip)) for clip in clips]
        parts = [spread(found, self.most_stretches) for found in spoken]
        pieces = [part.samples for some in parts for part in some]
        rows = iter(softmax(self._model.rows(pieces, self.batch_size)) if pieces else ())
        return [
            self._values(heard_s(found), some, list(islice(rows, len(some))))
            for found, some in zip(spoken, parts, strict=True)
        ]

    def describe(self, values: Mapping[str, Any]) -> str:
        """Emotions with scores; of a long clip each stretch's, and how much was heard."""
        if not values["speech"]:
            return "emotion: no speech detected"
        told = ", ".join(f"{row['label']} {row['score']:.2f}" for row in values["emotions"])
        text = f"emotion: {told}"
        if values["heard_s"] < values["speech_s"]:
            text += f"; heard {values['heard_s']:.0f} of {values['speech_s']:.0f} s of speech"
        for at, row in enumerate(values["stretches"]):
            more = f"{row['start_s']:.0f}-{row['end_s']:.0f} s {row['label']} {row['score']:.2f}"
            longer = f"{text}{', ' if at else '; '}{more}"
            if len(longer) > MAX_TEXT - 4:
                return f"{text} ..."
            text = longer
        return text

    def _spoken(self, samples: Floats) -> list[Stretch]:
        """All speech, in stretches that the network may hear at once."""
        found = windows(self._gate.spans(samples), self.stretch_s, _GAP_S)
        return [Stretch(cut(samples, window), *window) for window in found]

    def _values(
        self, speech_s: float, parts: list[Stretch], scores: list[Floats]
    ) -> dict[str, Any]:
        none: dict[str, Any] = {"speech": False, "best": None, "emotions": [], "stretches": []}
        if not parts:
            return {**none, "speech_s": 0.0, "heard_s": 0.0}
        seconds = [part.end_s - part.start_s for part in parts]
        mean = np.average(scores, axis=0, weights=seconds)
        order = np.argsort(-mean, kind="stable")[: self.top].tolist()
        rows = [{"label": self._labels[at], "score": round(float(mean[at]), 3)} for at in order]
        each = zip(parts, scores, strict=True) if len(parts) > 1 else ()
        return {
            "speech": True,
            "best": rows[0]["label"],
            "emotions": rows,
            "stretches": [self._stretch(part, row) for part, row in each],
            "speech_s": speech_s,
            "heard_s": heard_s(parts),
        }

    def _stretch(self, part: Stretch, scores: Floats) -> dict[str, Any]:
        best = int(scores.argmax())
        return {
            "start_s": round(part.start_s, 2),
            "end_s": round(part.end_s, 2),
            "label": self._labels[best],
            "score": round(float(scores[best]), 3),
        }
