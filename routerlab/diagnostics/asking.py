"""What diagnostics ask anew: a silent clip, no clip, an output with its card's limits, a new tool.

    table ─► Known (a pool that runs nothing) ─► Oracle ─► the same cells, asked in another way

Known tools are not run again: what they said stands in the outcome table. Every control has a key
of its own, so what was asked once is never asked twice. Which cells are asked is up to the caller.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from routerlab.data.module import RouterDataModule
from routerlab.data.progress import progress
from routerlab.data.tables import judged
from routerlab.data.threads import one_thread
from routerlab.errors import UserError
from routerlab.oracle.cache import Cache
from routerlab.oracle.keys import digest
from routerlab.oracle.oracle import Oracle
from routerlab.oracle.plan import Asked
from routerlab.reasoners.base import Reasoner
from routerlab.reasoners.prompts import MAX_OBSERVATION, one_line
from routerlab.tools.isolation import ToolPool
from routerlab.tools.registry import tool_names
from routerlab.tools.specs import ToolSpec, build_tool
from routerlab.trust import TrustedImports
from routerlab.types import Clip, Observation, Outcome, OutcomeTable, Question, ToolCard

Bools: TypeAlias = NDArray[np.bool_]
Place: TypeAlias = tuple[str, tuple[str, ...], str]
"""Fingerprint of a clip, the options where the tool sees them, and the tool's name."""

LIMITS = "limits/1"
SILENCE = "silence/1"


# --- clips ------------------------------------------------------------------------------------


def silent(clip: Clip) -> Clip:
    """Silence as long as a clip, under a fingerprint that still tells whose silence it is.

    Without that, all clips of one length would share one key, and with it the answers that were
    given beside different tool outputs.
    """
    mark = hashlib.sha256(f"{SILENCE}:{clip.fingerprint}".encode()).hexdigest()
    return replace(clip, samples=np.zeros_like(clip.samples), fingerprint=mark)


class Silenced:
    """Loads a question's clip and silences it.

    Attributes:
        settings: all that is done to a file beyond its bytes; the oracle's cache asks for it.
    """

    def __init__(self, load: Callable[[Question], Clip]) -> None:
        self.load = load
        self.settings: dict[str, Any] = {**getattr(load, "settings", {}), "control": SILENCE}

    def __call__(self, question: Question) -> Clip:
        """Silence in place of the question's clip."""
        return silent(self.load(question))


def without_audio(reasoner: Reasoner) -> Reasoner | None:
    """The same reasoner with the clip left out of its prompts; None if it has no such setting."""
    if not hasattr(reasoner, "audio"):
        return None
    deaf: Any = copy.copy(reasoner)
    deaf.audio = "off"
    return deaf  # type: ignore[no-any-return]


# --- tools' outputs ---------------------------------------------------------------------------


def with_limits(observation: Observation, card: ToolCard) -> Observation:
    """An output followed by where its tool stops, within what a prompt shows of an output.

    >>> card = ToolCard("pitch", "the note", "Hz", "chords")
    >>> with_limits(Observation("pitch", {}, "pitch: C4", "1"), card).text
    'pitch: C4 (pitch stops at: chords)'
    """
    limit = f" ({card.name} stops at: {one_line(card.stops_at)})"
    text = one_line(observation.text)[: max(0, MAX_OBSERVATION - len(limit))]
    version = version_with_limits(card, observation.version)
    return replace(observation, text=f"{text}{limit}", version=version)


def version_with_limits(card: ToolCard, version: str) -> str:
    """Part of the key: another wording of the limit is another prompt."""
    return f"{version} {LIMITS} {digest({'stops_at': card.stops_at})[:12]}"


@dataclass
class Known:
    """A pool of tools that says what is known already and runs nothing.

    Attributes:
        cards: of the tools.
        versions: by tool, as they enter the keys.
        said: what a tool says at a place.
    """

    cards: tuple[ToolCard, ...]
    versions: Mapping[str, str]
    said: Mapping[Place, Observation] = field(repr=False)

    def observe_many(self, jobs: Sequence[Asked]) -> Iterator[tuple[int, list[Observation]]]:
        """The observations of each job, in order."""
        for index, job in enumerate(jobs):
            clip, names = job[0], job[1]
            choices = job[2] if len(job) == 3 else ()
            yield index, [self.said[clip.fingerprint, choices, name] for name in names]

    def close(self) -> None:
        """Nothing to end."""


def known(
    table: OutcomeTable,
    cards: Sequence[ToolCard],
    versions: Mapping[str, str],
    load: Callable[[Question], Clip],
    *,
    limits: bool = False,
) -> Known:
    """The outputs of a table's cells, at the clips that `load` gives.

    Args:
        limits: with each tool's limits behind its output.
    """
    said: dict[Place, Observation] = {}
    for question in table.questions:
        mark = load(question).fingerprint
        for card in cards:
            seen = table.cells[question.id, card.name].observation
            if seen is not None:
                choices = question.choices if card.sees_choices else ()
                said[mark, choices, card.name] = with_limits(seen, card) if limits else seen
    if limits:
        versions = {card.name: version_with_limits(card, versions[card.name]) for card in cards}
    return Known(tuple(cards), dict(versions), said)


# --- asking -----------------------------------------------------------------------------------


class Absent(Exception):
    """A diagnostic that does not apply, with the reason in words."""


def ask(
    datamodule: RouterDataModule,
    table: OutcomeTable,
    cells: Bools,
    what: str,
    *,
    load: Callable[[Question], Clip] | None = None,
    reasoner: Reasoner | None = None,
    limits: bool = False,
) -> dict[tuple[int, int], Outcome]:
    """Some cells of a table, asked again in another way; no tool is run.

    Args:
        cells: which, bool [N, A]; one whose tool failed is left out.
        what: how it is called while it is asked.
        load: what the reasoner hears of a question; its clip by default.
        reasoner: who answers; the recipe's by default.
        limits: with each tool's limits behind its output.
    """
    load, answers = load or datamodule.clip, reasoner or datamodule.reasoner
    wanted, found = cells & table.valid, {}
    pool = known(table, datamodule.cards, datamodule.versions, load, limits=limits)
    with _oracle(datamodule, pool, answers, load, int(wanted.sum()), what) as oracle:
        for column in np.flatnonzero(wanted.any(axis=0)):
            rows, action = np.flatnonzero(wanted[:, column]), table.actions[column]
            asked = [table.questions[row] for row in rows]
            part = judged(oracle.fill(asked, (action,)), datamodule.scorer)
            for place, row in enumerate(rows):
                found[int(row), int(column)] = part.outcome(place, 0)
    return found


def with_new_tool(
    datamodule: RouterDataModule, table: OutcomeTable
) -> tuple[OutcomeTable, ToolCard]:
    """The table with one more column: a tool that the recipe left out, run and read now.

    Raises:
        Absent: no tool that comes along is left.
    """
    spec = _left_out([card.name for card in datamodule.cards], datamodule.trusted)
    pool = ToolPool(
        [spec],
        trusted=datamodule.trusted,
        workers=datamodule.workers,
        timeout_s=datamodule.tool_timeout_s,
        memory_mb=datamodule.tool_memory_mb,
    )
    answers, load = datamodule.reasoner, datamodule.clip
    with _oracle(datamodule, pool, answers, load, len(table), f"new tool {spec.name}") as oracle:
        extra = judged(oracle.fill(table.questions, (spec.name,)), datamodule.scorer)
    more = replace(
        table,
        actions=(*table.actions, spec.name),
        correct=np.hstack([table.correct, extra.correct]),
        valid=np.hstack([table.valid, extra.valid]),
        cells={**table.cells, **extra.cells},
    )
    return more, pool.cards[0]


def _left_out(used: Sequence[str], trusted: Sequence[str]) -> ToolSpec:
    """The first registered tool beside a recipe's that needs neither a setting nor an extra."""
    for name in tool_names():
        spec = ToolSpec(name)
        try:
            tool = None if name in used else build_tool(spec, TrustedImports(trusted))
        except (UserError, ImportError):
            continue
        if tool is not None and not tool.card.needs:
            return spec
    raise Absent("every tool that comes along is in the recipe already")


@contextmanager
def _oracle(
    datamodule: RouterDataModule,
    pool: Any,
    reasoner: Reasoner,
    load: Callable[[Question], Clip],
    cells: int,
    what: str,
) -> Iterator[Oracle]:
    """An oracle whose progress is shown, and whose costs are added to the run's."""
    before = 0

    def report(done: int, total: int, _: str) -> None:
        nonlocal before
        advance(before + done, what)
        before += total if done == total else 0

    with progress(cells) as advance:
        oracle = Oracle(
            pool,
            reasoner,
            Cache(datamodule.cache_dir),
            load,
            max_error_rate=datamodule.max_error_rate,
            beside_tools=one_thread,
            progress=report,
        )
        try:
            yield oracle
        finally:
            oracle.close()
            if isinstance(pool, Known):  # what it says was run for the table
                oracle.counters.tool_calls = 0
            for name in datamodule.counters:
                datamodule.counters[name] += getattr(oracle.counters, name)
