"""Scores over a shared prefix equal plain calls of the model, one option at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import tiny_folder, tone

from routerlab.lalm.chat import AUDIO
from routerlab.lalm.model import LALM
from routerlab.lalm.scoring import ScoreItem, _packed, score_batch, score_options
from routerlab.types import Clip


@pytest.fixture(scope="module")
def lalm(tmp_path_factory: pytest.TempPathFactory) -> LALM:
    return LALM.load(tiny_folder(Path(tmp_path_factory.mktemp("lalm"))))


def plain(lalm: LALM, ids: Sequence[int], option: Sequence[int], clip: Clip | None) -> float:
    """The model's own forward, one row, no padding, no cache: sum of log-probabilities."""
    row = torch.tensor([[*ids, *option]])
    extra = {}
    if clip is not None:
        mel, frames = lalm.log_mel([clip])
        extra = {
            "input_features": mel,
            "feature_attention_mask": torch.ones(1, int(frames[0]), dtype=torch.long),
        }
    logits = lalm.model(input_ids=row, attention_mask=torch.ones_like(row), **extra).logits
    chosen = logits[0, len(ids) - 1 : -1].log_softmax(-1)
    return float(chosen[range(len(option)), list(option)].sum())


def item(lalm: LALM, clip: Clip | None, question: str, choices: Sequence[str]) -> ScoreItem:
    features = [] if clip is None else lalm.audio_features([clip])
    pieces = [question] if clip is None else [AUDIO, question]
    prefix = lalm.chat_format.user(pieces, "Listen.").ids([len(f) for f in features])
    closing = lalm.chat_format.closing("answer:")
    shown = ("", "\ntool output: pitch: C4 +3 cents", "\ntool output: tempo: 124 bpm, 5 beats")
    suffixes = [[*lalm.text_ids(text), *closing] for text in shown]
    options = [[*lalm.text_ids(f" {c}"), lalm.special.end] for c in choices]
    return ScoreItem(prefix, features, suffixes, options)


@torch.no_grad()
def test_equal_to_plain_calls_with_uneven_lengths(lalm: LALM) -> None:
    cases = [
        (tone(1.0), "Which note?", ("C4", "Eb4", "a rather long option, with words", "G4")),
        (tone(2.37, 300.0), "How many events are there in this clip?", ("2", "12")),
        (tone(0.02), "Key?", ("Eb minor", "Bb", "1", "2", "3", "4", "5", "C major or so")),
        (None, "No clip at all: louder?", ("yes", "no", "cannot tell")),
    ]
    items = [item(lalm, *case) for case in cases]
    for (clip, _, _), asked, scores in zip(cases, items, score_batch(lalm, items), strict=True):
        assert scores.shape == (3, len(asked.options), 2)
        for k, suffix in enumerate(asked.suffixes):
            for c, option in enumerate(asked.options):
                want = plain(lalm, [*asked.prefix, *suffix], option, clip)
                assert scores[k, c, 0].item() == pytest.approx(want, abs=1e-5 * len(option))
                assert scores[k, c, 1].item() == len(option)


@torch.no_grad()
@pytest.mark.parametrize("most", [1, 60, 10_000])
def test_the_same_however_many_suffixes_share_a_row(lalm: LALM, most: int) -> None:
    asked = item(lalm, tone(1.3), "Which note?", ("C4", "Eb4", "a longer one"))
    lone = score_batch(lalm, [asked], branches=False)[0]
    lengths = [len(s) + sum(len(o) - 1 for o in asked.options) for s in asked.suffixes]
    assert lengths[0] + lengths[1] <= 60 < sum(lengths)
    rows = {1: lengths, 60: [sum(lengths[:2]), lengths[2]], 10_000: [sum(lengths)]}[most]
    other = lalm.lent(None, None)
    other.room = replace(lalm.room, packed=most)
    assert [len(each.row.ids) for each in _packed(0, asked, most, True)] == rows
    torch.testing.assert_close(score_batch(other, [asked, asked])[1], lone, atol=2e-5, rtol=0)


@torch.no_grad()
def test_single_equals_batch(lalm: LALM) -> None:
    one = item(lalm, tone(1.3), "Which note?", ("C4", "Eb4"))
    other = item(lalm, tone(3.0), "How many events are there in this clip?", ("1", "2", "12"))
    alone = score_options(lalm, one.prefix, one.suffixes, one.options, one.features)
    torch.testing.assert_close(alone, score_batch(lalm, [other, one])[1], atol=2e-5, rtol=0)


@torch.no_grad()
def test_counters_are_exact(lalm: LALM) -> None:
    before = (lalm.counted.tower_passes, lalm.counted.prefix_tokens, lalm.counted.suffix_tokens)
    asked = item(lalm, tone(1.1), "Which note?", ("C4", "Eb4"))
    score_batch(lalm, [asked, asked])
    inner = sum(len(o) - 1 for o in asked.options)
    suffix = sum(len(s) + inner for s in asked.suffixes)
    after = (lalm.counted.tower_passes, lalm.counted.prefix_tokens, lalm.counted.suffix_tokens)
    assert [b - a for a, b in zip(before, after, strict=True)] == [
        1,
        2 * len(asked.prefix),
        2 * suffix,
    ]


def test_the_head_in_pieces_gives_the_same(lalm: LALM, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = item(lalm, tone(0.7), "Which note?", ("C4", "Eb4", "longer option"))
    with torch.no_grad():
        whole = score_batch(lalm, [asked])[0]
        monkeypatch.setattr("routerlab.lalm.scoring._LOGITS_AT_ONCE", 1500)
        torch.testing.assert_close(score_batch(lalm, [asked])[0], whole, atol=1e-5, rtol=0)


def test_empty_parts_are_refused(lalm: LALM) -> None:
    with pytest.raises(ValueError, match="none of them empty"):
        score_batch(lalm, [ScoreItem([1, 2], [], [[3]], [[]])])
