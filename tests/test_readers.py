"""Question files: four formats in, every problem at once with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from routerlab.data.readers import (
    read_mmau,
    read_questions,
    read_rows,
    read_splits,
    read_truth,
)
from routerlab.errors import ProblemList, UserError

ROW = {
    "id": "a",
    "audio_id": "./audio/a.wav",
    "question": "Which note?",
    "choices": ["C4", "E4"],
    "answer": "E4",
    "task": "music",
    "category": "note",
    "sub-category": "plain",
    "difficulty": "hard",
    "split": "test",
    "wording": "note/0",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "audio").mkdir()
    for name in "abc":
        (tmp_path / "audio" / f"{name}.wav").write_bytes(b"RIFF")
    return tmp_path


def write(path: Path, *rows: object) -> Path:
    path.write_text(json.dumps(list(rows), indent=1), encoding="utf-8")
    return path


def test_an_mmau_row_becomes_a_question(folder: Path) -> None:
    (question,) = read_mmau(write(folder / "test.json", ROW))
    assert question.id == "a"
    assert question.audio == str(folder / "audio" / "a.wav")
    assert question.choices == ("C4", "E4")
    assert question.gold == 1
    assert (question.category, question.sub_category, question.wording) == (
        "note",
        "plain",
        "note/0",
    )


def test_a_list_of_categories_and_repeated_options_are_allowed(folder: Path) -> None:
    row = ROW | {"category": ["Reasoning", "Sound"], "choices": ["E4", "C4", "E4"]}
    (question,) = read_mmau(write(folder / "test.json", row))
    assert question.category == "Reasoning / Sound"
    assert question.gold == 0


def test_every_problem_is_listed_with_its_line(folder: Path) -> None:
    rows = [
        ROW,
        ROW | {"answer": "G4"},
        ROW | {"id": "b", "choices": ["E4"]},
        ROW | {"id": "c", "audio_id": "./audio/missing.wav"},
        ["not a row"],
    ]
    path = folder / "test.json"
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]")
    with pytest.raises(ProblemList) as caught:
        read_mmau(path)
    assert [problem.removeprefix(f"{path}:") for problem in caught.value.problems] == [
        "3: the id 'a' stands on line 2 already",
        "3: the answer 'G4' is not among the choices ['C4', 'E4']",
        "4: at least two choices are needed, not 1",
        f"5: no such sound file: {folder / 'audio' / 'missing.wav'}",
        "6: a row is an object, not list",
    ]


def test_the_problems_of_several_files_are_listed_together(folder: Path) -> None:
    files = {
        "train": write(folder / "train.json", ROW | {"answer": "?"}),
        "test": write(folder / "test.json", ROW | {"question": " "}),
        "val": folder / "val.json",
    }
    with pytest.raises(ProblemList) as caught:
        read_splits(files)
    assert len(caught.value.problems) == 3


def test_mmar_lines_hold_their_options_as_text_and_leak_no_reasoning(folder: Path) -> None:
    row = {
        "id": 7,
        "audio_path": "./audio/a.wav",
        "question": "Who speaks?",
        "choices": "['a man', 'a woman', \"a child's toy\"]",
        "answer": "a man",
        "modality": "speech",
        "thinking": "It is the man",
        "rubric": "man",
    }
    path = folder / "MMAR-meta.jsonl"
    path.write_text(json.dumps(row) + "\n\n" + json.dumps(row | {"id": "8"}) + "\n")
    first, second = read_questions(path)
    assert first.choices == ("a man", "a woman", "a child's toy")
    assert (first.id, second.id, first.task) == ("7", "8", "speech")
    assert "It is" not in repr(first)


def test_avqa_answers_are_indices(folder: Path) -> None:
    row = {
        "id": "q",
        "audio_path": "audio/a.wav",
        "question_text": "What sounds?",
        "multi_choice": ["dog", "cat"],
        "answer": 1,
        "question_type": "Which",
    }
    path = folder / "train.jsonl"
    path.write_text(json.dumps(row))
    (question,) = read_questions(path)
    assert (question.answer, question.category) == ("cat", "Which")
    path.write_text(json.dumps(row | {"answer": 2}))
    with pytest.raises(ProblemList, match="an index into the choices, not 2"):
        read_questions(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no questions"),
        ("[]", "holds no questions"),
        ('[{"id": 1}', "not closed"),
        ('[{"id": }]', ":1: not JSON"),
        ('{"id": 1}', "unknown question format"),
    ],
)
def test_what_is_no_question_file_is_refused_by_name(folder: Path, text: str, message: str) -> None:
    path = folder / "odd.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_questions(path)
    assert str(path) in str(caught.value)


def test_binary_and_missing_files_are_refused(folder: Path) -> None:
    (folder / "b.json").write_bytes(b"\xff\xfe\x00")
    for name, message in (("b.json", "not UTF-8"), ("no.json", "no such file")):
        with pytest.raises(UserError, match=message):
            read_rows(folder / name)


def test_an_unknown_format_name_suggests_the_nearest(folder: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'avqa'"):
        read_questions(write(folder / "test.json", ROW), "avqqa")


def test_truth_is_empty_where_there_is_none(folder: Path) -> None:
    assert read_truth(folder / "test-truth.json") == {}
