"""`routerlab data check|info|convert` as a user types them: one clear list, or a whole file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from routerlab.cli import main

GOOD = {"id": "1", "audio": "a.wav", "question": "Who?", "choices": ["x", "y"], "answer": "x"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, level in (("a", 1), ("b", 2)):
        soundfile.write(f"{name}.wav", np.full(80, level, np.int16), 16_000)
    Path("good.jsonl").write_text(json.dumps(GOOD))
    return tmp_path


def test_a_good_file_is_said_to_be(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "good.jsonl"]) == 0
    shown = capsys.readouterr().out
    assert shown == "good.jsonl: 1 questions in the format of routerlab's own, nothing wrong.\n"


def test_every_problem_of_a_bad_file_and_nothing_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [GOOD | {"answer": "z"}, GOOD | {"audio": "no.wav"}]
    Path("bad.jsonl").write_text("\n".join(map(json.dumps, bad)) + '\n{"id": ')
    for words in (["check", "bad.jsonl"], ["convert", "bad.jsonl", "out.json", "--to", "mmau"]):
        assert main(["data", *words]) == 2
        said = capsys.readouterr().err.splitlines()
        assert [line.split(": ")[0] for line in said] == [f"bad.jsonl:{n}" for n in (1, 2, 2, 3)]
    assert not Path("out.json").exists()
    assert main(["data", "check", "bad.jsonl", "--form", "mmau"]) == 2


def test_a_folder_s_splits_are_checked_against_each_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("train.jsonl").write_text(json.dumps(GOOD))
    Path("test.jsonl").write_text(json.dumps(GOOD | {"question": "What?"}))
    assert main(["data", "check", "."]) == 2
    assert "overlap: 1 questions of test" in capsys.readouterr().err
    Path("test.jsonl").write_text(json.dumps(GOOD | {"question": "What?", "audio": "b.wav"}))
    assert main(["data", "check", "."]) == 0
    assert main(["data", "check", "good.jsonl", "--against", "test.jsonl"]) == 0
    assert main(["data", "check", "good.jsonl", "--against", "train.jsonl"]) == 2
    assert main(["data", "check", ".", "--against", "train.jsonl"]) == 2


def test_info_says_what_a_file_holds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("train.jsonl").write_text(json.dumps(GOOD | {"task": "speech"}))
    Path("test.jsonl").write_text(json.dumps(GOOD | {"choices": ["x", "x", "y"]}))
    assert main(["data", "info", "."]) == 0
    shown = capsys.readouterr().out
    assert "test.jsonl (test)" in shown
    assert "speech × 1" in shown
    assert "1 questions with an option that stands twice" in shown
    assert "none that routerlab knows" in shown


def test_converting_there_and_back_keeps_everything(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "convert", "good.jsonl", "deep/q.json", "--to", "mmau"]) == 0
    assert json.loads(Path("deep/q.json").read_text())[0]["audio_id"] == "../a.wav"
    assert main(["data", "convert", "deep/q.json", "q.jsonl", "--to", "r1aqa"]) == 0
    assert json.loads(Path("q.jsonl").read_text())["answer"] == 0
    assert main(["data", "convert", "q.jsonl", "back.jsonl", "--to", "jsonl"]) == 0
    assert json.loads(Path("back.jsonl").read_text()) == GOOD | {"audio": "./a.wav"}
    assert main(["data", "convert", "q.jsonl", "q.jsonl", "--to", "jsonl"]) == 2
    assert "replaced by itself" in capsys.readouterr().err
