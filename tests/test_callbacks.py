"""The callbacks, on small real runs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import learner_toy as toy
import pytest
import torch
from rich.console import Console
from tiny import tiny_folder

from routerlab.callbacks import AdapterSaver, Progress, RunFolder
from routerlab.policy.router import RouterPolicy

pytestmark = toy.lightning_warnings
CANARY = "sk-canary-0451"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_folder(tmp_path_factory.mktemp("lalm"))


def fit(folder: str, home: Path, *callbacks: Any, **settings: Any) -> Any:
    module = toy.module(folder, accumulate=settings.pop("accumulate", 1))
    trainer = toy.trainer(home, callbacks=list(callbacks), **settings)
    trainer.fit(module, datamodule=toy.ToyData())
    return module


def test_best_and_last_adapters_are_saved_whole(folder: str, tmp_path: Path) -> None:
    saver = AdapterSaver()
    module = fit(folder, tmp_path, saver, max_epochs=2)
    assert saver.best is not None
    for name in ("best", "last"):
        home = tmp_path / "adapters" / name
        assert {"adapter_model.safetensors", "adapter_config.json", "router.json"} <= {
            file.name for file in home.iterdir()
        }
    assert not list((tmp_path / "adapters").glob(".*"))
    last = RouterPolicy.load(tmp_path / "adapters" / "last")
    known = toy.ToyData().tables["val"]
    batch = toy.batch(known, range(4))
    assert torch.allclose(last.probabilities(batch), module.policy.probabilities(batch))


def test_only_a_better_figure_replaces_the_best(folder: str, tmp_path: Path) -> None:
    kept = tmp_path / "adapters" / "best" / "kept"
    kept.mkdir(parents=True)
    saver = AdapterSaver()
    saver.load_state_dict({"best": 2.0})
    fit(folder, tmp_path, saver)
    assert kept.exists()
    assert saver.state_dict() == {"best": 2.0}


def test_a_best_figure_of_another_folder_does_not_count(folder: str, tmp_path: Path) -> None:
    saver = AdapterSaver()
    saver.load_state_dict({"best": 2.0})
    fit(folder, tmp_path, saver)
    assert (tmp_path / "adapters" / "best" / "router.json").exists()
    assert saver.best is not None
    assert saver.best <= 1.0


def test_the_manifest_has_versions_and_hashes_and_no_secret(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    module = fit(folder, tmp_path, RunFolder())
    text = (tmp_path / "manifest.json").read_text()
    manifest = json.loads(text)
    assert CANARY not in text
    assert manifest["router_lalm"] == module.policy.base_fingerprint
    assert manifest["packages"]["torch"]


def test_metrics_are_noted_as_the_run_goes_on(folder: str, tmp_path: Path) -> None:
    fit(folder, tmp_path, RunFolder(), max_epochs=2, log_every_n_steps=2)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    trained = [row for row in rows if "train/loss" in row]
    assert [row["step"] for row in trained] == [2, 4, 6]
    assert all("train/entropy" in row and "val/accuracy" not in row for row in trained)
    judged = [row for row in rows if "val/accuracy" in row]
    assert [(row["step"], row["epoch"]) for row in judged] == [(3, 0), (6, 1)]


def test_progress_is_plain_lines_where_there_is_no_terminal(folder: str, tmp_path: Path) -> None:
    out = io.StringIO()
    fit(
        folder,
        tmp_path,
        Progress(console=Console(file=out, force_terminal=False, width=40)),
        max_epochs=2,
        enable_progress_bar=True,
    )
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("epoch 1/2 · step 3/6")
    assert lines[1].startswith("epoch 2/2 · step 6/6")
    assert lines[-1].startswith("trained")
    assert "reward" in lines[0]
    assert "val/accuracy" in lines[-1]
    assert "\x1b" not in out.getvalue()


def test_steps_are_the_optimizers_and_end_where_max_steps_does(folder: str, tmp_path: Path) -> None:
    out = io.StringIO()
    shown = Progress(every_seconds=0.0, console=Console(file=out, force_terminal=False))
    halves = {"accumulate": 2, "log_every_n_steps": 1, "max_epochs": -1, "max_steps": 3}
    fit(folder, tmp_path, shown, RunFolder(), enable_progress_bar=True, **halves)
    places = [line.split(" · ")[:2] for line in out.getvalue().splitlines()]
    # Three batches an epoch: the last one is a step by itself.
    assert [place for place in places if place[0].startswith("epoch")][:4] == [
        ["epoch 1", "step 0/3"], ["epoch 1", "step 1/3"], ["epoch 1", "step 2/3"],
        ["epoch 1", "step 2/3"],
    ]  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    trained = [row for row in rows if "train/loss" in row]
    assert [(row["step"], row["epoch"]) for row in trained] == [(1, 0), (2, 0), (3, 1)]
    assert all("train/grad_norm" in row for row in trained)


def test_progress_is_a_live_line_on_a_terminal(folder: str, tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    fit(folder, tmp_path, Progress(console=console), enable_progress_bar=True)
    assert "\x1b" in out.getvalue()
    assert "trained" in out.getvalue().splitlines()[-1]
