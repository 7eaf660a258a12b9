"""Questions with their clips: decoding, collating, and the loader of validation and tests."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from routerlab.audio import SAMPLE_RATE, load_clip
from routerlab.errors import AudioError
from routerlab.types import Clip, OutcomeTable, Question, QuestionBatch


class Clips:
    """Decodes clips, keeping the last ones used up to a number of bytes.

    Args:
        max_seconds: what is longer is cut, and the clip says so.
        keep_mb: how much decoded sound to keep; 0 decodes anew every time.

    Attributes:
        settings: all that is done to a file beyond its bytes; the oracle's cache asks for it.
    """

    def __init__(self, max_seconds: float = 30.0, keep_mb: int = 256) -> None:
        self.keep_bytes = keep_mb * 2**20
        self.settings: dict[str, Any] = {"sample_rate": SAMPLE_RATE, "max_seconds": max_seconds}
        self._kept: OrderedDict[str, Clip] = OrderedDict()
        self._bytes = 0

    def __call__(self, question: Question) -> Clip:
        """The clip of a question."""
        path = question.audio
        if path in self._kept:
            self._kept.move_to_end(path)
            return self._kept[path]
        try:
            clip = load_clip(path, **self.settings)
        except AudioError as error:
            raise AudioError(f"{error} `routerlab data check` lists every such file.") from error
        if clip.samples.nbytes <= self.keep_bytes:
            self._kept[path] = clip
            self._bytes += clip.samples.nbytes
        while self._bytes > self.keep_bytes:
            self._bytes -= self._kept.popitem(last=False)[1].samples.nbytes
        return clip


def collate(
    questions: Sequence[Question],
    rows: Sequence[int],
    clip_of: Callable[[Question], Clip],
    table: OutcomeTable | None = None,
) -> QuestionBatch:
    """A batch of some rows; without a table it does not say what is valid."""
    picked = tuple(questions[row] for row in rows)
    at = np.asarray(rows, dtype=np.int64)
    return QuestionBatch(
        questions=picked,
        clips=tuple(clip_of(q) for q in picked),
        valid=None if table is None else torch.from_numpy(table.valid[at]),
        rows=tuple(int(row) for row in rows),
    )


@dataclass
class EvaluationLoader:
    """Batches in the questions' own order; each rank gets its share of every one.

    The order of training, and where to go on in it, is `routerlab.data.order`'s.

    Attributes:
        batch_size: questions in a batch over all ranks.
    """

    questions: Sequence[Question]
    clip_of: Callable[[Question], Clip]
    table: OutcomeTable | None = None
    batch_size: int = 64
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        """Batches, the same on every rank."""
        return -(-len(self.questions) // self.batch_size)

    def __iter__(self) -> Iterator[QuestionBatch]:
        for start in range(0, len(self.questions), self.batch_size):
            rows = np.arange(start, min(start + self.batch_size, len(self.questions)))
            yield collate(self.questions, self.dealt(rows), self.clip_of, self.table)

    def dealt(self, rows: NDArray[np.int64]) -> list[int]:
        """This rank's rows of a batch, as many as every other rank's.

        A batch that does not divide evenly is filled up from its own start, so that every rank
        takes part in every step; metrics count a question once, by its id.
        """
        share = -(-len(rows) // self.world)
        return [int(row) for row in np.resize(rows, share * self.world)[self.rank :: self.world]]
