"""Between records and JSON rows: what a cached observation and a cached answer look like on disk.

A row holds facts only. Whether an answer is right is decided when it is read, so a corrected gold
answer needs no reasoner call; which tool failed for want of time is not a fact and has no row.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from routerlab.answers import strict_match
from routerlab.types import ALL_OUTPUTS, Answer, Observation, Outcome, Question

PASSING = ("timeout", "memory", "crash", "refused")
"""Kinds of tool error that may not happen again; the others are the tool's answer to this clip."""


def observation_row(observation: Observation) -> dict[str, Any]:
    """What is remembered of a tool's output."""
    return {**vars(observation), "values": dict(observation.values)}


def observation_of(row: dict[str, Any]) -> Observation:
    """The observation that a row remembers."""
    return Observation(**row)


def is_lasting(observation: Observation) -> bool:
    """Whether an observation may be remembered: an output, or an error that would come again."""
    return observation.error.partition(":")[0] not in PASSING


def joined(observations: tuple[Observation, ...]) -> Observation | None:
    """What stood in the prompt as one observation: none, the one, or all of them in order."""
    if len(observations) < 2:
        return observations[0] if observations else None
    return Observation(
        tool=ALL_OUTPUTS,
        values={o.tool: dict(o.values) for o in observations},
        text="\n".join(o.text for o in observations),
        version=", ".join(o.version for o in observations),
        seconds=sum(o.seconds for o in observations),
    )


def answer_row(
    answer: Answer,
    observation: Observation | None,
    *,
    reasoner: str,
    seconds: float,
    cut_seconds: float,
) -> dict[str, Any]:
    """What is remembered of an answer, with what it came from.

    Args:
        reasoner: digest of the reasoner's identity, which has a row of its own.
        seconds: the reasoner's time, shared evenly over its batch.
        cut_seconds: how much of the clip's end the reasoner did not hear.
    """
    return {
        "answer": asdict(answer),
        "observation": None if observation is None else observation_row(observation),
        "reasoner": reasoner,
        "seconds": seconds,
        "cut_seconds": cut_seconds,
    }


def outcome_of(row: dict[str, Any], question: Question, action: str, replicate: int) -> Outcome:
    """The outcome that a row remembers, judged against the question's gold answer."""
    stored = row["answer"]
    answer = Answer(**{**stored, "log_probs": tuple(stored["log_probs"])})
    seen = row["observation"]
    return Outcome(
        question_id=question.id,
        action=action,
        state="ok",
        correct=answer.choice is not None and strict_match(answer.text, question.answer),
        answer=answer,
        observation=None if seen is None else observation_of(seen),
        replicate=replicate,
        seconds=row["seconds"],
        cut_seconds=row["cut_seconds"],
    )


def own_order(answer: Answer, order: tuple[int, ...], choices: tuple[str, ...]) -> Answer:
    """An answer to options shown in `order`, put back into the question's own order.

    >>> shown = Answer(0, "fall", log_probs=(-0.1, -2.0))
    >>> own_order(shown, (1, 0), ("rise", "fall"))
    Answer(choice=1, text='fall', raw='', log_probs=(-2.0, -0.1), read='likelihood')
    """
    choice = None if answer.choice is None else order[answer.choice]
    back = sorted(range(len(order)), key=order.__getitem__)
    return Answer(
        choice=choice,
        text="" if choice is None else choices[choice],
        raw=answer.raw,
        log_probs=tuple(answer.log_probs[place] for place in back) if answer.log_probs else (),
        read=answer.read,
    )
