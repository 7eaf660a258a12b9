"""The record a question family draws, before it becomes a file and a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from routerlab.data.synth.sounds import Sound

Pool: TypeAlias = Literal["train", "ood", "lalm"]
"""Which wordings, lead-ins and timbres may be drawn: the router's, the shifted ones, or all."""


@dataclass(frozen=True)
class Draft:
    """What one family draws: a sound and its answer, before wording.

    Attributes:
        fits: tools that truly measure what is asked on this clip.
        outside: tools whose name fits the question while this clip is beyond what they measure.
        describe: (question, choices, answer) about the sound itself, for the LALM's schooling.
    """

    sound: Sound
    choices: tuple[str, ...]
    answer: str
    condition: str
    difficulty: str
    fits: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    describe: tuple[tuple[str, tuple[str, ...], str], ...] = ()
    truth: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """A finished question.

    Attributes:
        samples: float32 [n], 16 kHz, 2 to 3 s.
        kind: "plain", "keyword_trap", "keyword_twin", "boundary" or "over_inference".
        wording: the template's name, "family/index" (a lead-in is added behind a "+").
        fits, outside: as in `Draft`.
        truth: the latent parameters, with "describe" and "cell" among them.
    """

    samples: NDArray[np.float32]
    question: str
    choices: tuple[str, ...]
    answer: str
    family: str
    condition: str
    difficulty: str
    kind: str
    wording: str
    fits: tuple[str, ...]
    outside: tuple[str, ...]
    truth: dict[str, Any]

    @property
    def cell(self) -> str:
        """The latent cell: family, difficulty and condition of the clip."""
        return f"{self.family}/{self.difficulty}/{self.condition}"
