"""Lessons and text tasks as token ids, exactly as the reasoner and the router will write them.

Reasoner prompts come from `routerlab.reasoners.prompts`, router-like ones from
`routerlab.policy.prompt`, the chat marks from `routerlab.lalm.chat`; nothing is spelled here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from routerlab.embedded.curriculum import Lesson
from routerlab.embedded.text_tasks import TextTask
from routerlab.lalm.chat import AUDIO, Chat
from routerlab.reasoners.prompts import ANSWER_CUE, observation_text, option_text, question_text
from routerlab.types import Observation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Encoded:
    """A prefix shared by several continuations, each with the ids that the model must give.

    Attributes:
        head: ids before the clip.
        tail: ids after the clip, still shared.
        branches: (prompt ids, target ids) each.
    """

    head: Ids
    tail: Ids
    branches: tuple[tuple[Ids, Ids], ...]


class Encoder:
    """Turns lessons into ids with one tokenizer.

    Args:
        system: the reasoner's system text.
        around: what the family writes around a clip's marks.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        system: str = "",
        around: tuple[str, str] = ("", ""),
    ) -> None:
        self._chat = Chat(tokenizer, around)
        self._system = system
        self.audio = self._chat.special.audio

    def suffix(self, observations: Sequence[Observation]) -> Ids:
        """What an action adds: the outputs and the answer cue."""
        shown = self._chat.text_ids(observation_text(observations))
        return (*shown, *self._chat.closing(ANSWER_CUE))

    def option(self, choice: str) -> Ids:
        """An option as it continues the cue, with the end of turn, as the reasoner scores it."""
        return (*self._chat.text_ids(option_text(choice)), self._chat.special.end)

    def lesson(self, lesson: Lesson) -> Encoded:
        """The lesson's branches, each to be answered with the gold option and the end of turn."""
        target = self.option(lesson.answer)
        branches = tuple((self.suffix(b), target) for b in lesson.branches)
        return Encoded(*self._prefix(lesson.question, lesson.choices), branches)

    def options(
        self, question: str, choices: Sequence[str], prompts: Sequence[Sequence[Observation]]
    ) -> Encoded:
        """Every prompt with every option, prompt by prompt, for scoring by likelihood."""
        branches = tuple((self.suffix(p), self.option(c)) for p in prompts for c in choices)
        return Encoded(*self._prefix(question, choices), branches)

    def task(self, task: TextTask, audio: bool) -> Encoded:
        """A text task, with or without a clip before its question as the router has one."""
        pieces = (AUDIO, task.user) if audio else (task.user,)
        texts = self._chat.chat(task.system, pieces, cue=task.cue).texts
        head, tail = texts if audio else ((), texts[0])
        target = (*self._chat.text_ids(task.answer), self._chat.special.end)
        return Encoded(head, tail, (((), target),))

    def _prefix(self, question: str, choices: Sequence[str]) -> tuple[Ids, Ids]:
        head, tail = self._chat.user((AUDIO, question_text(question, choices)), self._system).texts
        return head, tail
