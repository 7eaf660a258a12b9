"""The page of a run as text: what stands in it, what is escaped, what is said of bad folders."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from page_run import HOSTILE, write_run

from routerlab.cli import main
from routerlab.report.page.page import page
from routerlab.report.page.run_files import read_run


class Elements(HTMLParser):
    """Counts elements, and keeps the text of the page's data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: set[str] = set()
        self.data = ""
        self._inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self._inside = ("id", "data") in attrs

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        self.data += data if self._inside else ""


def written(folder: Path, *words: str) -> str:
    assert main(["report", str(folder), *words]) == 0
    return (folder / "report.html").read_text(encoding="utf-8")


def test_every_part_stands_in_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = written(write_run(tmp_path / "run", 40))
    assert "60 questions" in capsys.readouterr().out
    assert "Routing pays" in text
    for title in (
        "Accuracy and calls", "Fixes and breaks", "Tools by category", "What the router calls",
        "Calibration", "Risk and coverage", "Policies", "By category: accuracy in %",
        "Training", "Questions", "What was run",
    ):  # fmt: skip
        assert f">{title}</h" in text, title
    data = json.loads(Elements(text).data)
    assert {name: len(rows) for name, rows in data["splits"].items()} == {"test": 40, "ood": 20}
    assert data["splits"]["test"][0]["clip"] >= 0


def test_nothing_from_data_becomes_an_element(tmp_path: Path) -> None:
    plain = Elements(written(write_run(tmp_path / "a/001", 20)))
    text = written(write_run(tmp_path / "b/001", 20, HOSTILE))
    hostile = Elements(text)
    assert "img" not in hostile.names
    assert "onerror" not in hostile.attributes
    assert sorted(set(hostile.names)) == sorted(set(plain.names))
    assert hostile.names.count("script") == plain.names.count("script")
    assert json.loads(hostile.data)["splits"]["test"][0]["question"].endswith(HOSTILE)


def test_the_page_names_no_address_but_its_own_parts(tmp_path: Path) -> None:
    text = written(write_run(tmp_path / "run", 10))
    assert not re.search(r"(src|href)=[\"'](?!#)", text)
    assert "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "")


def test_clips_beside_the_page_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", 10)
    written(run, "--audio", "beside")
    assert sorted(p.name for p in (run / "report_audio").iterdir()) == [f"{i}.js" for i in range(4)]
    assert json.loads(Elements(written(run, "--audio", "none")).data)["sound"]["mode"] == "none"
    capsys.readouterr()
    written(write_run(tmp_path / "gone", 10, clips=0))
    assert "1 clips are missing" in capsys.readouterr().out


def test_a_survey_s_folder_has_a_page_too(tmp_path: Path) -> None:
    tool = {"accuracy": 0.6, "fix": 3, "break": 1, "break_rate": 0.25}
    split = {"questions": 10, "direct": 0.4, "tools": {"pitch<b>": tool}, "oracle": 0.7}
    folder = tmp_path / "run"
    folder.mkdir()
    survey = {"splits": {"test": split}, "verdict": ["Routing can gain <i>."]}
    (folder / "survey.json").write_text(json.dumps(survey))
    text = written(folder)
    assert "Routing can gain &lt;i&gt;." in text
    assert "pitch&lt;b&gt;" in text


def test_a_folder_without_a_run_and_damaged_files_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", 10)
    (run / "predictions.jsonl").write_text('{"id": "a"')
    (run / "half").mkdir()
    (run / "half/results.json").write_text('{"accuracy": ')
    for folder, said in (
        (tmp_path, "has neither results.json nor survey.json"),
        (run, "predictions.jsonl:1 is not JSON"),
        (run / "half", "results.json is not JSON"),
    ):
        assert main(["report", str(folder)]) == 2
        assert said in capsys.readouterr().err
        assert not (folder / "report.html").exists()


def test_a_page_needs_no_torch(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 10)
    script = (
        "import sys; from routerlab.cli import main;"
        f"main(['report', {str(run)!r}]);"
        "assert not {'torch', 'lightning', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_run_of_few_questions_and_no_tools_called_has_a_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 2, ood=False, clips=0)
    assert "What was run" in page(read_run(run))
