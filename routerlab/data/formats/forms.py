"""Where each file format keeps what a `Question` holds, and which format a row is of.

A table of facts. Rows are found in `rows`, turned into questions in `fields`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routerlab.errors import UserError, unknown

LEAKS = frozenset({"thinking", "cue", "rubric", "gemini_cot", "structured_cot", "unstructured_cot"})
"""Keys of MMAR and AudioMCQ that give answers away: dropped when a row is read, before anything
sees it."""


@dataclass(frozen=True)
class Form:
    """One file format.

    Attributes:
        told_by: keys of which any one tells the format.
        audio: keys that may hold the sound's path; the first one there counts.
        choices: one key that holds a list, or a key for every option.
        answer_is_index: the answer is an option's place, not its text.
        only_multiple_choice: the file mixes in questions of other kinds, which are left out.
        id_from_audio: a file whose rows have no id names its questions by their sound.
    """

    name: str
    title: str
    told_by: tuple[str, ...]
    audio: tuple[str, ...]
    question: str = "question"
    choices: tuple[str, ...] = ("choices",)
    answer: str = "answer"
    task: str = "task"
    category: str = "category"
    sub_category: tuple[str, ...] = ("sub-category", "sub_category", "subcategory")
    answer_is_index: bool = False
    only_multiple_choice: bool = False
    id_from_audio: bool = False

    def left_out(self, row: Mapping[str, Any]) -> str:
        """Why a row is no multiple-choice question about one clip; "" if it is one."""
        if not self.only_multiple_choice:
            return ""
        if row.get("category") in ("open", "instruction following"):
            return str(row["category"])
        sounds = row.get(self.audio[0])
        return "several clips" if isinstance(sounds, list) and len(sounds) > 1 else ""


_ALL = (
    Form(
        "avqa",
        "AVQA as R1-AQA writes it",
        told_by=("multi_choice",),
        audio=("audio_path",),
        question="question_text",
        choices=("multi_choice",),
        category="question_type",
        answer_is_index=True,
    ),
    Form(
        "mmsu",
        "MMSU",
        told_by=("choice_a", "answer_gt"),
        audio=("audio_path", "audio"),
        choices=("choice_a", "choice_b", "choice_c", "choice_d"),
        answer="answer_gt",
        task="task_name",
    ),
    Form(
        "mmau_pro",
        "MMAU-Pro, its multiple choice",
        told_by=("perceptual_skills", "reasoning_skills", "length_type"),
        audio=("audio_path",),
        task="category",
        sub_category=("sub-category", "sub-cat"),
        only_multiple_choice=True,
    ),
    Form(
        "audiomcq",
        "AudioMCQ",
        told_by=("source_dataset",),
        audio=("audio_path",),
        task="source_dataset",
        category="question_type",
    ),
    Form("mmar", "MMAR", told_by=("audio_path",), audio=("audio_path",), task="modality"),
    Form("mmau", "MMAU", told_by=("audio_id",), audio=("audio_id",), id_from_audio=True),
    Form("routerlab", "routerlab's own", told_by=("audio",), audio=("audio",)),
)

FORMS: Mapping[str, Form] = {form.name: form for form in _ALL}
"""By name, in the order in which they are told apart: a key of one may stand in another too."""


def find_form(name: str, file: Path, first: Any) -> Form:
    """The format of that name, or for "auto" the one that the first row's keys tell.

    Raises:
        UserError: no such format, or keys that tell none.
    """
    if name != "auto":
        if name not in FORMS:
            raise UserError(unknown("data: no question format", name, FORMS))
        return FORMS[name]
    keys = set(first) if isinstance(first, dict) else set()
    for form in FORMS.values():
        if keys & set(form.told_by):
            return form
    telling = ", ".join(f"{form.told_by[0]!r} ({form.title})" for form in FORMS.values())
    raise UserError(
        f"{file}: unknown question format. The first row has the keys {sorted(map(str, keys))}; "
        f"one of these is needed: {telling}."
    )
