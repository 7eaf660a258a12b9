"""Scores of prediction files: the published rule on every row, and nothing passed over."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from routerlab.cli import main
from routerlab.errors import UserError
from routerlab.scorers import find_scorer, rescored
from routerlab.scoring.predictions import read_predictions
from routerlab.scoring.score import score
from routerlab.types import Answer, Outcome, OutcomeTable, Question

MMAU = Path(__file__).parents[1] / "../shared/data/mmau-test-mini.json"

ROWS: list[dict[str, Any]] = [
    {
        "id": "1",
        "audio_id": "./a.wav",
        "question": "Who speaks?",
        "choices": ["Man", "Woman"],
        "answer": "Man",
        "task": "speech",
        "category": ["Reasoning"],
        "sub-category": "Speakers",
        "difficulty": "easy",
        "model_output": "Man",
        "model_output_raw": "A",
    },
    {
        "id": "2",
        "audio_id": "./b.wav",
        "question": "How does the pitch move?",
        "choices": ["low then high", "high then low"],
        "answer": "low then high",
        "task": "music",
        "category": "Reasoning",
        "sub-category": "Contour",
        "difficulty": "hard",
        "model_output": "high then low",
    },
    {
        "id": "3",
        "audio_id": "./c.wav",
        "question": "Which chord?",
        "choices": ["A:maj/5", "C:min"],
        "answer": "A:maj/5",
        "task": "music",
        "category": "Information Extraction",
        "sub-category": "Chords",
        "difficulty": "hard",
        "model_output": "it is one of the two",
    },
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def test_three_scores_stand_side_by_side(tmp_path: Path) -> None:
    file = read_predictions(write(tmp_path / "p.json", ROWS), "mmau")
    got = score(file.predictions, "mmau")
    assert got.total.right == {"official": 2, "strict": 1, "letter": 1}
    assert (got.unparsed, got.ambiguous, got.lenient, got.letters) == (1, 1, 1, 1)
    assert got.groups["task"]["music"].right["official"] == 1
    assert list(got.groups["task"]) == ["sound", "music", "speech"]
    assert got.groups["difficulty"]["hard"].rows == 2
    assert list(got.groups["sub-category"]) == ["Speakers", "Contour", "Chords"]


def test_a_row_without_a_prediction_is_wrong_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{k: v for k, v in row.items() if k != "model_output"} for row in ROWS[:1]] + ROWS[1:]
    path = write(tmp_path / "p.json", rows)
    got = score(read_predictions(path, "mmau").predictions, "mmau")
    assert (got.total.rows, got.missing, got.total.right["official"]) == (3, 1, 1)
    assert got.official_without_missing == 0.5
    assert main(["score", str(path), "--benchmark", "mmau"]) == 0
    assert "would print 50.00 %" in capsys.readouterr().out


def test_an_option_that_looks_like_a_letter_is_none_where_nothing_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = ROWS[0] | {"choices": ["B", "A"], "answer": "A", "model_output": "A"}
    path = write(tmp_path / "p.json", [row | {"model_output_raw": ""}])
    got = score(read_predictions(path, "mmau").predictions, "mmau")
    assert (got.total.right, got.letters) == ({"official": 1, "strict": 1, "letter": 0}, 0)
    assert main(["score", str(path), "--benchmark", "mmau"]) == 0
    assert "letter %" not in capsys.readouterr().out


def test_the_readme_s_key_is_not_the_script_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = {"model_output": "model_prediction"}
    rows = [{named.get(key, key): value for key, value in row.items()} for row in ROWS]
    path = write(tmp_path / "p.json", rows)
    assert main(["score", str(path), "--benchmark", "mmau"]) == 2
    said = capsys.readouterr().err
    assert "no row has 'model_output'" in said
    assert said.count("\n") == 1
    words = ["score", str(path), "--benchmark", "mmau", "--key", "model_prediction"]
    assert main(words) == 0


def test_predictions_alone_are_joined_by_id_and_every_question_counts(tmp_path: Path) -> None:
    questions = write(tmp_path / "q.json", ROWS)
    alone = tmp_path / "p.jsonl"
    alone.write_text('{"id": "1", "model_output": "Man"}\n')
    file = read_predictions(alone, "mmau", questions=questions)
    assert (len(file.predictions), file.missing) == (3, 2)
    alone.write_text('{"id": "9", "model_output": "Man"}\n')
    with pytest.raises(UserError, match="'9' for one"):
        read_predictions(alone, "mmau", questions=questions)


def test_mmar_s_groups_and_its_options_in_a_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "id": "x",
        "audio_path": "./audio/x.wav",
        "question": "Who?",
        "choices": "['a man', 'a woman', \"a child's toy\"]",
        "answer": "a man",
        "modality": "mix-sound-speech",
        "category": "Signal Layer",
        "sub-category": "Counting",
        "thinking": "a man, clearly",
        "answer_prediction": "a man",
    }
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(row))
    out = tmp_path / "s.json"
    assert main(["score", str(path), "--benchmark", "mmar", "--json", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "by modality" in shown
    assert "mix-sound-speech" in shown
    written = json.loads(out.read_text())
    assert written["right"]["official"] == 1
    assert written["groups"]["category"]["Signal Layer"]["questions"] == 1


@pytest.fixture(scope="module")
def mmau() -> list[dict[str, Any]]:
    if not MMAU.is_file():
        pytest.skip(f"MMAU's question file is not at {MMAU} (it is not redistributed)")
    rows: list[dict[str, Any]] = json.loads(MMAU.read_text())
    return rows


def letter(row: dict[str, Any]) -> str:
    return "ABCDEFGHIJ"[row["choices"].index(row["answer"])]


WORDINGS = {
    "bare": (lambda row: row["answer"], 1000, 1000),
    "letter and text": (lambda row: f"({letter(row)}) {row['answer']}", 967, 1000),
    "sentence": (lambda row: f"The answer is {row['answer']}.", 907, 1000),
    # Two rows have "C" as an option (a chord, a key) elsewhere: there it is no letter.
    "letter": (letter, 2, 998),
}
"""How a right answer may be worded -> how many of 1,000 are right, officially and strictly."""


@pytest.mark.parametrize("wording", WORDINGS)
def test_official_counts_of_a_whole_file(
    mmau: list[dict[str, Any]], tmp_path: Path, wording: str
) -> None:
    say, official, strict = WORDINGS[wording]
    path = write(tmp_path / "p.json", [{**row, "model_output": say(row)} for row in mmau])
    file = read_predictions(path, "mmau")
    got = score(file.predictions, "mmau")
    assert (got.total.rows, got.total.right["official"], got.ambiguous) == (1000, official, 9)
    assert (got.total.right["strict"], got.unparsed) == (strict, 0)
    assert file.release.startswith("MMAU test-mini v05.15.25")
    tables = [sum(tally.rows for tally in named.values()) for named in got.groups.values()]
    assert tables == [1000] * 3


def test_scoring_loads_no_torch(tmp_path: Path) -> None:
    path = write(tmp_path / "p.json", ROWS)
    script = (
        "import sys; from routerlab.cli import main;"
        f"main(['score', {str(path)!r}, '--benchmark', 'mmau']);"
        "assert not {'torch', 'lightning', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def table(answer: Answer | None, state: Any = "ok") -> OutcomeTable:
    question = Question("q", "a.wav", "?", ("C# major", "C major", "D minor"), "C# major")
    outcome = Outcome("q", "direct", state, False, answer)
    return OutcomeTable.of([question], ["direct"], {("q", "direct"): outcome})


@pytest.mark.parametrize(
    ("answer", "name", "right"),
    [
        (Answer(1, "C major"), "strict", False),
        (Answer(1, "C major"), "official", True),
        (Answer(0, "C# major", raw="A"), "letter", True),
        (Answer(0, "C# major", raw="C# major"), "letter", False),
        (Answer(0, "C# major"), "letter", True),
        (Answer(None, ""), "official", False),
        (None, "strict", False),
    ],
)
def test_a_table_is_judged_again_by_another_scorer(
    answer: Answer | None, name: str, right: bool
) -> None:
    assert rescored(table(answer), name).correct.tolist() == [[right]]


def test_what_failed_stays_invalid_and_a_scorer_has_a_name() -> None:
    assert not rescored(table(Answer(0, "C# major"), "tool_error"), "strict").valid.any()
    with pytest.raises(UserError, match="Did you mean 'strict'"):
        find_scorer("strickt")
