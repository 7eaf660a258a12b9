"""The oracle: questions x actions -> outcome table, each cell paid for once.

While the reasoner answers one chunk of questions in the calling thread, the tools' processes
observe the next. Whatever was answered is committed batch by batch, so a killed survey goes on
where it stopped. Gold answers are compared here and sent nowhere. A failure of the world (a tool
that hangs, a reasoner that is refused) is an outcome without an answer, never a wrong answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias

import numpy as np

from routerlab.errors import ReasonerError, UserError, unknown
from routerlab.oracle.cache import Cache
from routerlab.oracle.keys import digest, reasoner_key, shown_order
from routerlab.oracle.plan import Planner, Pool, Row
from routerlab.oracle.records import answer_row, joined, outcome_of, own_order
from routerlab.reasoners.base import Reasoner, ReasonRequest, Reply, cut_seconds
from routerlab.types import (
    ALL_OUTPUTS,
    DIRECT,
    Answer,
    Clip,
    Outcome,
    OutcomeTable,
    Question,
    ToolCard,
)

Progress: TypeAlias = Callable[[int, int, str], None]

_BATCHES_A_CHUNK = 4


@dataclass
class Counters:
    """What was paid for, and what was not.

    Attributes:
        reasoner_calls: prompts answered or tried.
        tool_calls: runs of one tool on one clip.
        cache_hits: cells whose outcome was remembered.
    """

    reasoner_calls: int = 0
    tool_calls: int = 0
    cache_hits: int = 0


class Oracle:
    """Fills outcome tables from a pool of tools, a reasoner and a cache of facts.

    Args:
        load: question -> clip (see `Planner` for its optional `settings`).
        batch_size: requests a reasoner is given at once.
        max_error_rate: share of a table's cells that may fail before `fill` stops.
        retries: how often a refused prompt is asked again, unless its error is final.
        beside_tools: entered around answers that are given while tools are at work on what is next.
        progress: called with (cells done, cells of this table, what was done); the last call of a
            `fill`, and no other, has done == total.
    """

    def __init__(
        self,
        pool: Pool,
        reasoner: Reasoner,
        cache: Cache,
        load: Callable[[Question], Clip],
        *,
        batch_size: int = 16,
        max_error_rate: float = 0.05,
        retries: int = 2,
        beside_tools: Callable[[], AbstractContextManager[None]] = nullcontext,
        progress: Progress | None = None,
    ) -> None:
        self.pool, self.reasoner, self.cache = pool, reasoner, cache
        self.batch_size, self.retries = batch_size, retries
        self.max_error_rate = max_error_rate
        self.counters = Counters()
        self._load = load
        self._progress = progress or (lambda done, total, text: None)
        self._beside_tools = beside_tools
        self._under_way: Future[list[Row]] | None = None
        self._known_planner: Planner | None = None

    @property
    def cards(self) -> tuple[ToolCard, ...]:
        """The tools' cards, in the order of their actions."""
        return self.pool.cards

    @property
    def actions(self) -> tuple[str, ...]:
        """Direct, then one action a tool."""
        return (DIRECT, *(card.name for card in self.cards))

    def fill(
        self,
        questions: Sequence[Question],
        actions: Sequence[str] | None = None,
        replicate: int = 0,
        of: int | None = None,
    ) -> OutcomeTable:
        """The outcome table of some questions under some actions (all of them if not given).

        Args:
            actions: may hold "all_outputs", every tool's output at once.
            replicate: another number shows the options in another order.
            of: how many questions the whole table has of which these are a part; failures are
                judged against it.

        Raises:
            UserError: an unknown action, a repeated id, or more failures than `max_error_rate`.
        """
        columns = self._checked(questions, actions)
        total, rows = len(questions) * len(columns), []
        whole = total if of is None else of * len(columns)
        errors: list[Outcome] = []
        done = 0
        for row in self._settled(questions, columns, replicate):
            rows.append(row)
            errors += [o for o in row.outcomes.values() if o.state != "ok"]
            refuse_errors(errors, whole, self.max_error_rate)
            done += len(columns)
            if done < total and len(rows) % self.batch_size == 0:
                self._progress(done, total, self._doing(len(errors)))
        cells = {(row.question.id, a): row.outcomes[a] for row in rows for a in columns}
        self._progress(total, total, self._doing(len(errors)))
        return OutcomeTable.of(questions, columns, cells)

    def outcome(self, question: Question, action: str) -> Outcome:
        """One cell, asked for only now; a failure is returned, whatever the error rate."""
        columns = self._checked([question], [action])
        (row,) = self._settled([question], columns, replicate=0)
        return row.outcomes[action]

    def flip_rate(self, table: OutcomeTable, share: float = 0.02, seed: int = 0) -> float:
        """Share of answers that change when a random part of a table's cells is asked again.

        A GPU's greedy answers are not bit-stable across batch shapes, and luck inflates the
        oracle. Nothing is remembered; cells with every tool's output are left out. 0.0 of none.
        """
        known = [o for o in table.cells.values() if o.answer and o.action != ALL_OUTPUTS]
        rng = np.random.default_rng(seed)
        picked = rng.choice(len(known), round(share * len(known)), replace=False)
        by_id, flips = {question.id: question for question in table.questions}, 0
        for start in range(0, len(picked), self.batch_size):
            cells = [known[i] for i in picked[start : start + self.batch_size]]
            asked = [(_again(cell, by_id, self._load), cell) for cell in cells]
            replies = self._ask([self._request(row, (cell.action,)) for row, cell in asked])
            for (row, cell), (reply,) in zip(asked, replies, strict=True):
                if isinstance(reply, Answer) and cell.answer is not None:
                    same = own_order(reply, row.order, row.question.choices)
                    flips += same.choice != cell.answer.choice
        return flips / max(len(picked), 1)

    def close(self) -> None:
        """End the tools' workers, let go of the reasoner's weights, close the cache."""
        self.pool.close()
        self.reasoner.close()
        self.cache.close()

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the pipeline -------------------------------------------------------------------------

    def _settled(
        self, questions: Sequence[Question], actions: tuple[str, ...], replicate: int
    ) -> Iterator[Row]:
        """Every question with all its outcomes; in no particular order."""
        waiting: list[Row] = []
        for rows in self._prepared(questions, actions, replicate):
            self.counters.cache_hits += sum(
                outcome.state == "ok" for row in rows for outcome in row.outcomes.values()
            )
            yield from (row for row in rows if not row.open)
            waiting += [row for row in rows if row.open]
            while len(waiting) >= self.batch_size:
                batch, waiting = waiting[: self.batch_size], waiting[self.batch_size :]
                yield from self._answered(batch, replicate)
        if waiting:
            yield from self._answered(waiting, replicate)

    def _prepared(
        self, questions: Sequence[Question], actions: tuple[str, ...], replicate: int
    ) -> Iterator[list[Row]]:
        """Chunks of rows with their observations, the next chunk under way in a thread."""
        planner, size = self._planner(), self.batch_size * _BATCHES_A_CHUNK
        chunks = [questions[i : i + size] for i in range(0, len(questions), size)]
        with ThreadPoolExecutor(1, thread_name_prefix="oracle-tools") as ahead:
            coming = None
            for chunk in [*chunks, None]:
                ready, coming = coming, None
                if chunk is not None:
                    coming = ahead.submit(planner.prepare, chunk, actions, replicate)
                self._under_way = coming
                if ready is not None:
                    rows = ready.result()
                    self.counters.tool_calls = planner.tool_calls
                    yield rows

    def _answered(self, rows: Sequence[Row], replicate: int) -> Sequence[Row]:
        """Ask the reasoner what is open, a refused prompt again, and commit the answers."""
        asked = [(row, row.open) for row in rows]
        for attempt in range(self.retries + 1):
            started = perf_counter()
            replies = self._ask([self._request(row, open_) for row, open_ in asked])
            each = (perf_counter() - started) / sum(len(open_) for _, open_ in asked)
            self._commit(asked, replies, replicate, each)
            last = attempt == self.retries
            for (row, open_), given in zip(asked, replies, strict=True):
                for action, reply in zip(open_, given, strict=True):
                    if isinstance(reply, ReasonerError) and (last or reply.final):
                        row.outcomes[action] = _refused(row, action, reply, replicate)
            asked = [(row, row.open) for row, _ in asked if row.open]
            if not asked:
                break
        for row in rows:
            row.clip = None  # a table of long clips would not fit in memory
        return rows

    def _ask(self, requests: Sequence[ReasonRequest]) -> list[list[Reply]]:
        self.counters.reasoner_calls += sum(len(r.observations) for r in requests)
        busy = self._under_way is not None and not self._under_way.done()
        try:
            with self._beside_tools() if busy else nullcontext():
                return self.reasoner.answer_many(requests)
        except ReasonerError as error:
            return [[error] * len(request.observations) for request in requests]

    def _request(self, row: Row, actions: tuple[str, ...]) -> ReasonRequest:
        if row.clip is None:
            raise RuntimeError(f"question {row.question.id}: asked without its clip")
        tools_of = self._planner().tools_of
        return ReasonRequest(
            clip=row.clip,
            question=row.question.question,
            choices=tuple(row.question.choices[i] for i in row.order),
            observations=tuple(
                tuple(row.observations[name] for name in tools_of(action)) for action in actions
            ),
        )

    def _commit(
        self,
        asked: Sequence[tuple[Row, tuple[str, ...]]],
        replies: Sequence[Sequence[Reply]],
        replicate: int,
        seconds: float,
    ) -> None:
        """Remember the answers, then settle their cells: what is settled is never lost."""
        planner = self._planner()
        facts, settled = {}, []
        for (row, actions), given in zip(asked, replies, strict=True):
            cut = cut_seconds(self.reasoner, row.clip) if row.clip else 0.0
            for action, reply in zip(actions, given, strict=True):
                if isinstance(reply, Answer):
                    fact = answer_row(
                        own_order(reply, row.order, row.question.choices),
                        joined(tuple(row.observations[n] for n in planner.tools_of(action))),
                        reasoner=planner.reasoner,
                        seconds=seconds,
                        cut_seconds=cut,
                    )
                    facts[planner.key(row, action, replicate)] = fact
                    settled.append((row, action, fact))
        self.cache.put_many(facts)
        for row, action, fact in settled:
            row.outcomes[action] = outcome_of(fact, row.question, action, replicate)

    # -- small parts --------------------------------------------------------------------------

    def _planner(self) -> Planner:
        """Made when first needed: a reasoner's identity may have to read its weights."""
        if self._known_planner is None:
            identity = self.reasoner.identity()
            mark = digest(identity)
            self.cache.put_many({reasoner_key(mark): identity})
            self._known_planner = Planner(self.pool, self.cache, self._load, mark)
        return self._known_planner

    def _checked(
        self, questions: Sequence[Question], actions: Sequence[str] | None
    ) -> tuple[str, ...]:
        columns, allowed = tuple(actions or self.actions), {*self.actions, ALL_OUTPUTS}
        for action in columns:
            if action not in allowed:
                raise UserError(unknown("actions: no action", action, allowed))
        repeated = [i for i, n in Counter(q.id for q in questions).items() if n > 1]
        if repeated:
            raise UserError(f"questions: the id {repeated[0]!r} is used twice. Give each its own.")
        return columns

    def _doing(self, errors: int) -> str:
        c = self.counters
        failed = f", {errors} failed" if errors else ""
        return f"{c.reasoner_calls} answers, {c.tool_calls} tool calls{failed}"


def _again(
    cell: Outcome, questions: Mapping[str, Question], load: Callable[[Question], Clip]
) -> Row:
    """A settled cell as a row that can be asked once more."""
    question = questions[cell.question_id]
    order = shown_order(question.id, len(question.choices), cell.replicate)
    seen = {} if cell.observation is None else {cell.action: cell.observation}
    return Row(question, (cell.action,), order, clip=load(question), observations=seen)


def _refused(row: Row, action: str, error: ReasonerError, replicate: int) -> Outcome:
    return Outcome(
        row.question.id,
        action,
        "reasoner_error",
        correct=False,
        observation=row.observations.get(action),
        replicate=replicate,
        error=str(error),
    )


def refuse_errors(errors: Sequence[Outcome], total: int, allowed: float) -> None:
    """Raise the user's error when more of a table's cells failed than allowed.

    Args:
        allowed: share of `total`.
    """
    if len(errors) <= allowed * total:
        return
    kinds = Counter(error.state for error in errors)
    counted = ", ".join(f"{n} {kind.replace('_', ' ')}s" for kind, n in kinds.items())
    first = errors[0]
    raise UserError(
        f"oracle: {counted} among {total} cells, more than max_error_rate {allowed:g} allows. The "
        f"first: question {first.question_id}, {first.action}: {first.error}. Mend it or raise "
        "max_error_rate; what was answered so far is kept."
    )
