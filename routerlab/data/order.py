"""The order in which questions are trained on: a function of seed and epoch, of nothing else.

A run can stop after any batch and go on with the next one, because the place follows from the
number of batches done; nothing about a loader's insides is saved. A batch is the batch of the
whole job: every rank takes its share of it, no question twice. Torch-free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from routerlab.errors import UserError

Batch = TypeVar("Batch")

WINDOW = 8
"""Batches among which questions of like length are put together, so that little is padding."""


def permutation(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The numbers 0 to count − 1 in the order of one epoch."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def shard(rows: Sequence[int], rank: int, world: int) -> list[int]:
    """One rank's share, strided: shares differ by at most one row and hold none twice.

    >>> [shard(range(5), rank, 2) for rank in (0, 1)]
    [[0, 2, 4], [1, 3]]
    """
    return list(rows[rank::world])


@dataclass(frozen=True)
class Order:
    """Batches of questions, epoch after epoch.

    Attributes:
        questions: how many there are.
        batch_size: questions in a batch of the whole job, over all ranks.
        seed: of the permutations.
        lengths: one a question (tokens, seconds: only the order counts), or empty; batches are then
            cut from windows sorted by length, and shuffled.
        rank, world: whose share `at` gives. The batches themselves are the same for every world
            size, except that a last batch with fewer rows than ranks joins the one before.
    """

    questions: int
    batch_size: int
    seed: int = 0
    lengths: tuple[float, ...] = ()
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < self.world or self.questions < self.world:
            raise UserError(
                f"data: {self.questions} questions in batches of {self.batch_size} for {self.world}"
                " processes. Each process needs a question of every batch: give at least that many."
            )
        if self.lengths and len(self.lengths) != self.questions:
            raise ValueError(f"{len(self.lengths)} lengths for {self.questions} questions")

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(self.questions, self.batch_size)
        return whole + (rest >= self.world or whole == 0)

    @property
    def drawn_as(self) -> str:
        """In words, what decides which questions come after so many batches."""
        return f"{self.questions} questions in batches of {self.batch_size} (data.seed {self.seed})"

    def rows_of(self, batches_done: int) -> int:
        """Rows, over all ranks, of the batch that comes after so many batches."""
        last = len(self) - 1
        at_end = batches_done % len(self) == last
        return self.questions - last * self.batch_size if at_end else self.batch_size

    def epoch(self, epoch: int) -> list[list[int]]:
        """All batches of one epoch, each over all ranks."""
        rows = permutation(self.questions, self.seed, epoch)
        if self.lengths:
            rows = self._alike_together(rows)
        cuts = [index * self.batch_size for index in range(1, len(self))]
        batches = [part.tolist() for part in np.split(rows, cuts)]
        if self.lengths:
            # The last batch may be of another size: it stays last, so that the place is fixed.
            turn = permutation(len(batches) - 1, self.seed + 1, epoch)
            batches = [batches[i] for i in turn] + batches[-1:]
        return batches

    def at(self, batches_done: int) -> list[int]:
        """This rank's rows of the batch that comes after so many batches."""
        epoch, index = divmod(batches_done, len(self))
        return shard(self.epoch(epoch)[index], self.rank, self.world)

    def _alike_together(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        lengths = np.asarray(self.lengths)
        width = WINDOW * self.batch_size
        windows = (rows[start : start + width] for start in range(0, len(rows), width))
        return np.concatenate([w[np.argsort(lengths[w], kind="stable")] for w in windows])


class OrderedLoader(Generic[Batch]):
    """What a Trainer iterates over: an epoch of batches from wherever the run stands.

    Not a DataLoader, so that Lightning puts no sampler of its own in. `state_dict` is there to say
    that resuming in the middle of an epoch is safe; the place itself is `batches_done`.
    """

    def __init__(
        self,
        order: Order,
        make: Callable[[list[int]], Batch],
        batches_done: Callable[[], int],
    ) -> None:
        self.order = order
        self.make = make
        self.batches_done = batches_done

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        start = self.batches_done()
        for done in range(start, start + len(self.order)):
            yield self.make(self.order.at(done))

    def state_dict(self) -> dict[str, Any]:
        """Nothing: see the class."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: see the class."""
