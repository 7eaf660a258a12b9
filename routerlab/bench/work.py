"""What a benchmark asks: made-up clips of one length, questions, and the six tools' outputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from routerlab.audio import make_clip
from routerlab.reasoners.base import ReasonRequest
from routerlab.tools.registry import load_tool
from routerlab.types import Observation, Question, QuestionBatch, ToolCard

TEXTS = (
    "pitch: C4 +3 cents at 0.1 to 0.8 s; E4 -2 cents at 0.9 to 1.6 s",
    "chord: Eb minor, fit 0.91; key: Bb major; strongest Eb Gb Bb",
    "tempo: 124 bpm, 5 beats",
    "onsets: 5 events at 0.21 0.63 1.04 1.46 1.88 s; mean gap 0.42 s",
    "loudness: levels -23 -21 -20 -19 -18 -18 -17 -16 dB; change +4.2 dB; range 6 dB",
    "segments: 2 sounds, 0.10 to 0.72 s (0.62 s), 1.01 to 1.80 s (0.79 s)",
)
_ASKED = (
    ("Which note is played last in this clip?", ("C4", "Eb4", "G4", "Bb4")),
    ("How many separate events are there?", ("2", "3", "5", "12")),
    ("What does the level of the sound do?", ("rises", "falls", "stays", "swings")),
)


@dataclass(frozen=True)
class Work:
    """So many questions, each on a clip of its own.

    Attributes:
        seconds: of every clip; from half of it on if `uneven`.
        tools: from 0 to 6.
    """

    questions: int
    seconds: float
    tools: int = len(TEXTS)

    @property
    def actions(self) -> int:
        """Direct and the tools."""
        return self.tools + 1

    @cached_property
    def requests(self) -> list[ReasonRequest]:
        """Each question with all its actions."""
        shown = [Observation(text.split(":")[0], {}, text, "1") for text in TEXTS[: self.tools]]
        rng = np.random.default_rng(0)
        return [
            ReasonRequest(
                make_clip(rng.normal(0, 0.1, int(16_000 * self.seconds)), 16_000),
                *_ASKED[i % len(_ASKED)],
                ((), *((each,) for each in shown)),
            )
            for i in range(self.questions)
        ]

    @property
    def cards(self) -> tuple[ToolCard, ...]:
        """Of the tools, direct not among them."""
        return tuple(load_tool(text.split(":")[0]).card for text in TEXTS[: self.tools])

    def batches(self, size: int) -> list[QuestionBatch]:
        """The same questions as the router sees them, in batches."""
        asked = self.requests
        return [_batch(asked[i : i + size], i) for i in range(0, len(asked), size)]

    def rewards(self, size: int) -> torch.Tensor:
        """Made-up rewards [size, K+1]."""
        draw = torch.Generator().manual_seed(0)
        return torch.randn(size, self.actions, generator=draw)


def _batch(asked: list[ReasonRequest], first: int) -> QuestionBatch:
    questions = tuple(
        Question(f"q{first + i}", f"{first + i}.wav", r.question, tuple(r.choices), r.choices[0])
        for i, r in enumerate(asked)
    )
    return QuestionBatch(questions, tuple(request.clip for request in asked))
