"""Questions that a router would be trained on and tested on: the same sound, or the same question.

Compares files' bytes and questions' words. The same sound stored in another encoding is seen only
if the question is the same too; what a model was trained on before, nothing here can know.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routerlab.types import Question

LEARNT, JUDGED = ("train", "val"), ("test", "ood")
"""Splits that shape a router, and splits that must not."""

OVERLAP = ("refuse", "allow")
"""What a recipe may say of `data.overlap`."""

_PIECE = 1 << 16


@dataclass(frozen=True)
class Overlap:
    """What two splits share.

    Attributes:
        sounds: (learnt, judged) pairs of questions about files of the same bytes; one pair a
            question of the judged split.
        texts: the same for questions with the same words and options about other files.
    """

    learnt: str
    judged: str
    sounds: tuple[tuple[Question, Question], ...]
    texts: tuple[tuple[Question, Question], ...]

    def lines(self) -> list[str]:
        """One line a kind: how many, and an example."""
        kinds = (
            (self.sounds, "about sounds that are also in"),
            (self.texts, "asked with the same words and options, about another file, in"),
        )
        return [
            f"overlap: {len(pairs)} questions of {self.judged} are {what} {self.learnt} "
            f"({pairs[0][1].id!r} and {pairs[0][0].id!r} for one)."
            for pairs, what in kinds
            if pairs
        ]


def find_overlaps(splits: Mapping[str, Sequence[Question]]) -> list[Overlap]:
    """What each split that is learnt from shares with each that is judged on."""
    pairs = [(a, b) for a in LEARNT for b in JUDGED if splits.get(a) and splits.get(b)]
    found = (overlap_of(splits[a], splits[b], a, b) for a, b in pairs)
    return [it for it in found if it.sounds or it.texts]


def overlap_problems(splits: Mapping[str, Sequence[Question]]) -> list[str]:
    """One line a kind of overlap, and what to do about it; [] if there is none."""
    lines = [line for overlap in find_overlaps(splits) for line in overlap.lines()]
    if not lines:
        return []
    return [
        *lines,
        "overlap: figures of a test that was trained on are too good. Take these questions out of "
        "one of the splits, or set data.overlap=allow.",
    ]


def overlap_of(
    learnt: Sequence[Question], judged: Sequence[Question], a: str = "train", b: str = "test"
) -> Overlap:
    """What two splits share; a question about a shared sound is not listed as a shared text.

    The same words with the same options count only where they are about one clip in each split: a
    template ("Which note is played?") is asked of many, and asking it again gives nothing away.
    """
    same_file = _same_files({q.audio for q in learnt}, {q.audio for q in judged})
    by_file = {same_file[q.audio]: q for q in reversed(learnt) if q.audio in same_file}
    sounds = [(by_file[same_file[q.audio]], q) for q in judged if q.audio in same_file]
    heard = {q.id for _, q in sounds}
    templates = _templates(learnt) | _templates(judged)
    by_text = {_text(q): q for q in reversed(learnt) if _words(q.question) not in templates}
    texts = [(by_text[_text(q)], q) for q in judged if q.id not in heard and _text(q) in by_text]
    texts = [pair for pair in texts if _words(pair[1].question) not in templates]
    return Overlap(a, b, tuple(sounds), tuple(texts))


def _templates(questions: Sequence[Question]) -> set[str]:
    """Questions that are asked of several sounds, or that name the template they come from."""
    asked: dict[str, set[str]] = defaultdict(set)
    for q in questions:
        asked[_words(q.question)].add(q.audio)
    named = {_words(q.question) for q in questions if q.wording}
    return named | {text for text, sounds in asked.items() if len(sounds) > 1}


def _text(question: Question) -> tuple[Any, ...]:
    return _words(question.question), frozenset(map(_words, question.choices))


def _words(text: str) -> str:
    return " ".join(text.casefold().split())


def _same_files(one: set[str], other: set[str]) -> dict[str, Hashable]:
    """File -> its content, for files whose content is on both sides.

    Sizes are compared first, then the first and last piece, and whole files only where all of that
    is the same: a training set of 38,000 clips is not read from end to end.
    """
    left: dict[str, Hashable] = dict.fromkeys(one, 0)
    right: dict[str, Hashable] = dict.fromkeys(other, 0)
    for look in (_size, _ends, _whole):
        left = {path: (key, look(path)) for path, key in left.items()}
        right = {path: (key, look(path)) for path, key in right.items()}
        shared = set(left.values()) & set(right.values())
        left = {path: key for path, key in left.items() if key in shared}
        right = {path: key for path, key in right.items() if key in shared}
    return left | right


def _size(path: str) -> Hashable:
    """A file that is not there is like none but itself."""
    try:
        return os.stat(path).st_size
    except OSError:
        return path


def _ends(path: str) -> Hashable:
    try:
        with Path(path).open("rb") as file:
            head = file.read(_PIECE)
            file.seek(max(0, os.fstat(file.fileno()).st_size - _PIECE))
            return hashlib.sha256(head + file.read(_PIECE)).digest()
    except OSError:
        return path


def _whole(path: str) -> Hashable:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return path
