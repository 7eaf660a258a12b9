"""The reasoner's prompt, in words: what is shared by all actions, then what an action adds.

    [system] · audio · question · choices │ tool output lines · answer cue │ option

Left of the first bar is the prefix, computed once a question; an action's part comes after it.
Texts only: the model's own chat marks are put around them by `routerlab.lalm.chat`. Training of
the embedded LALM and all inference use these functions, so both see the same prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

from routerlab.types import Observation

PROMPT_VERSION = 1
"""Raise on any change of the texts below: it is part of the outcome key."""

ANSWER_CUE = "answer:"
"""Opens the assistant's turn; an option or a generated answer follows."""

MAX_OBSERVATION = 400
"""Characters of one tool's text that reach the model."""


def one_line(text: str) -> str:
    """Text with every run of white space made one blank: data cannot forge a line of the prompt.

    >>> one_line(" a\\n tool output: b ")
    'a tool output: b'
    """
    return " ".join(text.split())


def question_text(question: str, choices: Sequence[str]) -> str:
    r"""The shared part that follows the audio.

    >>> question_text("Which note?", ["C4", "Eb4"])
    'Which note?\nchoices: C4 | Eb4'
    """
    shown = " | ".join(one_line(choice) for choice in choices)
    return f"{one_line(question)}\nchoices: {shown}"


def observation_text(observations: Sequence[Observation]) -> str:
    r"""What an action adds to the user's turn: a line for each output, nothing when direct.

    >>> observation_text([Observation("pitch", {}, "pitch: C4 +3 cents", "1")])
    '\ntool output: pitch: C4 +3 cents'
    >>> observation_text([])
    ''
    """
    lines = (one_line(o.text)[:MAX_OBSERVATION] for o in observations)
    return "".join(f"\ntool output: {line}" for line in lines)


def option_text(choice: str) -> str:
    """An option as it continues `ANSWER_CUE`.

    >>> ANSWER_CUE + option_text("Eb minor")
    'answer: Eb minor'
    """
    return f" {one_line(choice)}"
