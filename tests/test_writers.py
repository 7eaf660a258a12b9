"""Files are written whole; official files keep every row under the key that is scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routerlab.data.writers import write_json, write_lines, write_predictions, write_text
from routerlab.types import Answer


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_numbers_of_numpy_and_nan_are_plain_json(tmp_path: Path) -> None:
    value: Any = {"a": np.float32(0.5), "b": np.arange(2), "c": float("nan"), 3: (True, None)}
    path = write_json(tmp_path / "deep" / "x.json", value)
    assert json.loads(path.read_text()) == {"a": 0.5, "b": [0, 1], "c": None, "3": [True, None]}


def test_lines_hold_one_row_each(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl", [{"a": "é"}, {"a": "b\nc"}])
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"a": "é"},
        {"a": "b\nc"},
    ]


@pytest.mark.parametrize(
    ("benchmark", "key"), [("mmau", "model_output"), ("mmar", "answer_prediction")]
)
def test_no_row_of_an_official_file_is_dropped(tmp_path: Path, benchmark: str, key: str) -> None:
    rows = [{"id": "1", "other": [1]}, {"id": 2}, {"id": "3"}]
    manifest = tmp_path / "questions.json"
    manifest.write_text(json.dumps(rows))
    answers = {"1": Answer(0, "a man", raw="(A) a man", read="letter"), "2": Answer(1, "a dog")}
    path = write_predictions(tmp_path / "out.json", manifest, answers, benchmark)
    written = json.loads(path.read_text())
    assert [row[key] for row in written] == ["a man", "a dog", ""]
    assert written[0]["other"] == [1]
    assert written[0][f"{key}_raw"] == "(A) a man"
    assert written[2]["read"] == "unparsed"
    lines = write_predictions(tmp_path / "out.jsonl", manifest, answers, benchmark)
    assert len(lines.read_text().splitlines()) == 3
