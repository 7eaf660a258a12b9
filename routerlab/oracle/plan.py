"""What is already known of some questions, and the tools' part of what is not.

A `Row` is one question on its way through the oracle: it comes out of here with every remembered
outcome, every observation that its other actions need, and its clip if a reasoner must hear it.
The reasoner itself is asked elsewhere (`oracle.oracle`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from routerlab.errors import UserError
from routerlab.oracle.cache import Cache
from routerlab.oracle.keys import (
    ObservationFacts,
    OutcomeFacts,
    clip_key,
    observation_key,
    outcome_key,
    shown_order,
)
from routerlab.oracle.records import is_lasting, observation_of, observation_row, outcome_of
from routerlab.types import ALL_OUTPUTS, DIRECT, Clip, Observation, Outcome, Question, ToolCard

_JOBS_A_COMMIT = 32

Asked: TypeAlias = tuple[Clip, tuple[str, ...]] | tuple[Clip, tuple[str, ...], tuple[str, ...]]
"""A clip, the tools' names and, only for tools that see them, the question's options."""


class Pool(Protocol):
    """What the oracle needs of a pool of tools."""

    @property
    def cards(self) -> tuple[ToolCard, ...]:
        """One card a tool, named as the actions are."""
        ...

    @property
    def versions(self) -> Mapping[str, str]:
        """Version of each tool by name."""
        ...

    def observe_many(self, jobs: Sequence[Asked]) -> Iterator[tuple[int, list[Observation]]]:
        """(index of a job, one observation a name asked), in any order of jobs."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...


@dataclass
class Row:
    """One question under way.

    Attributes:
        order: the order in which its options are shown.
        outcomes: by action, what is settled.
        observations: by tool, what its open actions need.
        clip: decoded only if some action is open.
    """

    question: Question
    actions: tuple[str, ...]
    order: tuple[int, ...]
    fingerprint: str = ""
    clip: Clip | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    observations: dict[str, Observation] = field(default_factory=dict)

    @property
    def open(self) -> tuple[str, ...]:
        """Actions that are not settled yet."""
        return tuple(action for action in self.actions if action not in self.outcomes)


@dataclass
class _Work:
    """One job of the pool, and the rows that wait for what it says."""

    clip: Clip
    choices: tuple[str, ...]
    names: dict[str, None] = field(default_factory=dict)
    sharing: list[Row] = field(default_factory=list)

    @property
    def job(self) -> Asked:
        names = tuple(self.names)
        return (self.clip, names, self.choices) if self.choices else (self.clip, names)


class Planner:
    """Looks up, decodes and observes; holds no state but the cache's.

    Args:
        reasoner: digest of the reasoner's identity.
        load: question -> clip. If it has a mapping `settings` (all that it does to a file beyond
            its bytes), a file's fingerprint is remembered and a settled question not decoded again.
    """

    def __init__(
        self, pool: Pool, cache: Cache, load: Callable[[Question], Clip], reasoner: str
    ) -> None:
        self.cache, self.load, self.reasoner = cache, load, reasoner
        self.pool = pool
        self.versions = dict(pool.versions)
        self.tools = tuple(card.name for card in pool.cards)
        self.seeing = frozenset(card.name for card in pool.cards if card.sees_choices)
        self.tool_calls = 0
        self._settings: Mapping[str, Any] | None = getattr(load, "settings", None)

    def prepare(
        self, questions: Sequence[Question], actions: tuple[str, ...], replicate: int
    ) -> list[Row]:
        """Everything but the reasoner's part of some questions, in their order."""
        rows = [
            Row(question, actions, shown_order(question.id, len(question.choices), replicate))
            for question in questions
        ]
        self._identify(rows)
        self._recall_outcomes(rows, replicate)
        self._recall_observations(rows)
        self._settle_errors(rows, replicate)
        for row in rows:
            if row.open and row.clip is None:
                self._decode(row)
        self._observe(rows)
        self._settle_errors(rows, replicate)
        return rows

    def tools_of(self, action: str) -> tuple[str, ...]:
        """The tools whose observations stand in an action's prompt, in order."""
        if action == DIRECT:
            return ()
        return self.tools if action == ALL_OUTPUTS else (action,)

    def key(self, row: Row, action: str, replicate: int) -> str:
        """The key of one cell's outcome."""
        return outcome_key(
            OutcomeFacts(
                clip=row.fingerprint,
                question=row.question.question,
                choices=row.question.choices,
                order=row.order,
                replicate=replicate,
                tools=tuple((name, self.versions[name]) for name in self.tools_of(action)),
                reasoner=self.reasoner,
            )
        )

    # -- clips --------------------------------------------------------------------------------

    def _identify(self, rows: Sequence[Row]) -> None:
        """Give every row its clip's fingerprint, decoding only files not met before."""
        places = {row.question.audio: self._place(row.question.audio) for row in rows}
        known = self.cache.get_many(place for place in places.values() if place)
        met: dict[str, dict[str, Any]] = {}
        for row in rows:
            place = places[row.question.audio]
            if place in known:
                row.fingerprint = known[place]["fingerprint"]
                continue
            self._decode(row)
            if place:
                met[place] = {"fingerprint": row.fingerprint}
        self.cache.put_many(met)

    def _place(self, path: str) -> str | None:
        return None if self._settings is None else clip_key(path, self._settings)

    def _decode(self, row: Row) -> None:
        row.clip = self.load(row.question)
        if row.fingerprint not in ("", row.clip.fingerprint):
            raise UserError(
                f"audio {row.question.audio}: its content changed, but not its size and time. "
                "Touch the file, so that it is read anew."
            )
        row.fingerprint = row.clip.fingerprint

    # -- what the cache knows -----------------------------------------------------------------

    def _recall_outcomes(self, rows: Sequence[Row], replicate: int) -> None:
        keys = {(i, a): self.key(row, a, replicate) for i, row in enumerate(rows) for a in row.open}
        known = self.cache.get_many(keys.values())
        for (i, action), key in keys.items():
            if key in known:
                rows[i].outcomes[action] = outcome_of(
                    known[key], rows[i].question, action, replicate
                )

    def _recall_observations(self, rows: Sequence[Row]) -> None:
        keys = {
            (i, name): self._observation_key(row, name)
            for i, row in enumerate(rows)
            for name in self._unseen(row)
        }
        known = self.cache.get_many(keys.values())
        for (i, name), key in keys.items():
            if key in known:
                rows[i].observations[name] = observation_of(known[key])

    def _observation_key(self, row: Row, name: str) -> str:
        version, choices = self.versions[name], self._given(row, name)
        return observation_key(ObservationFacts(row.fingerprint, name, version, choices))

    def _unseen(self, row: Row) -> tuple[str, ...]:
        needed = {name for action in row.open for name in self.tools_of(action)}
        return tuple(n for n in self.tools if n in needed and n not in row.observations)

    # -- tools --------------------------------------------------------------------------------

    def _observe(self, rows: Sequence[Row]) -> None:
        """Run the missing tools, each once a clip (and options, where it sees them).

        What they said is remembered in batches.
        """
        wanted = self._wanted(rows)
        jobs = [work.job for work in wanted]
        for batch in _batched(self.pool.observe_many(jobs) if jobs else (), _JOBS_A_COMMIT):
            facts = {}
            for job, observations in batch:
                self.tool_calls += len(observations)
                for row in wanted[job].sharing:
                    row.observations.update({o.tool: o for o in observations})
                lasting = [o for o in observations if is_lasting(o)]
                row = wanted[job].sharing[0]
                facts.update({self._observation_key(row, o.tool): o for o in lasting})
            self.cache.put_many({key: observation_row(o) for key, o in facts.items()})

    def _wanted(self, rows: Sequence[Row]) -> list[_Work]:
        """The missing runs: one a clip for all plain tools, one a clip and options for the rest."""
        wanted: dict[tuple[str, tuple[str, ...]], _Work] = {}
        for row in rows:
            if row.clip is None:
                continue
            for name in self._unseen(row):
                choices = self._given(row, name)
                place = (row.fingerprint, choices)
                work = wanted.setdefault(place, _Work(row.clip, choices))
                work.names[name] = None
                if not work.sharing or work.sharing[-1] is not row:
                    work.sharing.append(row)
        return list(wanted.values())

    def _given(self, row: Row, name: str) -> tuple[str, ...]:
        """What a tool is given beside the clip: the options if its card says so, never the gold."""
        return row.question.choices if name in self.seeing else ()

    def _settle_errors(self, rows: Sequence[Row], replicate: int) -> None:
        """Actions that need an observation which is an error have an outcome: a tool error."""
        for row in rows:
            for action in row.open:
                seen = [row.observations.get(name) for name in self.tools_of(action)]
                broken = next((o for o in seen if o is not None and o.error), None)
                if broken is not None:
                    row.outcomes[action] = Outcome(
                        row.question.id,
                        action,
                        "tool_error",
                        correct=False,
                        observation=broken,
                        replicate=replicate,
                        error=f"{broken.tool}: {broken.error}",
                    )


def _batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
