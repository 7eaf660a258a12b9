"""Questions of several sets as one training and one validation split that share no sound.

And none that a test asks, or asks about. Pure functions of questions and a seed but for the
comparison of sound files, which is `overlap`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from routerlab.data.overlap import overlap_of
from routerlab.types import Question


def merged(sets: Sequence[tuple[str, Sequence[Question]]]) -> list[Question]:
    """All questions, their ids made one of a kind by the set's name before them.

    >>> ask = Question("7", "a.wav", "Who?", ("x", "y"), "x")
    >>> [q.id for q in merged([("avqa", [ask]), ("mmar", [ask]), ("avqa", [ask])])]
    ['avqa-7', 'mmar-7', 'avqa2-7']
    """
    seen: Counter[str] = Counter()
    found = []
    for name, questions in sets:
        seen[name] += 1
        prefix = name if seen[name] == 1 else f"{name}{seen[name]}"
        found += [replace(q, id=f"{prefix}-{q.id}") for q in questions]
    return found


def without(
    questions: Sequence[Question], tests: Mapping[str, Sequence[Question]]
) -> tuple[list[Question], int]:
    """The questions that no test asks or asks about, and how many were left out."""
    kept = list(questions)
    for asked in tests.values():
        # Of questions that share a sound or a text only one is named at a time.
        while pairs := _shared(kept, asked):
            ids, sounds = {q.id for q in pairs[1]}, {q.audio for q in pairs[0]}
            kept = [q for q in kept if q.id not in ids and q.audio not in sounds]
    return kept, len(questions) - len(kept)


def _shared(
    learnt: Sequence[Question], judged: Sequence[Question]
) -> tuple[list[Question], list[Question]] | None:
    """Questions of `learnt` whose sound, and whose text, is in `judged`; None if there is none."""
    found = overlap_of(learnt, judged)
    if not found.sounds and not found.texts:
        return None
    return [mine for mine, _ in found.sounds], [mine for mine, _ in found.texts]


def split_by_sound(
    questions: Sequence[Question], val: int, seed: int
) -> tuple[list[Question], list[Question]]:
    """Training and validation questions, in their own order; at most `val` of the latter."""
    of_sound = Counter(q.audio for q in questions)
    sounds = sorted(of_sound)
    held: set[str] = set()
    left = val
    for i in np.random.default_rng(seed).permutation(len(sounds)).tolist():
        if of_sound[sounds[i]] <= left:
            held.add(sounds[i])
            left -= of_sound[sounds[i]]
    train = [q for q in questions if q.audio not in held]
    return train, [q for q in questions if q.audio in held]
