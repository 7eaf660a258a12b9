"""Gathering questions of several sets: ids, sounds that are not shared, tests that are left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from routerlab.cli import main
from routerlab.data.gathering import split_by_sound
from routerlab.data.overlap import overlap_problems
from routerlab.data.readers import read_questions
from routerlab.types import Question


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(0, 30), st.integers(0, 3))
def test_no_sound_is_on_both_sides(sounds: list[int], val: int, seed: int) -> None:
    asked = [Question(str(i), f"{s}.wav", "?", ("a", "b"), "a") for i, s in enumerate(sounds)]
    train, held = split_by_sound(asked, val, seed)
    assert not {q.audio for q in train} & {q.audio for q in held}
    assert sorted([*train, *held], key=lambda q: int(q.id)) == asked
    assert len(held) <= val
    if val >= len(asked):
        assert not train
    assert split_by_sound(asked, val, seed) == (train, held)


def avqa(number: int, sound: str, text: str) -> dict[str, Any]:
    return {
        "id": number,
        "audio_path": sound,
        "question_text": text,
        "multi_choice": ["a dog", "a cat"],
        "answer": number % 2,
        "question_type": "Happening",
    }


def audiomcq(number: int, sound: str, text: str) -> dict[str, Any]:
    return {
        "source_dataset": "Clotho",
        "id": str(number),
        "question_type": "sound",
        "audio_path": sound,
        "question": text,
        "choices": ["rain", "wind"],
        "answer": "wind",
        "gemini_cot": "it blows",
    }


def sound(path: str, level: int) -> None:
    soundfile.write(path, np.full(80, level, np.int16), 16_000)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sets, of which the second holds a test's sound under another name, and its question."""
    monkeypatch.chdir(tmp_path)
    for folder in ("one", "two", "set"):
        Path(folder).mkdir()
    for i in range(6):
        sound(f"one/{i}.wav", 10 + i)
        sound(f"two/{i}.wav", 20 + i)
    sound("set/test.wav", 25)
    sound("set/other.wav", 30)
    write("one/avqa.jsonl", [avqa(i, f"{i}.wav", f"Who is it, {i}?") for i in range(6)])
    write("two/data.jsonl", [audiomcq(i, f"{i}.wav", f"What blows, {i}?") for i in range(6)])
    tests = [("test.wav", "What blows, first?"), ("other.wav", "What blows, 4?")]
    rows = [audiomcq(i, sound, text) for i, (sound, text) in enumerate(tests)]
    write("set/test.jsonl", rows)
    return tmp_path


def write(path: str, rows: list[dict[str, Any]]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_sets_become_splits_of_one_folder(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "gather", "set", "one/avqa.jsonl", "two/data.jsonl", "--val", "3"]
    assert main([*words, "--without", "set/test.jsonl"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "set/train.jsonl: 7 questions",
        "set/val.jsonl: 3 questions",
        "left out: 2 questions that a test asks, or asks about",
    ]
    splits = {s: read_questions(f"set/{s}.jsonl") for s in ("train", "val", "test")}
    assert overlap_problems(splits) == []
    ids = {q.id for q in (*splits["train"], *splits["val"])}
    assert ids == {f"avqa-{i}" for i in range(6)} | {f"audiomcq-{i}" for i in range(4)}
    assert "blows" not in Path("set/train.jsonl").read_text().replace("What blows", "")


def test_problems_of_all_files_at_once_and_nothing_written(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("two/0.wav").unlink()
    write("one/avqa.jsonl", [avqa(0, "0.wav", "Who?"), avqa(0, "1.wav", "Who?")])
    assert main(["data", "gather", "new", "one/avqa.jsonl", "two/data.jsonl"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert not Path("new").exists()


def test_questions_without_a_sound_are_left_out_on_wish(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("one/0.wav").unlink()
    words = ["data", "gather", "new", "one/avqa.jsonl", "--val", "1"]
    assert main(words) == 2
    assert "no such sound file" in capsys.readouterr().err
    assert main([*words, "--skip-missing"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "new/train.jsonl: 4 questions",
        "new/val.jsonl: 1 questions",
        "left out: 1 questions whose sound is not there or is none",
    ]
    assert json.loads(Path("new/val.jsonl").read_text())["audio"].startswith("../one/")


def test_files_that_are_no_sound_are_all_named_or_left_out(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("one/0.wav").write_bytes(b"")
    Path("one/1.wav").write_bytes(b"<html>404</html>")
    words = ["data", "gather", "new", "one/avqa.jsonl", "--val", "1"]
    for command in (words, ["data", "check", "one/avqa.jsonl"]):
        assert main(command) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) >= 2
        assert all("cannot be decoded" in line for line in said)
        assert {"one/0.wav" in line for line in said} == {True, False}
    assert main([*words, "--skip-missing"]) == 0
    assert "whose sound is not there or is none" in capsys.readouterr().out


def test_nothing_left_to_train_on_is_said(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "gather", "new", "one/avqa.jsonl"]) == 2
    assert "leaves none to train on" in capsys.readouterr().err
    assert main(["data", "gather", "new", "one/avqa.jsonl", "--val", "-1"]) == 2
    assert "--val is -1" in capsys.readouterr().err
