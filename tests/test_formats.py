"""Rows shaped as each benchmark's own file has them, and every way to break a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from routerlab.data.formats.forms import FORMS, LEAKS
from routerlab.data.formats.records import ROWS, relative_to
from routerlab.data.readers import QuestionFile, read_file
from routerlab.errors import ProblemList, UserError

ROWS_OF: dict[str, dict[str, Any]] = {
    "mmau": {
        "id": "3fe6",
        "audio_id": "./audio/a.wav",
        "question": "Which chord comes last?",
        "choices": ["A:maj/5", "C#:min", "A:maj/5", "G"],
        "answer": "A:maj/5",
        "dataset": "guitarset",
        "task": "music",
        "split": "test-mini",
        "category": ["Reasoning"],
        "sub-category": "Harmony and Chord Progressions",
        "difficulty": "hard",
    },
    "mmar": {
        "id": "qx8_00-01-32_00-02-02",
        "audio_path": "./audio/a.wav",
        "question": "Who knocks?",
        "choices": "['A man', \"A child's friend\", 'Nobody', '', 'B', 'C']",
        "answer": "A child's friend",
        "modality": "mix-sound-speech",
        "category": "Semantic Layer",
        "sub-category": "Content Analysis",
        "language": None,
        "source": "youtube",
        "url": "https://example.org",
        "timestamp": "00:01:32,00:02:02",
        "thinking": "the friend says hello",
        "cue": ["hello"],
        "rubric": "[{'name': 'the friend'}]",
    },
    "mmau_pro": {
        "id": "71a1",
        "audio_path": ["audio/a.wav"],
        "question": "What is heard behind the voice?",
        "answer": "Rain",
        "choices": ["Rain", "Traffic", "Applause"],
        "category": "sound",
        "sub-cat": None,
        "length_type": "medium",
        "perceptual_skills": ["Scene"],
        "reasoning_skills": [],
        "transcription": None,
        "kwargs": None,
        "task_identifier": None,
    },
    "mmsu": {
        "id": "accent_01",
        "audio_path": "audio/a.wav",
        "question": "Which word is stressed?",
        "choice_a": "I",
        "choice_b": "never",
        "choice_c": "said",
        "choice_d": "",
        "answer_gt": "never",
        "response": "B",
        "task_name": "stress",
        "category": "Perception",
        "sub-category": "Phonology",
        "sub-sub-category": "Prosody",
        "linguistics_sub_discipline": "Phonetics",
    },
    "avqa": {
        "id": 183,
        "video_name": "-HG3Omg_89c_000030",
        "video_id": 341,
        "question_text": "What happened in the video?",
        "multi_choice": ["motorboat", "Yacht consignment", "Sailboat set sail", "Consignment car"],
        "answer": 1,
        "question_relation": "View",
        "question_type": "Happening",
        "audio_path": "audio/a.wav",
    },
    "audiomcq": {
        "source_dataset": "Clotho",
        "id": "Clotho_12",
        "question_type": "sound",
        "audio_path": "audio/a.wav",
        "question": "What is heard first?",
        "choices": ["A door", "Rain", "A bell", "Steps"],
        "answer": "Rain",
        "gemini_cot": "it must be rain",
        "audio-contribution": "strong",
    },
    "routerlab": {
        "id": "mine",
        "audio": "audio/a.wav",
        "question": "Which note?",
        "choices": ["C4", "E4"],
        "answer": "E4",
        "sub_category": "notes",
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "a.wav").write_bytes(b"RIFF")
    return tmp_path


def array(path: Path, *rows: Any) -> Path:
    path.write_text(json.dumps(list(rows), indent=1), encoding="utf-8")
    return path


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(ProblemList) as caught:
        read_file(path)
    return [line.removeprefix(f"{path}:") for line in caught.value.problems]


@pytest.mark.parametrize("container", [array, lines])
@pytest.mark.parametrize("name", ROWS_OF)
def test_each_format_is_told_by_its_keys(folder: Path, name: str, container: Any) -> None:
    file = read_file(container(folder / "questions.json", ROWS_OF[name]))
    (question,) = file.questions
    assert file.form.name == name
    assert question.audio == str(folder / "audio" / "a.wav")
    assert question.answer in question.choices
    assert len(question.choices) >= 2
    assert file.release == ""


def test_what_the_formats_keep_where(folder: Path) -> None:
    read = {name: read_file(array(folder / f"{name}.json", ROWS_OF[name])) for name in FORMS}
    mmau, mmar, pro, mmsu, avqa, own = (
        read[name].questions[0]
        for name in ("mmau", "mmar", "mmau_pro", "mmsu", "avqa", "routerlab")
    )
    assert (mmau.category, mmau.difficulty, mmau.gold) == ("Reasoning", "hard", 0)
    assert (mmar.task, mmar.sub_category) == ("mix-sound-speech", "Content Analysis")
    assert len(mmar.choices) == 6
    assert (pro.task, pro.sub_category) == ("sound", "")
    assert mmsu.choices == ("I", "never", "said")
    assert (mmsu.task, mmsu.category, mmsu.sub_category) == ("stress", "Perception", "Phonology")
    assert (avqa.id, avqa.answer) == ("183", "Yacht consignment")
    assert own.sub_category == "notes"


def test_nothing_that_gives_answers_away_is_kept(folder: Path) -> None:
    file = read_file(lines(folder / "MMAR-meta.jsonl", ROWS_OF["mmar"]))
    assert not LEAKS & set(file.rows[0])
    assert "hello" not in repr(file.questions) + repr(file.rows)


def test_mmau_s_first_file_has_no_ids(folder: Path) -> None:
    row = {key: value for key, value in ROWS_OF["mmau"].items() if key != "id"}
    (question,) = read_file(array(folder / "q.json", row)).questions
    assert question.id == "a"
    with_one = array(folder / "q.json", ROWS_OF["mmau"], row)
    (problem,) = problems(with_one)
    assert problem.endswith(": the key 'id' of MMAU is missing")


def test_mmau_pro_s_other_questions_are_left_out_and_counted(folder: Path) -> None:
    row = ROWS_OF["mmau_pro"]
    file = read_file(
        array(
            folder / "q.json",
            row,
            row | {"id": "2", "category": "open", "choices": None},
            row | {"id": "3", "category": "instruction following", "choices": []},
            row | {"id": "4", "audio_path": ["audio/a.wav", "audio/b.wav"]},
        )
    )
    assert len(file.questions) == 1
    assert file.left_out == {"open": 1, "instruction following": 1, "several clips": 1}
    with pytest.raises(UserError, match="no row is a multiple-choice question"):
        read_file(array(folder / "q.json", row | {"category": "open"}))


def test_every_kind_of_problem_is_listed_in_the_order_of_lines(folder: Path) -> None:
    good = ROWS_OF["routerlab"]
    path = folder / "q.jsonl"
    rows = [
        json.dumps(good),
        '{"id": "cut", "audio": "audio/a.wa',
        json.dumps(good | {"id": "a", "answer": "G4"}),
        json.dumps(good | {"id": "b", "choices": "C4, E4"}),
        json.dumps(good | {"id": "c", "audio": "audio/b.wav"}),
        json.dumps({"Question" if k == "question" else k: v for k, v in good.items()}),
        json.dumps(good | {"id": "d", "choices": ["E4"]}),
        json.dumps(good | {"id": "e", "answer": None}),
        json.dumps(good | {"id": True}),
        "[1]",
    ]
    path.write_text("\n".join(rows))
    found = problems(path)
    assert [line.split(": ")[0] for line in found] == [*"23456678", "9", "10"]
    assert [line.split(": ", 1)[1] for line in found][1:] == [
        "the answer 'G4' is not among the choices ['C4', 'E4']",
        "'choices' must be a list of texts, not 'C4, E4'",
        f"no such sound file: {folder / 'audio' / 'b.wav'}",
        "the id 'mine' stands on line 1 already",
        "the key 'question' of routerlab's own is missing; the row has 'Question'",
        "at least two choices are needed, not 1",
        "the answer None is not among the choices ['C4', 'E4']",
        "'id' must be a text or a number, not True",
        "a row is an object, not list",
    ]


@pytest.mark.parametrize("cut", [40, 200, 420])
def test_half_an_array_is_refused_wherever_it_ends(folder: Path, cut: int) -> None:
    path = array(folder / "q.json", *[ROWS_OF["mmau"] | {"id": str(i)} for i in range(9)])
    path.write_text(path.read_text()[: cut * 4])
    assert any("not JSON" in line for line in problems(path))


def test_an_option_is_the_same_with_other_white_space(folder: Path) -> None:
    row = ROWS_OF["routerlab"] | {"choices": ["3060 ", "2040 "], "answer": "2040"}
    (question,) = read_file(array(folder / "q.json", row)).questions
    assert question.answer == "2040 "


@pytest.mark.parametrize("to", ROWS)
@pytest.mark.parametrize("name", ROWS_OF)
def test_every_format_is_written_so_that_it_is_read_again(folder: Path, name: str, to: str) -> None:
    file = read_file(array(folder / "q.json", ROWS_OF[name]))
    before = file.questions[0]
    other = folder / "other"
    other.mkdir()
    row = ROWS[to](before, relative_to(other, before.audio))
    after = read_file(lines(other / "q.jsonl", row))
    (again,) = after.questions
    for field in ("id", "question", "choices", "answer"):
        assert getattr(again, field) == getattr(before, field)
    assert Path(again.audio).samefile(before.audio)
    # Where an option stands twice, its place says no more than its text.
    assert after.digest == file.digest


def test_a_digest_is_of_the_questions_and_not_of_the_file(folder: Path) -> None:
    row = ROWS_OF["mmau"]
    first = read_file(array(folder / "a.json", row, row | {"id": "2"}))
    more = {"model_output": "G", "task": "other"}
    other = read_file(lines(folder / "b.jsonl", row | {"id": "2"} | more, row))
    assert first.digest == other.digest
    assert first.sha256 != other.sha256
    edited = read_file(array(folder / "c.json", row | {"answer": "G"}, row | {"id": "2"}))
    assert edited.digest != first.digest


def test_published_files_are_known_by_name() -> None:
    path = Path(__file__).parents[1] / "../shared/data/mmau-test-mini.json"
    if not path.is_file():
        pytest.skip(f"MMAU's question file is not at {path} (it is not redistributed)")
    file: QuestionFile = read_file(path, need_audio=False)
    assert len(file.questions) == 1000
    assert file.release == "MMAU test-mini v05.15.25 (2025-08-09)"
