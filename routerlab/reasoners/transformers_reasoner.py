"""A local audio language model as the reasoner: by option likelihood, or by greedy generation.

`likelihood` scores every option as the continuation of the answer cue and takes the best; nothing
is parsed. `generate` lets the model write and reads an option out of it (`routerlab.answers`).
It keeps no cache and knows neither gold nor tools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from routerlab.answers import read_answer
from routerlab.errors import ReasonerError, UserError
from routerlab.lalm.checkpoint import EMBEDDED, fingerprint, locate, seconds_limit
from routerlab.lalm.decoding import DecodeItem, decode_batch
from routerlab.lalm.device import resolve
from routerlab.lalm.families import slots
from routerlab.lalm.model import LALM, DType
from routerlab.lalm.quant import Quantize
from routerlab.lalm.scoring import ScoreItem, score_batch
from routerlab.reasoners.base import ReasonRequest, Reply
from routerlab.reasoners.prompting import Prompter
from routerlab.reasoners.prompts import PROMPT_VERSION, WORDINGS
from routerlab.reasoners.settings import Hearing, Length, Protocol, Saving, WordingName, checked
from routerlab.types import Answer


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
        system: text of the system turn; no such turn when empty, the template's own when None.
        max_seconds: sound beyond this is not heard; the model's own limit when None, and never
            more than that. What is cut is recorded in the outcome.
        batch_size: most questions at once.
        max_new_tokens: `generate` only.
        audio: "off" leaves the clip out of the prompt: the no-audio control.
        wording: of the question: "plain" (choices in a line), "text" (as R1-AQA asks, the answer
            between tags) or "letters".
        quantize: "4bit" holds the text model's weights in four bits (a CUDA device and the extra
            `quant` are needed).
        max_tokens: tokens in one pass; None sizes it to a GPU's free memory, and is 2,048 on a CPU.
        share_base: where a router with the same model is loaded too (`ask`, `predict`), answer with
            its weights, adapter off, instead of loading a second copy.
        without: savings left out, to see what each is worth; answers stay the same. "tower" hears
            a clip anew for each prompt, "prefix" runs each prompt whole, "branches" runs each
            option in a row of its own, "buckets" takes questions and rows as they come.
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
        wording: WordingName = "plain",
        quantize: Quantize = "none",
        max_tokens: int | None = None,
        share_base: bool = False,
        without: Sequence[Saving] = (),
    ) -> None:
        given = {"protocol": protocol, "length": length, "dtype": dtype, "audio": audio}
        words = [*given.items(), ("wording", wording), ("quantize", quantize)]
        sizes = {"batch_size": batch_size, "max_new_tokens": max_new_tokens}
        sizes |= {} if max_tokens is None else {"max_tokens": max_tokens}
        checked([*words, *(("without", name) for name in without)], sizes, max_seconds)
        self.name, self.revision, self.dtype = lalm, revision, dtype
        self.protocol, self.length, self.prior = protocol, length, prior
        self.system, self.max_seconds = system, max_seconds
        self.batch_size, self.max_new_tokens = batch_size, max_new_tokens
        self.audio, self.wording, self.quantize = audio, wording, quantize
        self.max_tokens, self.share_base, self.without = max_tokens, share_base, tuple(without)
        self._plainly: Callable[[], AbstractContextManager[Any]] = nullcontext
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
        if self.quantize != "none":
            how["quantize"] = self.quantize
        return {
            "reasoner": "transformers",
            "model": fingerprint(locate(self.name, self.revision)),
            "prompt": PROMPT_VERSION,
            "system": self.system,
            "wording": self.wording,
            "protocol": self.protocol,
            **how,
            "dtype": self.dtype,
            "max_seconds": self.seconds_kept,
            "backend": torch.device(self.device).type,
        }

    @property
    def seconds_kept(self) -> float:
        """Seconds of a clip that are heard: the setting, bounded by the model's own limit."""
        limit = seconds_limit(locate(self.name, self.revision))
        return min(limit, self.max_seconds or limit)

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
                max_tokens=self.max_tokens,
                quantize=self.quantize,
            )
        return self._lalm

    def borrow(self, lalm: LALM, plainly: Callable[[], AbstractContextManager[Any]]) -> None:
        """Answer with weights that another has loaded, until `close`.

        Args:
            plainly: takes off, for a while, what the other has put into them.

        Raises:
            UserError: it is another model, or the same one held otherwise.
        """
        width = str(lalm.dtype).removeprefix("torch.")
        theirs = (lalm.fingerprint, width, lalm.quantize)
        ours = (fingerprint(locate(self.name, self.revision)), self.dtype, self.quantize)
        if ours != theirs:
            raise UserError(
                f"share_base: the reasoner is {_held(*ours)}, the router {_held(*theirs)}. "
                "Allowed: the same lalm, dtype and quantize in both. Mend one, or set "
                "share_base: false."
            )
        self._lalm, self._plainly = lalm.lent(self.max_seconds, self.max_tokens), plainly
        self.device = str(lalm.device)

    def close(self) -> None:
        """Let the weights go; the next answer loads them again."""
        if self._lalm is not None:
            self._lalm, self._plainly = None, nullcontext
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def answer_many(self, requests: Sequence[ReasonRequest]) -> list[list[Reply]]:
        """One list a request, one reply a prompt, in order; a failure is a `ReasonerError`."""
        if "tower" in self.without:
            alone = [replace(r, observations=(o,)) for r in requests for o in r.observations]
            found = iter(self._in_batches(alone))
            return [[next(found)[0] for _ in request.observations] for request in requests]
        return self._in_batches(requests)

    def _in_batches(self, requests: Sequence[ReasonRequest]) -> list[list[Reply]]:
        replies: list[list[Reply]] = [[] for _ in requests]
        for index in self._batches(requests):
            batch = [requests[i] for i in index]
            for i, reply in zip(index, self._answer(batch), strict=True):
                replies[i] = reply
        return replies

    def _batches(self, requests: Sequence[ReasonRequest]) -> Iterator[list[int]]:
        """Indices of questions of like length, as many as there is room for."""
        order = list(range(len(requests)))
        if "buckets" not in self.without:
            order.sort(key=lambda i: _size(requests[i]))
        batch: list[int] = []
        longest = 0
        for i in order:
            longest = max(longest, self._about(requests[i]))
            full = len(batch) == self.batch_size
            if batch and (full or longest * (len(batch) + 1) > self.lalm.room.prefixes):
                yield batch
                batch, longest = [], self._about(requests[i])
            batch.append(i)
        if batch:
            yield batch

    def _about(self, request: ReasonRequest) -> int:
        """Tokens of a request's prefix, estimated from its seconds and letters."""
        frames = int(100 * min(request.clip.seconds, self.lalm.max_seconds))
        letters = len(request.question) + sum(map(len, request.choices))
        return max(1, slots(max(4, frames))) + letters // 3 + 16

    def _answer(self, batch: Sequence[ReasonRequest]) -> list[list[Reply]]:
        """One batch; halved while memory does not suffice, down to one question."""
        ask: Callable[[Sequence[ReasonRequest]], list[list[Reply]]] = (
            self._likelihood if self.protocol == "likelihood" else self._generate
        )
        try:
            with self._plainly(), torch.inference_mode():
                return ask(batch)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                failed = ReasonerError(f"out of memory on {self.device}: {error}")
                return [[failed] * len(batch[0].observations)]
        half = len(batch) // 2
        return [*self._answer(batch[:half]), *self._answer(batch[half:])]

    def _likelihood(self, batch: Sequence[ReasonRequest]) -> list[list[Reply]]:
        items = [self._item(request, heard) for request, heard in self._heard(batch)]
        scores = self._scores(items)
        if self.prior:
            deaf = [self._item(replace(request, observations=((),)), None) for request in batch]
            priors = self._scores(deaf)
            scores = [score - prior for score, prior in zip(scores, priors, strict=True)]
        return [
            [_chosen(row, request.choices) for row in score.tolist()]
            for request, score in zip(batch, scores, strict=True)
        ]

    def _generate(self, batch: Sequence[ReasonRequest]) -> list[list[Reply]]:
        say = self._prompter
        items = [
            DecodeItem(
                say.prefix(r.question, r.choices, None if heard is None else len(heard)),
                _kept(heard),
                say.suffixes(r.observations, writes=True),
            )
            for r, heard in self._heard(batch)
        ]
        whole = items if "prefix" not in self.without else _apart(items)
        buckets = "buckets" not in self.without
        found = decode_batch(self.lalm, whole, self.max_new_tokens, buckets=buckets)
        rows = iter([row for item in found for row in item])
        written = [[next(rows) for _ in item.suffixes] for item in items]
        return [
            [read_answer(self._text(ids), request.choices) for ids in rows]
            for request, rows in zip(batch, written, strict=True)
        ]

    def _scores(self, items: Sequence[ScoreItem]) -> list[Tensor]:
        """Each question's scores, [K+1, C]."""
        whole = items if "prefix" not in self.without else _apart(items)
        left_out = {name: name not in self.without for name in ("branches", "buckets")}
        rows = iter([row for item in score_batch(self.lalm, whole, **left_out) for row in item])
        found = [torch.stack([next(rows) for _ in item.suffixes]) for item in items]
        return [f[..., 0] / f[..., 1] if self.length == "mean" else f[..., 0] for f in found]

    @property
    def _prompter(self) -> Prompter:
        return Prompter(self.lalm.chat_format, WORDINGS[self.wording], self.system)

    def _heard(
        self, batch: Sequence[ReasonRequest]
    ) -> Iterator[tuple[ReasonRequest, Tensor | None]]:
        """Each request with what is heard of its clip; None where the clip is left out."""
        if self.audio == "off":
            yield from ((request, None) for request in batch)
            return
        if "tower" in self.without:
            features = [self.lalm.audio_features([request.clip])[0] for request in batch]
        else:
            features = self.lalm.audio_features([request.clip for request in batch])
        yield from zip(batch, features, strict=True)

    def _item(self, request: ReasonRequest, heard: Tensor | None) -> ScoreItem:
        """The request's prompts, without sound where none is heard."""
        say, heard_for = self._prompter, None if heard is None else len(heard)
        return ScoreItem(
            say.prefix(request.question, request.choices, heard_for),
            _kept(heard),
            say.suffixes(request.observations),
            say.options(request.choices),
        )

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.lalm.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def _apart(items: Sequence[Any]) -> list[Any]:
    """Every suffix with a prefix of its own."""
    return [replace(item, suffixes=[suffix]) for item in items for suffix in item.suffixes]


def _held(model: str, dtype: str, quantize: str) -> str:
    """A base in words."""
    return f"{model[:12]}… in {dtype}" + ("" if quantize == "none" else f", {quantize}")


def _kept(heard: Tensor | None) -> list[Tensor]:
    return [] if heard is None else [heard]


def _chosen(scores: Sequence[float], choices: Sequence[str]) -> Reply:
    if not all(abs(score) < float("inf") for score in scores):
        return ReasonerError(f"option scores are not finite: {list(scores)}")
    best = max(range(len(scores)), key=lambda i: scores[i])
    return Answer(best, choices[best], log_probs=tuple(scores))


def _size(request: ReasonRequest) -> tuple[float, int]:
    return request.clip.seconds, len(request.question)
