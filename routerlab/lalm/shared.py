"""Prefixes run once, and rows that go on from them in groups of like length.

Scoring and greedy decoding both stand on this; neither options nor sampling are known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from routerlab.lalm.model import LALM, expand_cache

if TYPE_CHECKING:
    from transformers import DynamicCache

# Padding up to this share of its real tokens ends no group of rows.
_MOST_PADDING = 0.15


@dataclass(frozen=True)
class Prefixes:
    """Keys and values of Q prefixes, padded on the left.

    Attributes:
        mask: int64 [Q, P], 1 where real.
    """

    cache: DynamicCache
    mask: Tensor


@dataclass(frozen=True)
class Row:
    """Tokens that go on from one prefix.

    Attributes:
        owner: index of the prefix.
        ids: tokens, not empty.
        trunk: for each token, which of the row's trunks (0, 1 ...) it belongs to; trunks do not
            see each other.
        branch: for each token 0, or the number (1, 2 ...) of the branch of its trunk; branches do
            not see each other.
        position: for each token, counted from the end of the prefix.
    """

    owner: int
    ids: Sequence[int]
    trunk: Sequence[int]
    branch: Sequence[int]
    position: Sequence[int]


@dataclass(frozen=True)
class Pass:
    """What came out of one pass over some rows, padded on the left.

    Attributes:
        index: which rows, as indices into what was given.
        hidden: [R, L, D].
        visible: bool [R, P + L]: what a token appended to each row may look at.
        cache: prefix and rows.
        next_position: int64 [R], of a token appended to each row.
    """

    index: list[int]
    hidden: Tensor
    visible: Tensor
    cache: DynamicCache
    next_position: Tensor


def run_prefixes(
    lalm: LALM, prefixes: Sequence[Sequence[int]], features: Sequence[Sequence[Tensor]]
) -> Prefixes:
    """One pass over all prefixes; `features[i]` are of the clips in prefix i."""
    ids, mask = lalm.pad_left(prefixes)
    cache = lalm.new_cache()
    lalm.forward(lalm.embed(ids, [f for each in features for f in each]), mask, cache=cache)
    real = sum(len(prefix) for prefix in prefixes)
    lalm.counted.prefix_tokens += real
    lalm.counted.padding_tokens += ids.numel() - real
    return Prefixes(cache, mask)


def run_rows(
    lalm: LALM, prefixes: Prefixes, rows: Sequence[Row], *, steps: int = 1, buckets: bool = True
) -> Iterator[Pass]:
    """Passes over all rows, each row in one of them, rows of like length together.

    Args:
        steps: how often the model runs for each of these passes, those that follow included.
        buckets: False takes the rows as they come.
    """
    most = max(1, lalm.room.positions // prefixes.mask.shape[1])
    lengths = [len(row.ids) for row in rows]
    if buckets:
        found = groups(lengths, lalm.room.rows, most, steps * lalm.room.spare)
    else:
        size = max(1, min(most, lalm.room.rows // max(lengths)))
        found = (list(range(len(rows))[i : i + size]) for i in range(0, len(rows), size))
    for index in found:
        yield _run(lalm, prefixes, [rows[i] for i in index], index)


def groups(lengths: Sequence[int], limit: int, most: int, spare: int = 0) -> Iterator[list[int]]:
    """Indices by length in groups of at most `limit` padded tokens and `most` rows.

    A group also ends where padding would grow beyond `spare` tokens and a share of what is real.
    A row that is longer than the limit is a group of its own.

    >>> list(groups([9, 30, 10, 31, 10], 62, 8))
    [[0, 2, 4], [1, 3]]
    >>> list(groups([9, 30, 10, 31, 10], 160, 8, spare=66))
    [[0, 2, 4, 1, 3]]
    >>> list(groups([10, 10, 10], 20, 8)), list(groups([10, 10, 10], 99, 1))
    ([[0, 1], [2]], [[0], [1], [2]])
    """
    group: list[int] = []
    real = 0
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        padded = (len(group) + 1) * lengths[i]
        wasted = padded - real - lengths[i]
        full = len(group) == most or padded > limit
        if group and (full or wasted > max(spare, _MOST_PADDING * (real + lengths[i]))):
            yield group
            group, real = [], 0
        group.append(i)
        real += lengths[i]
    if group:
        yield group


def _run(lalm: LALM, prefixes: Prefixes, rows: Sequence[Row], index: list[int]) -> Pass:
    ids, real = lalm.pad_left([row.ids for row in rows])
    longest, device = ids.shape[1], lalm.device
    trunk = _left([row.trunk for row in rows], longest, -1, device)
    branch = _left([row.branch for row in rows], longest, 0, device)
    position = _left([row.position for row in rows], longest, 0, device)
    owners = [row.owner for row in rows]
    before = prefixes.mask[torch.tensor(owners, device=device)]
    start = before.sum(1)[:, None]
    cache = expand_cache(prefixes.cache, owners)
    mask = _tree(trunk, branch, before.bool())
    hidden = lalm.forward(lalm.embed(ids, ()), mask, position + start, cache)
    count = sum(len(row.ids) for row in rows)
    lalm.counted.suffix_tokens += count
    lalm.counted.padding_tokens += ids.numel() - count
    visible = torch.cat([before, real], dim=1).bool()
    return Pass(index, hidden, visible, cache, (position + start).max(1).values + 1)


def _left(rows: Sequence[Sequence[int]], longest: int, fill: int, device: torch.device) -> Tensor:
    padded = [[fill] * (longest - len(row)) + list(row) for row in rows]
    return torch.tensor(padded, device=device)


def _tree(trunk: Tensor, branch: Tensor, prefix: Tensor) -> Tensor:
    """Who may look where: bool [R, 1, L, P + L].

    A token sees the prefix, and earlier tokens of its trunk that are the trunk's own or of its own
    branch. Padding (trunk -1) sees itself and the prefix, so that no softmax is empty.
    """
    length = trunk.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=trunk.device).tril()
    same = trunk[:, :, None] == trunk[:, None, :]
    along = (branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :])
    before = prefix[:, None, :].expand(-1, length, -1)
    return torch.cat([before, same & along & earlier], dim=2)[:, None]
