"""SpeechAQA: what ships, what is drawn from it, and that no split shares a clip."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from routerlab.bench.speech import measured
from routerlab.data.speech.clips import spoken
from routerlab.data.speech.families import MAKERS, WORDINGS
from routerlab.data.speech.make import draw, make
from routerlab.data.speech.words import GROUPS, PHRASES
from routerlab.data.synth.make import SPLITS
from routerlab.tools.registry import load_tool


def test_words_and_phrases_are_as_said() -> None:
    words = [word for group in GROUPS for word in group]
    assert len(set(words)) == len(words) == 104
    assert {len(phrase.split()) for phrase in PHRASES} == {2, 3, 4, 5, 6}
    assert len(set(PHRASES)) == 60


def test_shipped_clips_keep_their_words_times() -> None:
    clips = [clip for split in SPLITS for clip in spoken(split)]
    assert len({clip.name for clip in clips}) == len(clips) == 298
    for clip in clips:
        seconds = len(clip.sound) / 16_000
        assert [word for word, _, _ in clip.words] == clip.text.split()
        times = [t for _, start, end in clip.words for t in (start, end)]
        assert times == sorted(times)
        assert times[-1] == pytest.approx(seconds, abs=0.01)


def test_shifted_voices_are_heard_nowhere_else() -> None:
    known = {clip.voice for split in SPLITS[:3] for clip in spoken(split)}
    assert not known & {clip.voice for clip in spoken("test_ood")}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("family", MAKERS)
def test_every_family_can_be_drawn_from_every_split(family: str, split: str) -> None:
    rng = np.random.default_rng(0)
    answers = set()
    for _ in range(12):
        draft = MAKERS[family](rng, spoken(split))
        assert draft.answer in draft.choices
        assert len(set(draft.choices)) == len(draft.choices)
        assert 0.5 < len(draft.sound) / 16_000 <= 3.0
        assert np.isfinite(draft.sound).all()
        answers.add(draft.answer)
    assert len(answers) > 1


@pytest.mark.parametrize("family", MAKERS)
def test_the_lalm_is_schooled_on_clips_of_train_with_all_wordings(family: str) -> None:
    rng, known = np.random.default_rng(0), {clip.name for clip in spoken("train")}
    items = [draw(rng, "lalm", family) for _ in range(30)]
    assert {name for item in items for name in item.truth["clips"]} <= known
    assert {item.question for item in items} == set(WORDINGS[family])


def test_a_pause_is_where_the_answer_says() -> None:
    """Over a quiet ground the longest silence between sounds lies after the named word."""
    rng, seen = np.random.default_rng(3), 0
    while seen < 8:
        draft = MAKERS["pause"](rng, spoken("test"))
        if draft.condition != "clean":
            continue
        seen += 1
        (clip,) = [c for c in spoken("test") if c.name in draft.truth["clips"]]
        after = int(draft.truth["after"])
        assert draft.answer == f"after the {('first', 'second', 'third', 'fourth')[after - 1]} word"
        loud = np.flatnonzero(np.abs(draft.sound) > 1e-3)
        gaps = np.diff(loud)
        before = (loud[gaps.argmax()] - loud[0]) / 16_000
        assert gaps.max() / 16_000 > 0.4
        assert before == pytest.approx(clip.words[after][1], abs=0.12)


def test_wordings_of_the_shifted_split_are_its_own() -> None:
    rng = np.random.default_rng(1)
    kept = {texts[-1] for texts in WORDINGS.values()}
    assert {draw(rng, "test_ood").question for _ in range(40)} <= kept
    assert not {draw(rng, "train").question for _ in range(40)} & kept


def test_files_are_the_same_again_and_hold_no_truth(tmp_path: Path) -> None:
    sizes = {"train": 5, "val": 2, "test": 4, "ood": 3}
    one = make(tmp_path / "one", **sizes, seed=4, workers=1)
    two = make(tmp_path / "two", **sizes, seed=4, workers=1)
    for split in SPLITS:
        assert one[split].read_bytes() == two[split].read_bytes()
        for row in json.loads(one[split].read_text()):
            sound = one[split].parent / row["audio_id"]
            assert sound.read_bytes() == (two[split].parent / row["audio_id"]).read_bytes()
            assert soundfile.info(sound).samplerate == 16_000
            assert not {"voices", "clips", "cell", "fits"} & set(row)
            assert row["task"] == "speech"


def test_pitch_is_measured_on_voices_by_the_ground_under_them() -> None:
    ((tool, family, *grounds, everything),) = measured(load_tool("pitch"), clips=24)
    assert (tool, family) == ("pitch", "first_voice")
    counts = [re.fullmatch(r"(\d+) \((\d+)\)|–", cell) for cell in (*grounds, everything)]
    numbers = [int(match[2]) if match and match[2] else 0 for match in counts]
    assert sum(numbers[:-1]) == numbers[-1] == 24
    assert counts[-1] is not None
    assert int(counts[-1][1]) > 60  # a coin would be right in 50 percent
