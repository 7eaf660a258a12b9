"""A world small enough to follow by hand: a loader, a pool of tools and a scripted reasoner."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from routerlab.audio import make_clip
from routerlab.errors import ReasonerError
from routerlab.oracle.cache import Cache
from routerlab.oracle.oracle import Oracle
from routerlab.reasoners.base import ReasonRequest, Reply
from routerlab.types import Answer, Clip, Observation, Question, ToolCard

CHOICES = ("one", "two", "three")


def coin(*words: object, sides: int) -> int:
    return hashlib.sha256(" ".join(map(str, words)).encode()).digest()[0] % sides


@dataclass
class Loader:
    """Makes a clip from the bytes of a file; says what it does, so that it may be remembered."""

    settings: dict[str, Any] | None = field(default_factory=lambda: {"max_seconds": 30})
    decoded: list[str] = field(default_factory=list)

    def __call__(self, question: Question) -> Clip:
        self.decoded.append(question.audio)
        samples = np.frombuffer(Path(question.audio).read_bytes(), dtype=np.uint8) / 256
        return replace(make_clip(samples, 16_000), cut_seconds=1.5)


@dataclass
class Bench:
    """A pool in this process: each tool says a number that hangs on the clip alone."""

    names: tuple[str, ...] = ("pitch", "tempo")
    broken: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, str]] = field(default_factory=list)
    closed: bool = False

    @property
    def cards(self) -> tuple[ToolCard, ...]:
        return tuple(ToolCard(n, f"the {n}", "units", "guesses") for n in self.names)

    @property
    def versions(self) -> dict[str, str]:
        return {name: f"{name} 1" for name in self.names}

    def observe_many(
        self, jobs: Sequence[tuple[Clip, tuple[str, ...]]]
    ) -> Iterator[tuple[int, list[Observation]]]:
        for index in reversed(range(len(jobs))):  # any order is allowed
            clip, names = jobs[index]
            yield index, [self._observe(clip, name) for name in names]

    def _observe(self, clip: Clip, name: str) -> Observation:
        self.seen.append((clip.fingerprint, name))
        if name in self.broken:
            return Observation(name, {}, "", f"{name} 1", error=self.broken[name])
        value = coin(clip.fingerprint, name, sides=10)
        return Observation(name, {"count": value}, f"{name}: {value} units", f"{name} 1")

    def close(self) -> None:
        self.closed = True


@dataclass
class Scripted:
    """Answers with an option's text chosen by the whole prompt but for the options' order."""

    refuse: int = 0
    asked: list[ReasonRequest] = field(default_factory=list)
    model: str = "m1"
    closed: bool = False

    def identity(self) -> dict[str, Any]:
        return {"backend": "scripted", "model": self.model}

    def answer_many(self, requests: Sequence[ReasonRequest]) -> list[list[Reply]]:
        self.asked += requests
        return [[self._answer(r, seen) for seen in r.observations] for r in requests]

    def _answer(self, request: ReasonRequest, seen: tuple[Observation, ...]) -> Reply:
        if self.refuse:
            self.refuse -= 1
            return ReasonerError("HTTP 429")
        words = [request.clip.fingerprint, self.model, *(o.text for o in seen)]
        text = sorted(request.choices)[coin(*words, sides=len(request.choices))]
        chosen = request.choices.index(text)
        scores = tuple(-float(len(choice)) for choice in request.choices)
        return Answer(chosen, text, log_probs=scores)

    def close(self) -> None:
        self.closed = True


def make_questions(folder: Path, n: int = 20) -> list[Question]:
    """Each about a file of its own; a file that is there already is left as it is."""
    folder.mkdir(exist_ok=True)
    made = []
    for i in range(n):
        path = folder / f"{i}.bin"
        if not path.exists():
            path.write_bytes(bytes([i, 1, 2, 3]))
        made.append(Question(f"q{i}", str(path), f"How many in {i}?", CHOICES, CHOICES[i % 3]))
    return made


def oracle(tmp_path: Path, **parts: Any) -> Oracle:
    """An oracle over `tmp_path / "cache"`; any part or setting may be given."""
    settings = {k: parts.pop(k) for k in (
        "batch_size", "beside_tools", "max_error_rate", "progress", "retries")
                if k in parts}  # fmt: skip
    world = {"pool": Bench(), "reasoner": Scripted(), "load": Loader(), **parts}
    cache = Cache(tmp_path / "cache")
    return Oracle(world["pool"], world["reasoner"], cache, world["load"], **settings)
