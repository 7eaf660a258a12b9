"""A request in token ids for one model: the prefix that actions share, their endings, the options.

Texts come from `routerlab.reasoners.prompts`, chat marks from the model's own format. Nothing is
run here.
"""

from __future__ import annotations

from collections.abc import Sequence

from routerlab.lalm.chat import AUDIO, Chat
from routerlab.reasoners.prompts import Wording, observation_text
from routerlab.types import Observation


class Prompter:
    """Puts questions in one wording and one chat format.

    Args:
        system: text of the system turn; no such turn when empty, the template's own when None.
    """

    def __init__(self, chat: Chat, wording: Wording, system: str | None) -> None:
        self._chat, self._wording, self._system = chat, wording, system

    def prefix(self, question: str, choices: Sequence[str], heard: int | None) -> list[int]:
        """What all actions share; `heard` is the clip's length in positions, None without sound."""
        text = self._wording.question(question, choices)
        if heard is None:
            return self._chat.user([text], self._system).ids()
        return self._chat.user([AUDIO, text], self._system).ids([heard])

    def suffixes(
        self, observations: Sequence[Sequence[Observation]], *, writes: bool = False
    ) -> list[list[int]]:
        """What each action adds, up to where the answer begins.

        Args:
            writes: the model writes for itself, and is not scored on given options.
        """
        closing = self._chat.closing(self._wording.opening if writes else self._wording.cue)
        return [[*self._chat.text_ids(observation_text(o)), *closing] for o in observations]

    def options(self, choices: Sequence[str]) -> list[list[int]]:
        """Each option as it continues the cue."""
        end = [self._chat.special.end] if self._wording.ends else []
        texts = (self._wording.option(i, choice) for i, choice in enumerate(choices))
        return [[*self._chat.text_ids(text), *end] for text in texts]
