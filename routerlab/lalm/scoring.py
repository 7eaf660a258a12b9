"""How likely each option is after each of several suffixes of one shared prefix.

    prefix (once) ─► cache ─► a row for each suffix: suffix · option 1 · option 2 ...

The options lie one after the other in their suffix's row; a tree-shaped mask lets each see the
prefix, its suffix and itself, and positions go on from the suffix for each alike. So a question
costs two passes, and the numbers are those of plain calls with one option at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from routerlab.lalm.model import LALM, expand_cache

# Logits held at once, in elements: 256 MiB in float32. Matters for large vocabularies only.
_LOGITS_AT_ONCE = 64 * 2**20


@dataclass(frozen=True)
class ScoreItem:
    """One question: a prefix of ids (audio slots included) and what may follow it.

    Attributes:
        prefix: ids; as many audio slots as `features` has rows.
        features: of the clips in the prefix; empty for a prefix without sound.
        suffixes: one or more lists of ids, none empty.
        options: one or more lists of ids, none empty; scored after every suffix.
    """

    prefix: Sequence[int]
    features: Sequence[Tensor]
    suffixes: Sequence[Sequence[int]]
    options: Sequence[Sequence[int]]


@dataclass(frozen=True)
class _Row:
    """One suffix with all options packed behind it.

    Attributes:
        owner: index of the item.
        ids: suffix, then each option without its last token (which predicts nothing).
        segment: 0 for the suffix, c + 1 for option c.
        position: from the end of the prefix on.
        reads: where in `ids` a prediction is read, one for each token of each option.
        targets: the tokens predicted there.
    """

    owner: int
    ids: list[int]
    segment: list[int]
    position: list[int]
    reads: list[int]
    targets: list[int]


def score_options(
    lalm: LALM,
    prefix: Sequence[int],
    suffixes: Sequence[Sequence[int]],
    options: Sequence[Sequence[int]],
    features: Sequence[Tensor] = (),
) -> Tensor:
    """Sum of log-probabilities and number of tokens of each option: float32 [K+1, C, 2]."""
    return score_batch(lalm, [ScoreItem(prefix, features, suffixes, options)])[0]


def score_batch(lalm: LALM, items: Sequence[ScoreItem]) -> list[Tensor]:
    """`score_options` of several questions in two passes; [K+1, C, 2] each, on the CPU or not."""
    rows = [row for i, item in enumerate(items) for row in _rows(i, item)]
    ids, mask = lalm.pad_left([item.prefix for item in items])
    cache = lalm.new_cache()
    lalm.forward(lalm.embed(ids, [f for item in items for f in item.features]), mask, cache=cache)
    hidden = _branches(lalm, rows, mask, expand_cache(cache, [row.owner for row in rows]))
    lalm.prefix_tokens += sum(len(item.prefix) for item in items)
    lalm.suffix_tokens += sum(len(row.ids) for row in rows)
    return _gather(_log_probs(lalm, hidden, rows), items)


def _rows(owner: int, item: ScoreItem) -> list[_Row]:
    if not item.options or not all(item.options) or not item.suffixes or not all(item.suffixes):
        raise ValueError("a question needs suffixes and options, none of them empty")
    return [_row(owner, suffix, item.options) for suffix in item.suffixes]


def _row(owner: int, suffix: Sequence[int], options: Sequence[Sequence[int]]) -> _Row:
    start = len(suffix)
    ids, segment, position = list(suffix), [0] * start, list(range(start))
    reads: list[int] = []
    targets: list[int] = []
    for number, option in enumerate(options, start=1):
        first, inner = len(ids), len(option) - 1
        ids += option[:-1]
        segment += [number] * inner
        position += range(start, start + inner)
        reads += [start - 1, *range(first, first + inner)]
        targets += option
    return _Row(owner, ids, segment, position, reads, targets)


def _branches(lalm: LALM, rows: Sequence[_Row], prefix_mask: Tensor, cache: object) -> Tensor:
    """Hidden states [R, L, D] of all rows, padded on the left."""
    ids, _ = lalm.pad_left([row.ids for row in rows])
    longest, owners = ids.shape[1], torch.tensor([row.owner for row in rows])
    lengths = prefix_mask.sum(1)
    segment = _left([row.segment for row in rows], longest, -1, lalm.device)
    position = _left([row.position for row in rows], longest, 0, lalm.device)
    mask = _tree(segment, prefix_mask[owners].bool())
    embeds = lalm.embed(ids, ())
    return lalm.forward(embeds, mask, position + lengths[owners][:, None], cache)  # type: ignore[arg-type]


def _left(rows: Sequence[Sequence[int]], longest: int, fill: int, device: torch.device) -> Tensor:
    return torch.tensor([[fill] * (longest - len(r)) + list(r) for r in rows], device=device)


def _tree(segment: Tensor, prefix: Tensor) -> Tensor:
    """Who may look where: bool [R, 1, L, P + L].

    A token sees the prefix, earlier tokens of its own segment and of the suffix (segment 0).
    Padding (segment -1) sees itself and the prefix, so that no softmax is empty.
    """
    length = segment.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=segment.device).tril()
    same = segment[:, :, None] == segment[:, None, :]
    own = (same | (segment == 0)[:, None, :]) & earlier
    before = prefix[:, None, :].expand(-1, length, -1)
    return torch.cat([before, own], dim=2)[:, None]


def _log_probs(lalm: LALM, hidden: Tensor, rows: Sequence[_Row]) -> list[Tensor]:
    """Log-probabilities of each row's targets; the head sees only the positions that are read."""
    length = hidden.shape[1]
    where = [n * length + length - len(r.ids) + i for n, r in enumerate(rows) for i in r.reads]
    # Several options are predicted from the same end of a suffix: the head is applied there once.
    places, back = torch.tensor(where).unique(return_inverse=True)
    states = hidden.flatten(0, 1)[places.to(hidden.device)]
    targets = torch.tensor([t for row in rows for t in row.targets])
    order = torch.argsort(back, stable=True)
    vocabulary = lalm.base.get_input_embeddings().weight.shape[0]
    step = max(1, _LOGITS_AT_ONCE // vocabulary)
    found = [
        _chunk(lalm, states, back[order], targets[order], begin, begin + step)
        for begin in range(0, len(places), step)
    ]
    scores = torch.cat(found)[torch.argsort(order).to(hidden.device)]
    return list(scores.split([len(row.targets) for row in rows]))


def _chunk(
    lalm: LALM, states: Tensor, place: Tensor, target: Tensor, begin: int, end: int
) -> Tensor:
    """Log-probabilities of the targets read from states `begin` to `end`; `place` is sorted."""
    logits = lalm.logits(states[begin:end])
    here = slice(*torch.searchsorted(place, torch.tensor([begin, end])).tolist())
    at, token = (place[here] - begin).to(logits.device), target[here].to(logits.device)
    return logits[at, token] - logits.logsumexp(dim=-1)[at]


def _gather(scores: Sequence[Tensor], items: Sequence[ScoreItem]) -> list[Tensor]:
    out, rest = [], iter(scores)
    for item in items:
        counts = [len(option) for option in item.options]
        sums = [torch.stack([s.sum() for s in next(rest).split(counts)]) for _ in item.suffixes]
        total = torch.stack(sums)
        out.append(torch.stack([total, total.new_tensor(counts).expand_as(total)], dim=-1))
    return out
