"""What a survey's answers cost, with the savings added one after the other.

Each rung answers the same requests. Counts are exact and the same on any machine; times are of this
one. The answers themselves must not change, and that is looked at too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from routerlab.bench.machine import Machine, counted_and_timed, fresh_memory, highest_memory
from routerlab.bench.sizes import PUBLISHED, parts
from routerlab.bench.work import Work
from routerlab.lalm.counts import Counted
from routerlab.reasoners.base import ReasonRequest, Reply
from routerlab.reasoners.settings import Protocol, Saving
from routerlab.reasoners.transformers_reasoner import TransformersReasoner
from routerlab.report.grid import Grid, percent
from routerlab.types import Answer

MakeReasoner: TypeAlias = Callable[[Protocol, Sequence[Saving]], TransformersReasoner]
"""A reasoner on the model that is measured, with these savings left out."""

_LADDER: tuple[tuple[str, tuple[Saving, ...]], ...] = (
    ("every prompt by itself", ("tower", "prefix", "branches", "buckets")),
    ("+ features once a clip", ("prefix", "branches", "buckets")),
    ("+ prefix once a question", ("branches", "buckets")),
    ("+ actions, options as branches", ("buckets",)),
    ("+ rows by length", ()),
)


@dataclass(frozen=True)
class Rung:
    """One way to answer, and its cost.

    Attributes:
        answers: replies in all.
        differ: replies that are not those of the first rung.
        operations: issued, as counted by `Operations`.
        memory: most that was held, in GB; None where there is no GPU.
    """

    what: str
    questions: int
    answers: int
    differ: int
    counted: Counted
    seconds: float
    operations: int
    memory: float | None


def climb(make: MakeReasoner, protocol: Protocol, work: Work, repeats: int) -> list[Rung]:
    """Direct alone with all savings, then the ladder over all actions."""
    direct = [replace(request, observations=((),)) for request in work.requests]
    rungs = [_rung("direct alone", make(protocol, ()), direct, None, repeats)[0]]
    first: list[list[Reply]] | None = None
    for what, without in _steps(protocol):
        rung, replies = _rung(what, make(protocol, without), work.requests, first, repeats)
        first = first or replies
        rungs.append(rung)
    return rungs


def _steps(protocol: Protocol) -> Iterator[tuple[str, tuple[Saving, ...]]]:
    """What a model writes has no branches."""
    for what, without in _LADDER:
        if protocol == "likelihood" or "branches" not in what:
            yield what, without


def _rung(
    what: str,
    reasoner: TransformersReasoner,
    asked: Sequence[ReasonRequest],
    first: list[list[Reply]] | None,
    repeats: int,
) -> tuple[Rung, list[list[Reply]]]:
    replies: list[list[Reply]] = []
    counts: list[Counted] = []

    def run() -> None:
        replies[:] = reasoner.answer_many(asked)
        counts.append(replace(reasoner.lalm.counted))

    device = reasoner.lalm.device
    fresh_memory(device)
    issued, took = counted_and_timed(run, device, repeats)
    rung = Rung(
        what=what,
        questions=len(asked),
        answers=sum(map(len, replies)),
        differ=_differ(replies, first or replies),
        counted=counts[0],
        seconds=took,
        operations=issued,
        memory=highest_memory(device),
    )
    reasoner.close()
    return rung, replies


def _differ(some: list[list[Reply]], others: list[list[Reply]]) -> int:
    pairs = zip(some, others, strict=True)
    return sum(_said(a) != _said(b) for x, y in pairs for a, b in zip(x, y, strict=True))


def _said(reply: Reply) -> object:
    return (reply.choice, reply.raw) if isinstance(reply, Answer) else str(reply)


def cost_grid(rungs: Sequence[Rung], title: str, machine: Machine) -> Grid:
    """Counts and times; times and tokens are also given in multiples of direct alone."""
    direct = rungs[0]
    rows = []
    for rung in rungs:
        count, each = rung.counted, rung.questions
        padded = count.tokens + count.padding_tokens
        rows.append(
            [
                rung.what,
                f"{count.tower_passes / each:.3g}",
                f"{count.tokens / each:,.0f}",
                f"{count.written_tokens / each:.0f}",
                percent(count.padding_tokens / padded),
                f"{count.tokens / direct.counted.tokens:.2f}",
                f"{1e3 * rung.seconds / each:.3g}",
                f"{rung.seconds / direct.seconds:.2f}",
                f"{rung.answers / rung.seconds:.3g}",
                percent(machine.share(rung.operations, rung.seconds)),
                "–" if rung.memory is None else f"{rung.memory:.1f}",
                str(rung.differ),
            ]
        )
    heads = (
        "a question", "tower calls", "tokens", "written", "padding %", "tokens, × direct", "ms",
        "time, × direct", "answers/s", "% of peak", "GB",
        "answers changed",
    )  # fmt: skip
    return Grid(title, heads, rows)


def computed_grid(rungs: Sequence[Rung], seconds: float) -> Grid:
    """Operations a question at the published sizes, from the counts of these rungs."""
    costs = {name: [_needed(name, rung, seconds) for rung in rungs] for name in PUBLISHED}
    rows = []
    for place, rung in enumerate(rungs):
        cells = [rung.what]
        for found in costs.values():
            cells += [f"{found[place] / 1e12:.3g}", f"{found[place] / found[0]:.2f}"]
        rows.append(cells)
    heads = ["a question", *(h for name in PUBLISHED for h in (f"{name}, 10^12", "× direct"))]
    note = "2 operations a parameter and position; attention's own products are left out"
    return Grid("computed, not measured: operations at published sizes", heads, rows, notes=[note])


def _needed(name: str, rung: Rung, seconds: float) -> float:
    """Operations of a question at one of the published sizes."""
    count, each = rung.counted, rung.questions
    return parts(name).operations(
        seconds, count.tower_passes / each, count.tokens / each, count.head_positions / each
    )
