"""Batches for the LALM's schooling: sequences that branch, and the mask that keeps branches apart.

    prefix with the clip ─┬─ prompt 1, answer 1
                          ├─ prompt 2, answer 2
                          └─ ...

A branch sees the prefix and itself; its positions go on from the prefix. So a row gives the very
losses of that many separate prompts, while the clip and the question are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from routerlab.embedded.encode import Encoded


@dataclass(frozen=True)
class Example:
    """One row before collation; `mel` is [frames, bins] or None without a clip.

    Attributes:
        names: a name each branch, for what is logged about it.
    """

    encoded: Encoded
    mel: NDArray[np.float16] | None = None
    names: tuple[str, ...] = ()
    gold: int = 0


@dataclass(frozen=True)
class Batch:
    """B rows of length L with A clips.

    Attributes:
        ids: long [B, L].
        segment: long [B, L]; 0 the prefix, 1.. the branches, -1 padding.
        position: long [B, L].
        target: long [B, L]; the id that must come next after this place, -100 where none is asked.
        branch: long [B, L]; the branch (from 1) whose target stands here, 0 where none does.
        mels: float16 [A, T, bins]; frames: long [A]; owner: long [A], the row of each clip.
        examples: what the rows were made of, without the log-mels.
    """

    ids: Tensor
    segment: Tensor
    position: Tensor
    target: Tensor
    branch: Tensor
    mels: Tensor
    frames: Tensor
    owner: Tensor
    examples: tuple[Example, ...] = ()

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        """The same batch with its tensors on `device` (Lightning calls this)."""
        moved = {
            f.name: getattr(self, f.name).to(device, non_blocking=non_blocking)
            for f in fields(self)
            if isinstance(getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def pin_memory(self) -> Batch:
        """The same batch in pinned memory (the loader calls this)."""
        moved = {
            f.name: getattr(self, f.name).pin_memory()
            for f in fields(self)
            if isinstance(getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def mask(self) -> Tensor:
        """Bool [B, 1, L, L]: what each place may look at."""
        length = self.ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.ids.device).tril()
        query, key = self.segment[:, :, None], self.segment[:, None, :]
        return (causal & ((key == 0) | (key == query)))[:, None]


def audio_tokens(frames: int) -> int:
    """How many embeddings the audio tower gives for a clip of so many log-mel frames."""
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


def collate(examples: Sequence[Example], audio_id: int, bins: int) -> Batch:
    """Rows padded on the right to the longest."""
    rows = [_row(example, audio_id) for example in examples]
    length = max(row.shape[1] for row in rows)
    stacked = np.stack([_pad(row, length) for row in rows])
    ids, segment, position, target, branch = torch.from_numpy(stacked).unbind(1)
    mels = [(i, e.mel) for i, e in enumerate(examples) if e.mel is not None]
    longest = max((len(mel) for _, mel in mels), default=0)
    padded = np.zeros((len(mels), longest, bins), dtype=np.float16)
    for place, (_, mel) in zip(padded, mels, strict=True):
        place[: len(mel)] = mel
    bare = tuple(replace(example, mel=None) for example in examples)
    frames = torch.tensor([len(mel) for _, mel in mels], dtype=torch.long)
    owner = torch.tensor([i for i, _ in mels], dtype=torch.long)
    return Batch(
        ids, segment, position, target, branch, torch.from_numpy(padded), frames, owner, bare
    )


def _row(example: Example, audio_id: int) -> NDArray[np.int64]:
    """(ids, segment, position, target, branch) x length of one row."""
    encoded = example.encoded
    slots = 0 if example.mel is None else audio_tokens(len(example.mel))
    ids = [*encoded.head, *([audio_id] * slots), *encoded.tail]
    prefix = len(ids)
    segment, position, target = [0] * prefix, list(range(prefix)), [-100] * prefix
    branch = [0] * prefix
    for number, (prompt, answer) in enumerate(encoded.branches, start=1):
        # The last answer id is only predicted, never read.
        given = [*prompt, *answer[:-1]]
        first = len(ids) + len(prompt) - 1
        ids += given
        segment += [number] * len(given)
        position += range(prefix, prefix + len(given))
        target += [-100] * len(given)
        branch += [0] * len(given)
        if not prompt:  # then the prefix's last place gives the answer's first id
            first = prefix - 1
        target[first : first + len(answer)] = answer
        branch[first : first + len(answer)] = [number] * len(answer)
    return np.array([ids, segment, position, target, branch], dtype=np.int64)


def _pad(row: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    blank = np.array([[0], [-1], [0], [-100], [0]]).repeat(length - row.shape[1], axis=1)
    return np.concatenate([row, blank], axis=1)
