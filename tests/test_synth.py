"""SynthAQA: the same bytes twice, nothing shared, options told apart."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from routerlab.data.synth import FAMILIES, OOD_FAMILIES, draw, make
from routerlab.errors import UserError

SIZES = {"train": 60, "val": 10, "test": 80, "ood": 20}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthaqa")
    make(root, **SIZES, seed=3, workers=1)
    return root


def _digest(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _rows(root: Path, split: str) -> list[dict]:
    return json.loads((root / f"{split}.json").read_text())


def test_same_seed_gives_the_same_bytes_on_any_number_of_processes(folder, tmp_path):
    make(tmp_path, **SIZES, seed=3, workers=2)
    assert _digest(tmp_path) == _digest(folder)


def test_another_seed_gives_other_clips(folder, tmp_path):
    make(tmp_path, train=4, val=0, test=0, ood=0, seed=4, workers=1)
    ours, theirs = _digest(folder), _digest(tmp_path)
    assert ours["audio/train-00000.wav"] != theirs["audio/train-00000.wav"]


def test_splits_have_the_sizes_asked_and_share_no_clip(folder):
    hashes = defaultdict(set)
    for split, size in zip(("train", "val", "test", "test_ood"), SIZES.values(), strict=True):
        rows = _rows(folder, split)
        assert len(rows) == size
        assert len({r["id"] for r in rows}) == size
        for row in rows:
            path = folder / row["audio_id"]
            hashes[hashlib.sha256(path.read_bytes()).hexdigest()].add(split)
    assert all(len(splits) == 1 for splits in hashes.values())


def test_clips_are_16_khz_mono_of_two_to_four_seconds(folder):
    for row in _rows(folder, "train"):
        info = soundfile.info(folder / row["audio_id"])
        assert (info.samplerate, info.channels) == (16_000, 1)
        assert 1.95 <= info.duration <= 4.0


def test_gold_is_a_choice_and_truth_stays_apart(folder):
    truth = json.loads((folder / "test-truth.json").read_text())
    for row in _rows(folder, "test"):
        assert row["answer"] in row["choices"]
        assert not {"fits", "condition", "cell"} & set(row)
        assert truth[row["id"]]["cell"].startswith(row["category"])


def test_traps_come_in_pairs_on_the_same_clip(folder):
    rows = _rows(folder, "test")
    pairs = defaultdict(dict)
    for row in rows:
        if row["sub-category"].startswith("keyword"):
            pairs[row["pair"]][row["sub-category"]] = row
    assert len(pairs) == 20
    for pair in pairs.values():
        bait, twin = pair["keyword_trap"], pair["keyword_twin"]
        assert bait["audio_id"] == twin["audio_id"]
        assert bait["choices"] == twin["choices"]
        assert bait["question"].lower().endswith(twin["question"].lower())
    assert all(r["sub-category"] != "keyword_trap" for r in _rows(folder, "train"))


def test_one_wording_covers_clips_inside_and_outside_a_tools_reach():
    reach = defaultdict(set)
    for family in FAMILIES:
        for seed in range(40):
            item = draw(np.random.default_rng(seed), family, "train")
            reach[family].add(item.fits)
    flips = [f for f, fits in reach.items() if len(fits) > 1]
    assert len(flips) >= len(FAMILIES) / 2


def test_shifted_wordings_families_and_timbres_are_new():
    train = {
        draw(np.random.default_rng(s), f, "train").question for f in FAMILIES for s in range(9)
    }
    shifted = {
        draw(np.random.default_rng(s), f, "ood").question
        for f in (*FAMILIES, *OOD_FAMILIES)
        for s in range(9)
    }
    assert not train & shifted


def test_bad_sizes_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="0 or more"):
        make(tmp_path, train=-1)
