"""Greedy decoding from shared prefixes equals the model's own greedy choice, step by step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import tiny_folder, tone

from routerlab.lalm.chat import AUDIO
from routerlab.lalm.decoding import DecodeItem, decode_batch
from routerlab.lalm.model import LALM


@pytest.fixture(scope="module")
def lalm(tmp_path_factory: pytest.TempPathFactory) -> LALM:
    return LALM.load(tiny_folder(Path(tmp_path_factory.mktemp("lalm")), seed=3))


def greedy(lalm: LALM, ids: list[int], features: list[torch.Tensor], steps: int) -> list[int]:
    """The whole sequence again for every new token: no cache, no padding, one row."""
    new: list[int] = []
    while len(new) < steps:
        row = torch.tensor([[*ids, *new]])
        hidden = lalm.forward(lalm.embed(row, features), torch.ones_like(row))
        token = int(lalm.logits(hidden[:, -1]).argmax())
        if token in lalm.stops:
            break
        new.append(token)
    return new


@torch.no_grad()
def test_equal_to_plain_greedy_decoding(lalm: LALM) -> None:
    clips = [tone(1.0), tone(0.4, 300.0)]
    features = lalm.audio_features(clips)
    closing = lalm.chat_format.closing("answer:")
    shown = ("", "\ntool output: tempo: 124 bpm, 5 beats", "\ntool output: pitch: C4")
    items = [
        DecodeItem(
            lalm.chat_format.user([AUDIO, question]).ids([len(heard)]),
            [heard],
            [[*lalm.text_ids(text), *closing] for text in shown],
        )
        for heard, question in zip(features, ("Which note?", "How many events, then?"), strict=True)
    ]
    written = decode_batch(lalm, items, 7)
    for item, rows in zip(items, written, strict=True):
        for suffix, row in zip(item.suffixes, rows, strict=True):
            want = greedy(lalm, [*item.prefix, *suffix], list(item.features), 7)
            assert row == want


@torch.no_grad()
def test_an_answer_ends_at_the_end_token(lalm: LALM) -> None:
    item = DecodeItem(lalm.chat_format.user(["Key?"]).ids(), [], [lalm.chat_format.closing()])
    ((first, *_),) = decode_batch(lalm, [item], 3)[0]
    lalm.stops = frozenset({first})
    assert decode_batch(lalm, [item], 3) == [[[]]]
