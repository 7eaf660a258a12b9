"""The reasoner's prompt, in words: what is shared by all actions, then what an action adds.

    [system] · audio · question · choices │ tool output lines · answer cue │ option

Left of the first bar is the prefix, computed once a question; an action's part comes after it.
Texts only: the model's own chat marks are put around them by `routerlab.lalm.chat`. Training of
the embedded LALM and all inference use these functions, so both see the same prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from types import MappingProxyType

from routerlab.errors import UserError
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


# --- other wordings of a multiple-choice question ----------------------------------------------


def letter(place: int) -> str:
    """The letter of an option, by its place from 0."""
    if place >= len(ascii_uppercase):
        raise UserError(
            f"reasoner: option {place + 1} has no letter. Allowed: {len(ascii_uppercase)} options "
            "in the wording 'letters'. Use the wording 'plain' or 'text'."
        )
    return ascii_uppercase[place]


def listed_question(question: str, choices: Sequence[str]) -> str:
    """As R1-AQA asks Qwen2-Audio (https://github.com/xiaomi-research/r1-aqa): options as texts.

    >>> listed_question("Which note?", ["C4", "Eb4"])[12:71]
    "Please choose the answer from the following options: ['C4',"
    """
    shown = [one_line(choice) for choice in choices]
    return (
        f"{one_line(question)} Please choose the answer from the following options: {shown}. "
        "Output the final answer in <answer> </answer>."
    )


def lettered_question(question: str, choices: Sequence[str]) -> str:
    """Options under letters, a line each, and a letter asked for.

    >>> print(lettered_question("Which note?", ["C4", "Eb4"]))
    Which note?
    (A) C4
    (B) Eb4
    Answer with the letter of the right option.
    """
    lines = (f"({letter(i)}) {one_line(choice)}" for i, choice in enumerate(choices))
    asked = "Answer with the letter of the right option."
    return "\n".join([one_line(question), *lines, asked])


@dataclass(frozen=True)
class Wording:
    """How a multiple-choice question is put and answered.

    Attributes:
        question: (question, choices) -> the shared text after the clip.
        option: (place, choice) -> what follows `cue` where the option is scored.
        cue: opens the assistant's turn where options are scored.
        opening: opens it where the model writes for itself.
        ends: whether the end of the turn is scored with the option.
    """

    question: Callable[[str, Sequence[str]], str]
    option: Callable[[int, str], str]
    cue: str
    opening: str
    ends: bool


WORDINGS: Mapping[str, Wording] = MappingProxyType(
    {
        "plain": Wording(question_text, lambda _, c: option_text(c), ANSWER_CUE, ANSWER_CUE, True),
        "text": Wording(
            listed_question, lambda _, c: f"{one_line(c)}</answer>", "<answer>", "", True
        ),
        "letters": Wording(lettered_question, lambda i, _: f" {letter(i)}", ANSWER_CUE, "", False),
    }
)
"""The wordings by name; the name is part of a reasoner's identity."""
