"""One rank of two that fill a table together; started by test_filling.py, not a test itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed
from toy_world import Bench, Scripted, make_questions, oracle
from warm import says_to

from routerlab.data.filling import fill, opened, summed
from routerlab.errors import UserError
from routerlab.ranks import Ranks
from routerlab.reasoners.base import ReasonRequest, Reply
from routerlab.types import OutcomeTable

TIMEOUT_S = 60


class Broken(Scripted):
    """A reasoner with a bug."""

    def answer_many(self, requests: Sequence[ReasonRequest]) -> list[list[Reply]]:
        raise ZeroDivisionError("an unlucky clip")


def described(table: OutcomeTable, counters: dict[str, int]) -> dict[str, Any]:
    """What a test compares."""
    texts = [[o.answer and o.answer.text for o in row] for row in rows_of(table)]
    return {"correct": table.correct.tolist(), "texts": texts, "counters": counters}


def rows_of(table: OutcomeTable) -> list[list[Any]]:
    return [[table.outcome(i, k) for k in range(len(table.actions))] for i in range(len(table))]


def filled(home: Path, ranks: Ranks, **parts: Any) -> dict[str, Any]:
    """Fill a table of 20 questions on these ranks, with a replicate of it.

    Args:
        home: of the cache; the clips lie beside it.
    """
    questions = make_questions(home.parent / "clips")
    with opened(oracle(home, **parts), ranks) as world:
        table = fill(world, ranks, questions, world.actions)
        fill(world, ranks, questions, world.actions, replicate=1)
        return described(table, summed(vars(world.counters), ranks))


def said(work: Callable[[], Any]) -> str:
    try:
        return json.dumps(work())
    except UserError as error:
        return str(error)


@contextmanager
def no_tools() -> Any:
    raise UserError("tools: none here")
    yield


def main(home: Path, rank: int) -> None:
    """Every scenario in turn; the last one is a bug on rank 1, which ends both."""
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{home}/meet",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=TIMEOUT_S),
    )
    ranks, second = Ranks(rank, 2), rank == 1
    refusing = Scripted(refuse=4 if second else 0)
    allowed = {"retries": 0, "max_error_rate": 4 / 60}
    strict = {"retries": 0, "max_error_rate": 3 / 60}
    told = {
        "whole": filled(home / "together", ranks),
        "again": filled(home / "together", ranks),
        "masked": filled(home / "masked", ranks, reasoner=refusing, **allowed),
        "later": filled(home / "masked", ranks),
        "refused": said(
            lambda: filled(home / "refused", ranks, reasoner=Scripted(refuse=2), **strict)
        ),
        "other": said(
            lambda: filled(home / "other", ranks, pool=Bench(("pitch", f"tempo{rank}")))
        ),
        "closed": said(lambda: opened(no_tools(), ranks).__enter__() if second else
                       opened(oracle(home / "closed"), ranks).__enter__()),
    }  # fmt: skip
    (home / f"{rank}.json").write_text(json.dumps(told))
    filled(home / "broken", ranks, reasoner=Broken() if second else Scripted())


def rank_of_two(home: Path, rank: int) -> None:
    """`main` in a process of its own, whose log lies beside what it tells."""
    says_to(home / f"{rank}.log")
    main(home, rank)
