"""Greedy continuation of several suffixes of shared prefixes. No sampling, no beams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from routerlab.lalm.model import LALM
from routerlab.lalm.shared import Pass, Row, run_prefixes, run_rows


@dataclass(frozen=True)
class DecodeItem:
    """One question: a prefix of ids (audio slots included) and the suffixes to continue."""

    prefix: Sequence[int]
    features: Sequence[Tensor]
    suffixes: Sequence[Sequence[int]]


def decode_batch(
    lalm: LALM, items: Sequence[DecodeItem], max_new_tokens: int, *, buckets: bool = True
) -> list[list[list[int]]]:
    """New tokens for each item and suffix, without the end token; at most `max_new_tokens`.

    Args:
        buckets: False takes rows as they come.
    """
    rows = [
        Row(i, suffix, [0] * len(suffix), [0] * len(suffix), range(len(suffix)))
        for i, item in enumerate(items)
        for suffix in item.suffixes
    ]
    prefixes = run_prefixes(lalm, [i.prefix for i in items], [i.features for i in items])
    found: dict[int, list[int]] = {}
    with torch.no_grad():
        for done in run_rows(lalm, prefixes, rows, steps=max_new_tokens, buckets=buckets):
            found |= zip(done.index, _continue(lalm, done, max_new_tokens), strict=True)
            del done  # its keys and values, before the next pass makes others
    ordered = iter(found[i] for i in range(len(rows)))
    return [[next(ordered) for _ in item.suffixes] for item in items]


def _continue(lalm: LALM, done: Pass, max_new_tokens: int) -> list[list[int]]:
    stops = torch.tensor(sorted(lalm.stops), device=lalm.device)
    visible, position = done.visible, done.next_position
    token = lalm.logits(done.hidden[:, -1]).argmax(-1)
    tokens = [token]
    ended = torch.isin(token, stops)
    while len(tokens) < max_new_tokens and not bool(ended.all()):
        visible = torch.cat([visible, torch.ones_like(visible[:, :1])], dim=1)
        hidden = lalm.forward(
            lalm.embed(token[:, None], ()), visible[:, None, None], position[:, None], done.cache
        )
        lalm.counted.written_tokens += len(token)
        token, position = lalm.logits(hidden[:, -1]).argmax(-1), position + 1
        tokens.append(token)
        ended |= torch.isin(token, stops)
    return [_until(row, lalm.stops) for row in torch.stack(tokens, dim=1).tolist()]


def _until(row: list[int], stops: frozenset[int]) -> list[int]:
    end = next((i for i, token in enumerate(row) if token in stops), len(row))
    return row[:end]
