"""How likely each option is after each of several suffixes of one shared prefix.

    prefix (once) ─► cache ─► one row: suffix 1 · option 1 · option 2 ... suffix 2 · option 1 ...

A tree-shaped mask lets each option see the prefix, its suffix and itself, and positions go on from
the suffix for each alike. So a question costs two passes, its keys and values are hardly ever
copied, and the numbers are those of plain calls with one option at a time. Suffixes of a row are
hidden from each other and computed on all the same, so a very long row is parted (`Room.packed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from routerlab.lalm.model import LALM
from routerlab.lalm.shared import Row, run_prefixes, run_rows

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
class _Asked:
    """A row and what is to be read from it.

    Attributes:
        reads: where in the row's ids a prediction is read, one for each token of each option.
        targets: the tokens predicted there.
    """

    row: Row
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


def score_batch(
    lalm: LALM, items: Sequence[ScoreItem], *, branches: bool = True, buckets: bool = True
) -> list[Tensor]:
    """`score_options` of several questions, prefixes in one pass: [K+1, C, 2] each.

    Args:
        branches: False gives each option after each suffix a row of its own, both written out.
        buckets: False takes rows as they come.
    """
    most = lalm.room.packed if branches else 0
    asked = [each for i, item in enumerate(items) for each in _packed(i, item, most, branches)]
    prefixes = run_prefixes(lalm, [i.prefix for i in items], [i.features for i in items])
    scores: dict[int, Tensor] = {}
    for done in run_rows(lalm, prefixes, [each.row for each in asked], buckets=buckets):
        chosen = [asked[i] for i in done.index]
        scores |= zip(done.index, _log_probs(lalm, done.hidden, chosen), strict=True)
        del done  # its keys and values, before the next pass makes others
    of_item: list[list[Tensor]] = [[] for _ in items]
    for i, each in enumerate(asked):
        of_item[each.row.owner].append(scores[i])
    return [_summed(torch.cat(s), item) for s, item in zip(of_item, items, strict=True)]


def _packed(owner: int, item: ScoreItem, most: int, branches: bool) -> list[_Asked]:
    """Rows of a question: in each as many suffixes as stay within `most` tokens, or one."""
    if not item.options or not all(item.options) or not item.suffixes or not all(item.suffixes):
        raise ValueError("a question needs suffixes and options, none of them empty")
    if not branches:
        return [_pack(owner, [s], [option]) for s in item.suffixes for option in item.options]
    inner = sum(len(option) - 1 for option in item.options)
    together: list[list[Sequence[int]]] = []
    room = 0
    for suffix in item.suffixes:
        size = len(suffix) + inner
        if not together or size > room:
            together.append([])
            room = most
        together[-1].append(suffix)
        room -= size
    return [_pack(owner, suffixes, item.options) for suffixes in together]


def _pack(
    owner: int, suffixes: Sequence[Sequence[int]], options: Sequence[Sequence[int]]
) -> _Asked:
    """One row: suffixes, each with all options, which go without their last token."""
    ids: list[int] = []
    trunk: list[int] = []
    branch: list[int] = []
    position: list[int] = []
    reads: list[int] = []
    targets: list[int] = []
    for number, suffix in enumerate(suffixes):
        ids += suffix
        branch += [0] * len(suffix)
        position += range(len(suffix))
        end = len(ids) - 1
        for place, option in enumerate(options, start=1):
            first, inner = len(ids), len(option) - 1
            ids += option[:-1]
            branch += [place] * inner
            position += range(len(suffix), len(suffix) + inner)
            reads += [end, *range(first, first + inner)]
            targets += option
        trunk += [number] * (len(ids) - len(trunk))
    return _Asked(Row(owner, ids, trunk, branch, position), reads, targets)


def _log_probs(lalm: LALM, hidden: Tensor, asked: Sequence[_Asked]) -> list[Tensor]:
    """Log-probabilities of each row's targets; the head sees only the positions that are read."""
    length = hidden.shape[1]
    ends = [(n + 1) * length - len(each.row.ids) for n, each in enumerate(asked)]
    reads = [end + i for end, each in zip(ends, asked, strict=True) for i in each.reads]
    # Several options are predicted from the same end of a suffix: the head is applied there once.
    places, at = torch.unique(torch.tensor(reads), return_inverse=True)
    targets = torch.tensor([target for each in asked for target in each.targets])
    states = hidden.flatten(0, 1)[places.to(hidden.device)]
    scores = hidden.new_empty(len(targets), dtype=torch.float32)
    step = max(1, _LOGITS_AT_ONCE // lalm.vocabulary)
    for begin in range(0, len(places), step):
        some = states[begin : begin + step]
        logits = lalm.logits(some)
        here = ((at >= begin) & (at < begin + step)).nonzero().flatten().to(some.device)
        index, target = at.to(some.device)[here] - begin, targets.to(some.device)[here]
        found = lalm.logit_of(some[index], target, logits[index])
        scores = scores.index_copy(0, here, found - logits.logsumexp(dim=-1)[index])
    return list(torch.split(scores, [len(each.targets) for each in asked]))


def _summed(scores: Tensor, item: ScoreItem) -> Tensor:
    """Sum and number of tokens of each option, [K+1, C, 2], of a question's tokens in order."""
    counts = [len(option) for option in item.options]
    parts = torch.split(scores.view(len(item.suffixes), -1), counts, dim=1)
    total = torch.stack([part.sum(1) for part in parts], dim=1)
    return torch.stack([total, total.new_tensor(counts).expand_as(total)], dim=-1)
