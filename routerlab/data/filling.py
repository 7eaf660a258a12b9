"""Filling tables on one rank or on several: each asks about clips of its own, all get the whole.

What is asked of which split is the DataModule's affair; what a cell costs is the oracle's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

from routerlab.oracle.oracle import Oracle, refuse_errors
from routerlab.ranks import Ranks
from routerlab.types import Outcome, OutcomeTable, Question


def share(questions: Sequence[Question], ranks: Ranks) -> list[Question]:
    """One rank's part of the work. Questions about one clip stay together.

    A tool then runs on a clip on one rank only, as it would in one process.
    """
    turn = {path: i for i, path in enumerate(dict.fromkeys(q.audio for q in questions))}
    return [q for q in questions if turn[q.audio] % ranks.world == ranks.rank]


def fill(
    oracle: Oracle,
    ranks: Ranks,
    questions: Sequence[Question],
    actions: Sequence[str],
    replicate: int = 0,
) -> OutcomeTable:
    """The outcome table of some questions, the same on every rank; called on all of them.

    Outcomes travel from rank to rank, failures too, so no cell is asked twice in one run.

    Raises:
        UserError: on every rank, when one failed or too many cells of the whole table did.
    """

    def mine() -> Mapping[tuple[str, str], Outcome]:
        asked = share(questions, ranks)
        return oracle.fill(asked, actions, replicate, of=len(questions)).cells

    known = {place: cell for part in ranks.together(mine) for place, cell in part.items()}
    cells = {(q.id, action): known[q.id, action] for q in questions for action in actions}
    table = OutcomeTable.of(questions, actions, cells)
    refuse_errors([o for o in cells.values() if o.state != "ok"], len(cells), oracle.max_error_rate)
    return table


@contextmanager
def opened(made: AbstractContextManager[Oracle], ranks: Ranks) -> Iterator[Oracle]:
    """An oracle, once every rank has its own and all have the same tools."""
    with ExitStack() as stack:
        entered: list[Oracle] = []

        def enter() -> dict[str, str]:
            entered.append(stack.enter_context(made))
            return dict(entered[0].pool.versions)

        ranks.agreed("tools", enter)
        yield entered[0]


def summed(counters: Mapping[str, int], ranks: Ranks) -> dict[str, int]:
    """What all ranks counted."""
    parts = ranks.together(lambda: dict(counters))
    return {name: sum(part[name] for part in parts) for name in counters}
