"""What a cached fact depends on, and nothing else: keys are SHA-256 over canonical JSON.

A key that misses something relevant serves stale facts; one that holds something irrelevant (a
path, a run's name, a rank) pays for the same answer twice. So each kind of fact is a record of
exactly its causes, and a test walks every field and setting of the package against these.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ObservationFacts:
    """All that a tool's output depends on. No reasoner: a new one reuses every observation.

    Attributes:
        clip: fingerprint of the decoded samples, so a moved or renamed file is the same clip.
        tool: the instance's name, which stands in the text.
        version: package version, revision and settings of the tool.
        choices: what a tool that sees them was given, in the question's own order; () otherwise.
    """

    clip: str
    tool: str
    version: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class OutcomeFacts:
    """All that an answer depends on. Gold is not here: being right is judged when read.

    Attributes:
        clip: fingerprint of the decoded samples.
        question: the text as asked.
        choices: in the question's own order.
        order: the order in which they were shown, as indices into `choices`.
        replicate: 0, or the number of a run with permuted options.
        tools: (name, version) of every observation in the prompt, in prompt order; () is direct.
        reasoner: `digest(reasoner.identity())`: weights, prompt, protocol, dtype, backend, ….
    """

    clip: str
    question: str
    choices: tuple[str, ...]
    order: tuple[int, ...]
    replicate: int
    tools: tuple[tuple[str, str], ...]
    reasoner: str


def observation_key(facts: ObservationFacts) -> str:
    """Key of one tool's output for one clip (and options, where the tool sees them)."""
    seen = {"choices": facts.choices} if facts.choices else {}
    plain = {"clip": facts.clip, "tool": facts.tool, "version": facts.version}
    return digest({"fact": "observation/1", **plain, **seen})


def outcome_key(facts: OutcomeFacts) -> str:
    """Key of one answer. (Not `asdict`: it copies deeply, and a table has 26,400 cells.)"""
    return digest({"fact": "outcome/1", **vars(facts)})


def reasoner_key(reasoner: str) -> str:
    """Key of the row that spells out a reasoner's identity, by its digest."""
    return digest({"fact": "reasoner/1", "reasoner": reasoner})


def clip_key(path: str, load_settings: Mapping[str, Any]) -> str | None:
    """Key under which a file's fingerprint is remembered, so that it need not be decoded again.

    The file's size and time of change stand for its content; what the loader does to it (rate,
    seconds kept) must be given. None if there is no such file.
    """
    try:
        status = os.stat(path)
    except OSError:
        return None
    place = {"path": os.path.abspath(path), "size": status.st_size, "time": status.st_mtime_ns}
    return digest({"fact": "clip/1", "load": dict(load_settings), **place})


def digest(value: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a JSON value, the same for every order of its keys.

    >>> digest({"a": 1, "b": [2]}) == digest({"b": (2,), "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=65_536)
def shown_order(question_id: str, n_choices: int, replicate: int) -> tuple[int, ...]:
    """The order in which a replicate shows the options: place -> index among the question's own.

    Replicate 0 shows them as they are. Any other never does, or a deterministic reasoner would
    give the same answer again and a cross-fitted oracle would be fooled by it.

    >>> shown_order("q1", 4, 0), shown_order("q1", 2, 1)
    ((0, 1, 2, 3), (1, 0))
    """
    own = tuple(range(n_choices))
    if not replicate or n_choices < 2:
        return own
    seed = int(digest({"question": question_id, "replicate": replicate})[:16], 16)
    rng = np.random.default_rng(seed)
    while (order := tuple(int(i) for i in rng.permutation(n_choices))) == own:
        pass
    return order
