"""`survey RECIPE` with its settings: a drawn part, votes, free text, export; all asked once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_world import Scripted

from routerlab import experiment
from routerlab.data.module import RouterDataModule
from routerlab.data.progress import progress
from routerlab.errors import ProblemList
from routerlab.surveying import Options, main_split
from routerlab.table_files import read_table


@dataclass
class Speaking(Scripted):
    """A reasoner that can score options or write, and says different things in the two."""

    protocol: str = "likelihood"

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "protocol": self.protocol}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("surveying")


def data(root: Path, reasoner: Scripted) -> RouterDataModule:
    return RouterDataModule(
        data_dir=str(root / "data"),
        cache_dir=str(root / "cache"),
        tools=["segments", "loudness"],
        reasoner=reasoner,
        workers=1,
        crossfit=True,
        train=4, val=0, test=40, ood=4,
    )  # fmt: skip


def survey(root: Path, reasoner: Scripted, options: Options) -> dict[str, Any]:
    trainer: Any = SimpleNamespace(default_root_dir=str(root / "run"))
    module: Any = None
    experiment.survey(trainer, module, data(root, reasoner), options)
    written: dict[str, Any] = json.loads((root / "run" / "survey.json").read_text())
    return written


def test_every_setting_at_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = root / "t.jsonl"
    options = Options(limit=25, votes=2, generate=10, export=str(table))
    written = survey(root, Speaking(), options)
    figures, shown = written["outlook"], capsys.readouterr().out
    assert (figures["split"], figures["questions"], figures["of"]) == ("test", 25, 40)
    assert {"vote", "permutation_vote", "all_outputs", "cascade", "oracle_cross_fitted",
            "foretold.text and sound"} <= set(figures["policies"])  # fmt: skip
    assert figures["generate"]["questions"] == 10
    assert figures["flips"]["cells"] == 75
    for words in ("likelihood and generate agree on", "25 questions, a random part of 40"):
        assert words in shown
    back, replicates, together = read_table(table)
    assert (len(back), [r.actions for r in replicates]) == (
        25, [("direct", "segments", "loudness"), ("direct",)],
    )  # fmt: skip
    assert together is not None


def test_a_second_time_nothing_is_asked(root: Path) -> None:
    again = Speaking()
    survey(root, again, Options(limit=25, votes=2, generate=10))
    assert not again.asked


def test_a_reasoner_that_only_writes_says_so(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = survey(root, Scripted(), Options(limit=20, generate=5, sound=False))
    assert written["outlook"]["generate"] == {"why": "the reasoner does not score options"}
    assert "foretold.text and sound" not in written["outlook"]["policies"]
    assert "does not score options" in capsys.readouterr().out


def test_settings_are_checked_before_anything_is_asked(root: Path) -> None:
    asked = Speaking()
    with pytest.raises(ProblemList) as caught:
        survey(root, asked, Options(limit=0, votes=-1, generate=-1, export="t.csv"))
    assert len(caught.value.problems) == 4
    assert not asked.asked


def test_the_main_split() -> None:
    tables: Any = {"train": None, "test": None, "ood": None}
    assert main_split(tables) == "test"
    assert main_split({"ood": tables["ood"]}) == "ood"


def test_plain_lines_say_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("routerlab.data.progress.EVERY_SECONDS", 0.0)
    with progress(10) as advance:
        advance(5, "answers")
    assert "answers: 5 of 10, about 0 s left" in capsys.readouterr().out
