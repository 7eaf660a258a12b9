"""The order of questions: every one once an epoch, the same from any place, on any rank."""

from __future__ import annotations

import subprocess
import sys

import pytest

from routerlab.data.order import Order, OrderedLoader, permutation
from routerlab.errors import UserError


def flat(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("questions", [3, 10, 32, 33, 100])
@pytest.mark.parametrize("by_length", [False, True])
def test_every_question_comes_once_an_epoch(questions: int, world: int, by_length: bool) -> None:
    lengths = tuple(float(i % 7) for i in range(questions)) if by_length else ()
    ranks = [Order(questions, 8, 3, lengths, rank, world) for rank in range(world)]
    for epoch in range(2):
        seen = [
            row
            for order in ranks
            for done in range(epoch * len(order), (epoch + 1) * len(order))
            for row in order.at(done)
        ]
        assert sorted(seen) == list(range(questions))


def test_ranks_share_the_batch_of_one_process() -> None:
    one = Order(40, 8, seed=1)
    two = [Order(40, 8, seed=1, rank=rank, world=2) for rank in (0, 1)]
    for done in range(2 * len(one)):
        assert sorted(two[0].at(done) + two[1].at(done)) == sorted(one.at(done))


def test_epochs_and_seeds_differ_and_repeat() -> None:
    assert permutation(50, 0, 0).tolist() == permutation(50, 0, 0).tolist()
    assert permutation(50, 0, 0).tolist() != permutation(50, 0, 1).tolist()
    assert permutation(50, 0, 0).tolist() != permutation(50, 1, 0).tolist()


def test_questions_of_like_length_are_batched_together() -> None:
    lengths = tuple(float(i) for i in range(256))

    def spread(order: Order) -> float:
        return sum(max(b) - min(b) for b in order.epoch(0)) / len(order)

    assert spread(Order(256, 16, lengths=lengths)) < spread(Order(256, 16)) / 3


def test_a_loader_goes_on_after_any_batch() -> None:
    order = Order(20, 6, seed=4)
    whole = [order.at(done) for done in range(3 * len(order))]
    for done in range(2 * len(order)):
        loader = OrderedLoader(order, lambda rows: rows, lambda done=done: done)
        assert list(loader) == whole[done : done + len(order)]


def test_too_few_questions_for_the_processes_is_the_user_s_mistake() -> None:
    with pytest.raises(UserError, match="at least that many"):
        Order(questions=3, batch_size=8, world=4)


def test_importing_the_order_leaves_torch_out() -> None:
    code = "import sys, routerlab.data.order; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
