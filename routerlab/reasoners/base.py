"""The seam to whatever answers questions: a request in, answers or infrastructure errors out.

A reasoner is frozen. It never sees gold, never runs a tool and keeps no cache: the oracle does
these. Anything that satisfies `Reasoner` will do; nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from routerlab.errors import ReasonerError
from routerlab.types import Answer, Clip, Observation

Reply: TypeAlias = Answer | ReasonerError


@dataclass(frozen=True)
class ReasonRequest:
    """One question about one clip, to be answered once for each entry of `observations`.

    Attributes:
        choices: option texts in the order to be shown.
        observations: one entry a prompt: `()` for direct, `(o,)` for one tool, all of them for
            "all outputs". Only their `text` is read.
    """

    clip: Clip
    question: str
    choices: tuple[str, ...]
    observations: tuple[tuple[Observation, ...], ...] = ((),)


@runtime_checkable
class Reasoner(Protocol):
    """Answers requests. Weights may be loaded at the first answer and are let go by `close`."""

    def identity(self) -> dict[str, Any]:
        """All that changes an answer, JSON-serialisable; it becomes part of every cache key."""
        ...

    def answer_many(self, requests: Sequence[ReasonRequest]) -> list[list[Reply]]:
        """One list a request, one reply a prompt, in order; a failure is a value, not a raise."""
        ...

    def close(self) -> None:
        """Let go of weights, files and connections; may be called twice."""
        ...


def cut_seconds(reasoner: Reasoner, clip: Clip) -> float:
    """How much of a clip's end goes unheard: cut when it was loaded, and by the reasoner's limit.

    A reasoner with a limit of its own says so in an attribute `seconds_kept`.
    """
    kept = float(getattr(reasoner, "seconds_kept", math.inf))
    return clip.cut_seconds + max(0.0, clip.seconds - kept)
