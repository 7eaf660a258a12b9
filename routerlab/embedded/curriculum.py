"""What the LALM is shown: for each clip a question and several prompts, with or without outputs.

The shares below are the whole curriculum. It teaches to listen, to use an output that fits, and to
leave one aside that says nothing of what is asked. It does not teach where tools stop: an output
on a clip beyond its tool's reach is (by default) never shown, so at inference it is believed. Of
actions, labels of tools and rewards it knows nothing. Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from routerlab.embedded.prepare import Record
from routerlab.types import Observation


@dataclass(frozen=True)
class Shares:
    """How often each sort of prompt is drawn; relative weights, except `describe` and `text_task`.

    `direct` outweighs the rest, so that almost every clip is also asked by ear: the sound is what
    takes long to learn, and an output that fits is soon read.

    Attributes:
        direct: no output.
        fitting: the output of a tool that fits.
        irrelevant: an output of a tool whose name does not fit either.
        faulty: a fitting tool's output from another clip.
        two: a fitting and an irrelevant output, in random order.
        all_outputs: every tool's output, where a tool fits and none misleads.
        misleading: on a clip beyond a tool's reach, that tool's output.
        describe: chance that a clip's further question (about the sound itself) replaces its own.
        text_task: text-only tasks as a share of all sequences.
    """

    direct: float = 10.0
    fitting: float = 0.55
    irrelevant: float = 0.30
    faulty: float = 0.02
    two: float = 0.07
    all_outputs: float = 0.06
    misleading: float = 0.0
    describe: float = 0.08
    text_task: float = 0.08


_KINDS = tuple(f.name for f in fields(Shares) if f.name not in ("describe", "text_task"))


@dataclass(frozen=True)
class Lesson:
    """One clip's sequence: a question with its choices in a drawn order, and several prompts.

    Attributes:
        branches: a tuple of observations a prompt; `()` is direct.
        kinds: which sort each branch is (a field of `Shares`).
    """

    question: str
    choices: tuple[str, ...]
    answer: str
    branches: tuple[tuple[Observation, ...], ...]
    kinds: tuple[str, ...]


def observation(tool: str, text: str) -> Observation:
    """A tool's text as the prompt takes it."""
    return Observation(tool, {}, text, "")


def irrelevant_tools(record: Record) -> list[str]:
    """Tools with an output whose name does not fit the question at all."""
    return [t for t in record.outputs if t not in record.fits and t not in record.outside]


def draw_lesson(
    rng: np.random.Generator,
    record: Record,
    others: Sequence[Record],
    shares: Shares,
    branches: int,
) -> Lesson:
    """A lesson on one clip; `others` are where faulty outputs are taken from."""
    question, choices, answer = record.question, record.choices, record.answer
    weights = _weights(record, shares)
    if record.describe and rng.random() < shares.describe:
        question, choices, answer = record.describe[int(rng.integers(len(record.describe)))]
        # Nothing is known of which output bears on such a question: it is asked by ear.
        weights = {"direct": 1.0}
    kinds = _draw_kinds(rng, weights, branches)
    shown = tuple(_observations(rng, kind, record, others) for kind in kinds)
    order = rng.permutation(len(choices))
    return Lesson(question, tuple(choices[i] for i in order), answer, shown, kinds)


def _weights(record: Record, shares: Shares) -> dict[str, float]:
    """The sorts of prompt that are possible on this clip, with their shares."""
    fits = any(t in record.outputs for t in record.fits)
    misled = any(t in record.outputs for t in record.outside)
    # Beyond every tool's reach a clip is asked by ear alone: beside an idle output it would teach
    # that ears come first there.
    beside = bool(irrelevant_tools(record)) and (fits or record.kind != "boundary")
    possible: Mapping[str, bool] = {
        "direct": True,
        "fitting": fits,
        "irrelevant": beside,
        "faulty": fits,
        "two": fits and beside,
        "all_outputs": fits and not misled,
        "misleading": misled,
    }
    return {k: getattr(shares, k) for k in _KINDS if possible[k] and getattr(shares, k) > 0}


def _draw_kinds(
    rng: np.random.Generator, weights: Mapping[str, float], count: int
) -> tuple[str, ...]:
    # Different sorts on one clip: a sort twice would teach little that is new.
    names = list(weights)
    chances = np.array([weights[name] for name in names])
    picked = rng.choice(
        len(names), size=min(count, len(names)), replace=False, p=chances / chances.sum()
    )
    return tuple(names[i] for i in picked)


def _observations(
    rng: np.random.Generator, kind: str, record: Record, others: Sequence[Record]
) -> tuple[Observation, ...]:
    fits = [t for t in record.fits if t in record.outputs]
    if kind == "direct":
        return ()
    if kind == "faulty":
        return _faulty(rng, _one(rng, fits), record, others)
    if kind == "all_outputs":
        return tuple(observation(t, text) for t, text in record.outputs.items())
    if kind == "two":
        pair = [_one(rng, fits), _one(rng, irrelevant_tools(record))]
        tools = [pair[i] for i in rng.permutation(2)]
    else:
        pool = {"fitting": fits, "irrelevant": irrelevant_tools(record)}
        tools = [_one(rng, pool.get(kind, [t for t in record.outside if t in record.outputs]))]
    return tuple(observation(t, record.outputs[t]) for t in tools)


def _faulty(
    rng: np.random.Generator, tool: str, record: Record, others: Sequence[Record]
) -> tuple[Observation, ...]:
    for _ in range(8):
        text = others[int(rng.integers(len(others)))].outputs.get(tool)
        if text is not None and text != record.outputs[tool]:
            return (observation(tool, text),)
    return ()


def _one(rng: np.random.Generator, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]
