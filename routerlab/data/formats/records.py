"""A `Question` as a row of a file format: what `fields` reads, written again.

Only what a `Question` holds is written, so that nothing which gives an answer away comes along.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from routerlab.types import Question


def relative_to(folder: str | Path, sound: str) -> str:
    """A sound's path as a question file in `folder` names it.

    >>> relative_to("data", "data/audio/a.wav"), relative_to("data", "sounds/a.wav")
    ('./audio/a.wav', '../sounds/a.wav')
    """
    path = Path(os.path.relpath(sound, folder)).as_posix()
    return path if path.startswith("..") else f"./{path}"


def own_row(question: Question, audio: str) -> dict[str, Any]:
    """A row of routerlab's own JSON lines; groups that say nothing are left out."""
    groups = ("task", "category", "sub_category", "difficulty", "split", "wording")
    said = {name: getattr(question, name) for name in groups if getattr(question, name)}
    return {
        "id": question.id,
        "audio": audio,
        "question": question.question,
        "choices": list(question.choices),
        "answer": question.answer,
        **said,
    }


def mmau_row(question: Question, audio: str) -> dict[str, Any]:
    """A row of MMAU's file, with every key that its script reads."""
    row = {
        "id": question.id,
        "audio_id": audio,
        "question": question.question,
        "choices": list(question.choices),
        "answer": question.answer,
        "task": question.task,
        "split": question.split,
        "category": question.category,
        "sub-category": question.sub_category,
        "difficulty": question.difficulty,
    }
    return row | ({"wording": question.wording} if question.wording else {})


def r1aqa_row(question: Question, audio: str) -> dict[str, Any]:
    """A row of AVQA as R1-AQA's training reads it: the answer is an option's place."""
    return {
        "id": question.id,
        "audio_path": audio,
        "question_text": question.question,
        "multi_choice": list(question.choices),
        "answer": question.gold,
        "question_type": question.category,
    }


ROWS: Mapping[str, Callable[[Question, str], dict[str, Any]]] = {
    "jsonl": own_row,
    "mmau": mmau_row,
    "r1aqa": r1aqa_row,
}
"""What `routerlab data convert --to` offers: (question, its sound's path there) -> row."""
