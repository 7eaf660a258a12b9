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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from routerlab.lalm.chat import AUDIO
from routerlab.lalm.model import LALM
from routerlab.policy import adapter
from routerlab.policy.decoder import Places, read_cues, read_ends, recorded
from routerlab.policy.frozen import FrozenLayers
from routerlab.policy.prompt import CUE, question_text
from routerlab.types import Question, QuestionBatch

Reader = Callable[[str], Tensor]
"""Hidden states [B, D] at the prompts' ends, of the system text that lists the cards."""


class Layout(ABC):
    """One way to run prompts.

    Args:
        lalm: with the adapter in it.
        decoder: its text model.
        system: the usual system text, of which something may be kept.
        frozen: layers below the adapter.
        recompute: keep no activations inside layers where gradients are wanted.
    """

    def __init__(
        self, lalm: LALM, decoder: Any, system: str, frozen: int = 0, *, recompute: bool = False
    ) -> None:
        self.lalm, self.decoder, self.system = lalm, decoder, system
        self.below = FrozenLayers(frozen)
        self._recompute = recompute
        self._texts: dict[tuple[str, tuple[str, ...]], tuple[int, ...]] = {}

    @abstractmethod
    def reader(self, batch: QuestionBatch, features: Sequence[Tensor]) -> Reader:
        """What reads the prompts of a batch under one system text or several.

        Args:
            features: of the batch's clips.
        """

    @property
    def recompute(self) -> bool:
        """Whether layers are run again for the backward pass: never without one."""
        return self._recompute and torch.is_grad_enabled()

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
    """A plain prompt. The cards' keys and values are computed once a batch."""

    def reader(self, batch: QuestionBatch, features: Sequence[Tensor]) -> Reader:
        """Runs everything behind the cards anew for each system text."""
        lalm, decoder = self.lalm, self.decoder
        rows = [
            [lalm.special.audio] * len(heard) + list(self._asked(question))
            for question, heard in zip(batch.questions, features, strict=True)
        ]
        keys = [(c.fingerprint, *words(q)) for c, q in zip(batch.clips, batch, strict=True)]
        lengths = [len(row) for row in rows]

        def embed(some: list[int]) -> Tensor:
            return self._embed([rows[i] for i in some], [features[i] for i in some])

        def read(system: str) -> Tensor:
            # Other cards are another beginning, of which nothing is kept.
            below = self.below if system == self.system else FrozenLayers()
            beginning = lalm.chat(system, [AUDIO], cue=CUE).texts[0]
            with adapter.mixed_precision(lalm.device, lalm.dtype):
                shared = below.shared(decoder, lambda: self._embed([beginning]))
                states = below.rows(decoder, keys, lengths, embed)
                ends = torch.tensor(lengths, device=states.device) - 1
                return read_ends(
                    decoder, shared, states, ends, below.count, recompute=self.recompute
                )

        return read

    def _after_clip(self, text: str) -> tuple[int, ...]:
        return self.lalm.chat("", [AUDIO, text], cue=CUE).texts[1]


class CardsApart(Layout):
    """Clips and questions are run once, whatever the cards and their order; then the cue."""

    def reader(self, batch: QuestionBatch, features: Sequence[Tensor]) -> Reader:
        """Runs clips and questions here, and for each system text the cards and the cue."""
        lalm, decoder, chat = self.lalm, self.decoder, self.lalm.chat_format
        # The first text of a turn with a clip is its opening, up to the clip.
        opening = chat.user([AUDIO], "").texts[0]
        rows = [
            [*opening, *[lalm.special.audio] * len(heard), *self._asked(question)]
            for question, heard in zip(batch.questions, features, strict=True)
        ]
        lengths = torch.tensor([len(row) for row in rows], device=lalm.device)
        # Places in the prompt: behind the usual cards. Another order of them is as long.
        past = len(chat.system_turn(self.system))
        with adapter.mixed_precision(lalm.device, lalm.dtype):
            states = self._embed(rows, features)
            places = Places.of(decoder, states, past, sees_past=False)
            asked = recorded(decoder, states, places, recompute=self.recompute)

        def read(system: str) -> Tensor:
            with adapter.mixed_precision(lalm.device, lalm.dtype):
                cards = self._embed([chat.system_turn(system)])
                before = Places.of(decoder, cards, 0)
                shared = recorded(decoder, cards, before, recompute=self.recompute)
                cue = self._embed([chat.closing(CUE)])
                return read_cues(decoder, shared, asked, lengths, cue, recompute=self.recompute)

        return read

    def _after_clip(self, text: str) -> tuple[int, ...]:
        return self.lalm.chat_format.user([AUDIO, text], "").texts[1]


LAYOUTS: Mapping[str, type[Layout]] = {"first": CardsFirst, "apart": CardsApart}
"""What the router's setting `cards` may name."""


def words(question: Question) -> tuple[str, tuple[str, ...]]:
    """All of a question that a router reads."""
    return question.question, question.choices
