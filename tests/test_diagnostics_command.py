"""The command line with `diagnostics=true`, on a tiny LALM: fit, test, and test again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import learner_toy as toy
import pytest
from tiny import tiny_folder

from routerlab.cli import main

pytestmark = [*toy.lightning_warnings, pytest.mark.timeout(600)]

REASONER = "routerlab.reasoners.transformers_reasoner.TransformersReasoner"
SIZES = ["data.train=8", "data.val=2", "data.test=12", "data.ood=0", "trainer.max_epochs=1"]
ALWAYS = {"keyword_twins", "kinds", "scope", "limits", "router_hearing", "reasoner_hearing"}


def run(*words: str) -> None:
    assert main(list(words)) == 0


def results(number: str) -> dict[str, Any]:
    path = Path(f"runs/quickstart_reduced/{number}/results.json")
    return json.loads(path.read_text())


def test_diagnostics_through_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lalm = tiny_folder(tmp_path / "lalm")
    tiny = [
        f"data.reasoner={REASONER}", f"data.reasoner.lalm={lalm}", f"model.policy.lalm={lalm}",
        "data.tools=[loudness,segments]", "data.workers=1", "data.controls=false",
        "data.crossfit=false", "data.all_outputs=false", *SIZES,
    ]  # fmt: skip
    run("fit", "quickstart_reduced", *tiny, "model.policy.shuffle_labels=true")
    assert "diagnostics" not in results("001")
    capsys.readouterr()

    run("test", "diagnostics=true")
    shown = capsys.readouterr().out
    found = results("001")["diagnostics"]
    assert set(found) == ALWAYS | {"cards", "new_tool", "notes", "cost"}
    assert found["notes"] == {}
    assert found["cost"]["reasoner_calls"] > 24
    assert found["keyword_twins"]["pairs"] == 3
    assert set(found["reasoner_hearing"]) == {"silence", "no_audio"}
    assert found["new_tool"]["tool"] not in ("loudness", "segments")
    for title in ("Keyword traps", "Over-inference", "The Router without", "A tool that was in no"):
        assert title in shown

    run("test", "diagnostics=true")
    again = results("001")["diagnostics"]
    assert again["cost"]["reasoner_calls"] == again["cost"]["tool_calls"] == 0
    assert {**again, "cost": 0} == {**found, "cost": 0}

    run("fit", "quickstart_reduced", *tiny, "diagnostics=true")
    fixed = results("002")["diagnostics"]
    assert set(fixed) == ALWAYS | {"notes", "cost"}
    assert set(fixed["notes"]) == {"cards", "new_tool"}
    assert "cards, new tool: left out, the router was trained" in capsys.readouterr().out
    assert "\ndiagnostics:" not in Path("runs/quickstart_reduced/002/recipe.yaml").read_text()
