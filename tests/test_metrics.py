"""Routing metrics: equal to one process whatever the number of questions and ranks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from routerlab.metrics import RoutingMetrics, routing_figures
from routerlab.types import OutcomeTable, Question

ACTIONS = ("direct", "pitch", "tempo")


def table(n: int, seed: int = 0) -> OutcomeTable:
    rng = np.random.default_rng(seed)
    questions = tuple(
        Question(f"q{i}", "", "?", ("a", "b"), "a", category=("note", "beat")[i % 2])
        for i in range(n)
    )
    valid = rng.random((n, 3)) > 0.1
    return OutcomeTable(questions, ACTIONS, (rng.random((n, 3)) > 0.5) & valid, valid)


def choices(n: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 3, n))


def padded_share(n: int, rank: int, world: int) -> list[int]:
    """Rows of a rank as DistributedSampler gives them: padded with rows of the start."""
    length = -(-n // world)
    return [row % n for row in range(rank, length * world, world)]


def test_worked_example() -> None:
    correct = np.array([[0, 1, 0], [1, 0, 1], [1, 1, 1], [0, 0, 0], [1, 0, 1]], dtype=bool)
    valid = np.ones_like(correct)
    valid[4, 1] = False
    questions = table(5).questions
    figures = routing_figures(
        OutcomeTable(questions, ACTIONS, correct & valid, valid), np.array([1, 1, 2, 0, 1])
    )
    expected = {
        "accuracy": 3 / 5,
        "direct": 3 / 5,
        "oracle": 4 / 5,
        "headroom_closed": 0.0,
        "regret": 1 / 5,
        "call_rate": 4 / 5,
        "fix_rate": 1 / 5,
        "break_rate": 1 / 5,
        "redundant_rate": 1 / 5,
        "fallback_rate": 1 / 5,
        "use/direct": 1 / 5,
        "use/pitch": 3 / 5,
        "use/tempo": 1 / 5,
        "accuracy/beat": 0.0,
        "accuracy/note": 1.0,
    }
    assert figures == pytest.approx(expected)


def test_a_repeated_row_counts_once_and_reset_forgets() -> None:
    whole, chosen = table(7), choices(7)
    metric = RoutingMetrics(whole)
    metric.update([0, 1, 2, 3, 0, 1], chosen[[0, 1, 2, 3, 0, 1]])
    some = routing_figures(whole.select(range(4)), chosen[:4].numpy())
    assert {k: v.item() for k, v in metric.compute().items()} == pytest.approx(some, nan_ok=True)
    metric.reset()
    metric.update([], chosen[:0])
    assert metric.compute() == {}


def test_the_table_is_no_part_of_a_checkpoint() -> None:
    assert RoutingMetrics(table(3)).state_dict() == {}


def rank_main(rank: int, world: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world
    )
    for n in (1, 5, 7, 1000):
        whole, chosen = table(n), choices(n)
        alone = routing_figures(whole, chosen.numpy())
        for rows in (padded_share(n, rank, world), list(range(rank, n, world))):
            metric = RoutingMetrics(whole)
            for start in range(0, max(len(rows), 1), 64):  # an empty rank gets an empty batch
                batch = rows[start : start + 64]
                metric.update(batch, chosen[batch])
            together = {name: value.item() for name, value in metric.compute().items()}
            assert together == pytest.approx(alone, nan_ok=True), (n, rank)
    dist.destroy_process_group()


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_any_number_of_ranks_gives_the_figures_of_one(world: int, tmp_path: Path) -> None:
    mp.start_processes(rank_main, args=(world, str(tmp_path)), nprocs=world, start_method="fork")
