"""How a prompt of cards, clip, question and cue is run for a batch: the cards first, or apart.

    first   cards ─► clip · question · cue      a plain prompt; all that follows sees the cards
    apart   cards ──────────┐
            clip · question ┴─► cue             the cue alone sees the cards

A large LALM takes the plain prompt. A small one that never met a long system turn together with
sound may go nearly deaf behind one; apart, it hears as it does without cards. Either way the
numbers are those of one unshared, unpadded row a question (under a mask, if apart), with gradients.
Labels, logits and actions are the router's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from routerlab.lalm.chat import AUDIO
from routerlab.lalm.model import LALM
from routerlab.policy import adapter
from routerlab.policy.decoder import Part, check_layers, read_at
from routerlab.policy.frozen import FrozenLayers
from routerlab.policy.prompt import CUE, question_text
from routerlab.types import Question, QuestionBatch


class Layout(ABC):
    """One way to run prompts.

    Args:
        lalm: with the adapter in it.
        decoder: its text model.
        system: the usual system text, of which something may be kept.
        frozen: layers below the adapter.
    """

    def __init__(self, lalm: LALM, decoder: Any, system: str, frozen: int = 0) -> None:
        self.lalm, self.decoder, self.system = lalm, decoder, system
        check_layers(decoder)
        self.below = FrozenLayers(frozen)
        self._texts: dict[tuple[str, tuple[str, ...]], tuple[int, ...]] = {}

    def read(
        self,
        batch: QuestionBatch,
        features: Sequence[Tensor],
        systems: Sequence[str],
        *,
        recompute: bool = False,
    ) -> list[Tensor]:
        """Hidden states [B, D] at the ends of a batch's prompts, under each of some system texts.

        Args:
            features: of the batch's clips.
            systems: the usual one, or others that list the same cards in another order.
            recompute: keep no activations inside layers (gradient checkpointing).
        """
        found: list[Tensor] = []
        with adapter.mixed_precision(self.lalm.device, self.lalm.dtype):
            for parts in self._runs(batch, features, systems):
                found += read_at(self.decoder, parts, self.below.count, recompute=recompute)
        return found

    @abstractmethod
    def _runs(
        self, batch: QuestionBatch, features: Sequence[Tensor], systems: Sequence[str]
    ) -> Iterator[list[Part]]:
        """What is run together, once or several times: one part is read for each system text."""

    def _entering(
        self,
        batch: QuestionBatch,
        build: Callable[[Sequence[int]], list[Part]],
        systems: Sequence[str],
    ) -> list[Part]:
        """The parts of a batch as they enter the first layer with an adapter."""
        keys = [(c.fingerprint, *words(q)) for c, q in zip(batch.clips, batch, strict=True)]
        # Only under the usual cards is anything kept.
        usual = list(systems) == [self.system]
        return self.below.parts(self.decoder, build, keys, keep=usual)

    def _embed(self, rows: Sequence[Sequence[int]], features: Sequence[Tensor] = ()) -> Tensor:
        longest, pad = max(map(len, rows)), self.lalm.special.pad
        ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
        return self.lalm.embed(ids, features)

    @abstractmethod
    def _after_clip(self, text: str) -> tuple[int, ...]:
        """Ids from the end of the clip to the end of its row."""

    def _asked(self, question: Question) -> tuple[int, ...]:
        """`_after_clip` of a question, worked out once."""
        key = words(question)
        if key not in self._texts:
            self._texts[key] = self._after_clip(question_text(*key))
        return self._texts[key]


class CardsFirst(Layout):
    """A plain prompt. Other cards are another beginning: everything is run anew for them."""

    def _runs(
        self, batch: QuestionBatch, features: Sequence[Tensor], systems: Sequence[str]
    ) -> Iterator[list[Part]]:
        for system in systems:
            yield self._run(batch, features, system)

    def _run(self, batch: QuestionBatch, features: Sequence[Tensor], system: str) -> list[Part]:
        lalm = self.lalm
        rows = [
            [lalm.special.audio] * len(heard) + list(self._asked(question))
            for question, heard in zip(batch.questions, features, strict=True)
        ]

        def build(some: Sequence[int]) -> list[Part]:
            cards = self._embed([lalm.chat(system, [AUDIO], cue=CUE).texts[0]])
            lengths = torch.tensor([len(rows[i]) for i in some], device=lalm.device)
            asked = self._embed([rows[i] for i in some], [features[i] for i in some])
            return [
                Part(cards, shared=True),
                Part(asked, past=cards.shape[1], sees=(0,), lengths=lengths, read=lengths - 1),
            ]

        return self._entering(batch, build, [system])

    def _after_clip(self, text: str) -> tuple[int, ...]:
        return self.lalm.chat("", [AUDIO, text], cue=CUE).texts[1]


class CardsApart(Layout):
    """Clips and questions are run once, whatever the cards and their order; the cue sees both."""

    def _runs(
        self, batch: QuestionBatch, features: Sequence[Tensor], systems: Sequence[str]
    ) -> Iterator[list[Part]]:
        lalm, chat = self.lalm, self.lalm.chat_format
        # The first text of a turn with a clip is its opening, up to the clip.
        opening = chat.user([AUDIO], "").texts[0]
        rows = [
            [*opening, *[lalm.special.audio] * len(heard), *self._asked(question)]
            for question, heard in zip(batch.questions, features, strict=True)
        ]
        # Places in the prompt: behind the usual cards. Another order of them is as long.
        past = len(chat.system_turn(self.system))

        def build(some: Sequence[int]) -> list[Part]:
            lengths = torch.tensor([len(rows[i]) for i in some], device=lalm.device)
            asked = self._embed([rows[i] for i in some], [features[i] for i in some])
            parts = [Part(asked, past=past, lengths=lengths)]
            closing = self._embed([chat.closing(CUE)]).expand(len(some), -1, -1)
            ends = torch.full_like(lengths, closing.shape[1] - 1)
            for system in systems:
                cards = len(parts)
                parts += [
                    Part(self._embed([chat.system_turn(system)]), shared=True),
                    Part(closing, past=past + lengths, sees=(cards, 0), read=ends),
                ]
            return parts

        yield self._entering(batch, build, systems)

    def _after_clip(self, text: str) -> tuple[int, ...]:
        return self.lalm.chat_format.user([AUDIO, text], "").texts[1]


LAYOUTS: Mapping[str, type[Layout]] = {"first": CardsFirst, "apart": CardsApart}
"""What the router's setting `cards` may name."""


def words(question: Question) -> tuple[str, tuple[str, ...]]:
    """All of a question that a router reads."""
    return question.question, question.choices
