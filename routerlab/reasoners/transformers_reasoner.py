"""A local audio language model as the reasoner: by option likelihood, or by greedy generation.

`likelihood` scores every option as the continuation of the answer cue and takes the best; nothing
is parsed. `generate` lets the model write and reads an option out of it (`routerlab.answers`).
It keeps no cache and knows neither gold nor tools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from routerlab.answers import read_answer
from routerlab.errors import ProblemList, ReasonerError
from routerlab.lalm.chat import AUDIO
from routerlab.lalm.checkpoint import EMBEDDED, fingerprint, locate
from routerlab.lalm.decoding import DecodeItem, decode_batch
from routerlab.lalm.device import resolve
from routerlab.lalm.model import LALM, DType
from routerlab.lalm.scoring import ScoreItem, score_batch
from routerlab.reasoners.base import ReasonRequest, Reply
from routerlab.reasoners.prompts import (
    ANSWER_CUE,
    PROMPT_VERSION,
    observation_text,
    option_text,
    question_text,
)
from routerlab.types import Answer

Protocol: TypeAlias = Literal["likelihood", "generate"]
Length: TypeAlias = Literal["mean", "sum"]
Hearing: TypeAlias = Literal["on", "off"]

_ALLOWED = {
    "protocol": ("likelihood", "generate"),
    "length": ("mean", "sum"),
    "dtype": ("float32", "bfloat16"),
    "audio": ("on", "off"),
}


class TransformersReasoner:
    """Answers with a frozen LALM loaded by transformers, on first use.

    Args:
        lalm: "embedded", a folder or a hub id.
        revision: of a hub id.
        dtype: of weights and activations.
        device: "auto" takes a GPU where there is one; cpu, cuda or cuda:N.
        protocol: how an answer is got.
        length: `likelihood` only: an option's log-probability a token, or summed. Summed favours
            short options, averaged long ones.
        prior: `likelihood` only: take away what the options score in the same prompt with the
            audio left out and no tool output, which is what their wording alone earns.
        system: text of the system turn; none when empty.
        max_seconds: sound beyond this is not heard; the model's own limit when None.
        batch_size: questions at once.
        max_new_tokens: `generate` only.
        audio: "off" leaves the clip out of the prompt: the no-audio control.
    """

    def __init__(
        self,
        lalm: str = EMBEDDED,
        *,
        revision: str | None = None,
        dtype: DType = "float32",
        device: str = "auto",
        protocol: Protocol = "likelihood",
        length: Length = "mean",
        prior: bool = False,
        system: str = "",
        max_seconds: float | None = None,
        batch_size: int = 16,
        max_new_tokens: int = 64,
        audio: Hearing = "on",
    ) -> None:
        given = {"protocol": protocol, "length": length, "dtype": dtype, "audio": audio}
        _check(given, {"batch_size": batch_size, "max_new_tokens": max_new_tokens}, max_seconds)
        self.name, self.revision, self.dtype = lalm, revision, dtype
        self.protocol, self.length, self.prior = protocol, length, prior
        self.system, self.max_seconds = system, max_seconds
        self.batch_size, self.max_new_tokens = batch_size, max_new_tokens
        self.audio = audio
        self.device = str(resolve(device))
        self._lalm: LALM | None = None

    def identity(self) -> dict[str, Any]:
        """All that changes an answer. Reads the model's files, loads no weight."""
        how: dict[str, Any] = (
            {"length": self.length, "prior": self.prior}
            if self.protocol == "likelihood"
            else {"max_new_tokens": self.max_new_tokens}
        )
        if self.audio == "off":
            how["audio"] = "off"
        return {
            "reasoner": "transformers",
            "model": fingerprint(locate(self.name, self.revision)),
            "prompt": PROMPT_VERSION,
            "system": self.system,
            "protocol": self.protocol,
            **how,
            "dtype": self.dtype,
            "max_seconds": self.max_seconds,
            "backend": torch.device(self.device).type,
        }

    @property
    def lalm(self) -> LALM:
        """The model, loaded now if it is not."""
        if self._lalm is None:
            self._lalm = LALM.load(
                self.name,
                revision=self.revision,
                dtype=self.dtype,
                device=self.device,
                max_seconds=self.max_seconds,
            )
        return self._lalm

    def close(self) -> None:
        """Let the weights go; the next answer loads them again."""
        if self._lalm is not None:
            self._lalm = None
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def answer_many(self, requests: Sequence[ReasonRequest]) -> list[list[Reply]]:
        """One list a request, one reply a prompt, in order; a failure is a `ReasonerError`."""
        replies: list[list[Reply]] = [[] for _ in requests]
        # Questions of like length go together: less padding.
        order = sorted(range(len(requests)), key=lambda i: _size(requests[i]))
        for begin in range(0, len(order), self.batch_size):
            index = order[begin : begin + self.batch_size]
            batch = [requests[i] for i in index]
            for i, reply in zip(index, self._answer(batch), strict=True):
                replies[i] = reply
        return replies

    def _answer(self, batch: Sequence[ReasonRequest]) -> list[list[Reply]]:
        """One batch; halved while memory does not suffice, down to one question."""
        ask: Callable[[Sequence[ReasonRequest]], list[list[Reply]]] = (
            self._likelihood if self.protocol == "likelihood" else self._generate
        )
        try:
            with torch.inference_mode():
                return ask(batch)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                failed = ReasonerError(f"out of memory on {self.device}: {error}")
                return [[failed] * len(batch[0].observations)]
        half = len(batch) // 2
        return [*self._answer(batch[:half]), *self._answer(batch[half:])]

    def _likelihood(self, batch: Sequence[ReasonRequest]) -> list[list[Reply]]:
        items = [self._item(request, heard) for request, heard in self._heard(batch)]
        scores = [self._score(found) for found in score_batch(self.lalm, items)]
        if self.prior:
            deaf = [self._item(replace(request, observations=((),)), None) for request in batch]
            priors = [self._score(found) for found in score_batch(self.lalm, deaf)]
            scores = [score - prior for score, prior in zip(scores, priors, strict=True)]
        return [
            [_chosen(row, request.choices) for row in score.tolist()]
            for request, score in zip(batch, scores, strict=True)
        ]

    def _generate(self, batch: Sequence[ReasonRequest]) -> list[list[Reply]]:
        items = [
            DecodeItem(self._prefix(r, h), _kept(h), self._suffixes(r))
            for r, h in self._heard(batch)
        ]
        written = decode_batch(self.lalm, items, self.max_new_tokens)
        return [
            [read_answer(self._text(ids), request.choices) for ids in rows]
            for request, rows in zip(batch, written, strict=True)
        ]

    def _score(self, found: Tensor) -> Tensor:
        return found[..., 0] / found[..., 1] if self.length == "mean" else found[..., 0]

    def _heard(
        self, batch: Sequence[ReasonRequest]
    ) -> Iterator[tuple[ReasonRequest, Tensor | None]]:
        """Each request with what is heard of its clip; None where the clip is left out."""
        if self.audio == "off":
            yield from ((request, None) for request in batch)
            return
        features = self.lalm.audio_features([request.clip for request in batch])
        yield from zip(batch, features, strict=True)

    def _item(self, request: ReasonRequest, heard: Tensor | None) -> ScoreItem:
        """The request's prompts, without sound where none is heard."""
        chat, suffixes = self.lalm.chat_format, self._suffixes(request)
        options = [[*chat.text_ids(option_text(c)), chat.special.end] for c in request.choices]
        return ScoreItem(self._prefix(request, heard), _kept(heard), suffixes, options)

    def _prefix(self, request: ReasonRequest, heard: Tensor | None) -> list[int]:
        text = question_text(request.question, request.choices)
        if heard is None:
            return self.lalm.chat_format.user([text], self.system).ids()
        return self.lalm.chat_format.user([AUDIO, text], self.system).ids([len(heard)])

    def _suffixes(self, request: ReasonRequest) -> list[list[int]]:
        chat = self.lalm.chat_format
        closing = chat.closing(ANSWER_CUE)
        return [[*chat.text_ids(observation_text(o)), *closing] for o in request.observations]

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.lalm.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def _kept(heard: Tensor | None) -> list[Tensor]:
    return [] if heard is None else [heard]


def _chosen(scores: Sequence[float], choices: Sequence[str]) -> Reply:
    if not all(abs(score) < float("inf") for score in scores):
        return ReasonerError(f"option scores are not finite: {list(scores)}")
    best = max(range(len(scores)), key=lambda i: scores[i])
    return Answer(best, choices[best], log_probs=tuple(scores))


def _size(request: ReasonRequest) -> tuple[float, int]:
    return request.clip.seconds, len(request.question)


def _check(given: Mapping[str, str], sizes: Mapping[str, int], max_seconds: float | None) -> None:
    problems = list(_problems(given, sizes))
    if max_seconds is not None and max_seconds <= 0:
        problems.append(f"reasoner: max_seconds is {max_seconds}. Allowed: above 0, or null.")
    if problems:
        raise ProblemList(problems)


def _problems(given: Mapping[str, str], sizes: Mapping[str, int]) -> Iterator[str]:
    for name, value in given.items():
        if value not in _ALLOWED[name]:
            yield f"reasoner: {name} is {value!r}. Allowed: {', '.join(_ALLOWED[name])}."
    for name, size in sizes.items():
        if size < 1:
            yield f"reasoner: {name} is {size}. Allowed: 1 or more."
