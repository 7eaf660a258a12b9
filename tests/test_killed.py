"""A fit killed at random places and gone on with ends where an unbroken one does.

Done as a user does it: the command line in processes of their own, ended by SIGKILL. The suite
kills twice; `ROUTERLAB_KILLS=20 python -m pytest -s tests/test_killed.py` kills twenty times, and
prints where each kill fell.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny import tiny_folder

KILLS = int(os.environ.get("ROUTERLAB_KILLS", "2"))
EPOCHS, QUESTIONS, BATCH = 3, 24, 4


def recipe(home: Path) -> Path:
    """A small fit, with a checkpoint every few steps and one after every validation."""
    lalm = tiny_folder(home / "lalm")
    reasoner = "routerlab.reasoners.transformers_reasoner.TransformersReasoner"
    parts = {
        "seed_everything": 3,
        "trainer": {
            "max_epochs": EPOCHS,
            "accelerator": "cpu",
            "devices": 1,
            "num_sanity_val_steps": 0,
            "enable_model_summary": False,
            "callbacks": [
                {"class_path": "routerlab.callbacks.Progress", "init_args": {"every_seconds": 0}},
                {"class_path": "routerlab.callbacks.RngState"},
                {"class_path": "routerlab.callbacks.RunFolder"},
                {"class_path": "routerlab.callbacks.AdapterSaver"},
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {"every_n_train_steps": 2, "filename": "{step}"},
                },
            ],
        },
        "model": {
            "class_path": "routerlab.module.RouterModule",
            "init_args": {
                "policy": {
                    "class_path": "routerlab.policy.router.RouterPolicy",
                    "init_args": {"lalm": lalm, "lora_r": 4, "shuffle_labels": True},
                },
                "objective": {"class_path": "routerlab.policy.objectives.Grpo"},
                "lr": 0.01,
            },
        },
        "data": {
            "class_path": "routerlab.data.module.RouterDataModule",
            "init_args": {
                **{"train": QUESTIONS, "val": 8, "test": 8, "ood": 0, "batch_size": BATCH},
                "tools": ["loudness", "segments"],
                "reasoner": {"class_path": reasoner, "init_args": {"lalm": lalm}},
                "workers": 1,
            },
        },
    }
    path = home / "small.yaml"
    path.write_text(yaml.safe_dump(parts))
    return path


def start(recipe: Path, home: Path, *more: str) -> subprocess.Popen[bytes]:
    """The command as typed in `home`; what it says is added to a log there."""
    home.mkdir(exist_ok=True)
    with (home / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "routerlab.cli", "fit", str(recipe), *more],
            cwd=home,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        )


def end_state(home: Path) -> dict[str, Any]:
    """All that a finished run left, but what it cost."""
    (folder,) = (home / "runs" / "small").iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    newest = max(folder.rglob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    checkpoint = torch.load(newest, weights_only=True)
    results = json.loads((folder / "results.json").read_text())
    kept = {
        "steps": checkpoint["global_step"],
        "weights": checkpoint["state_dict"],
        "optimizer": checkpoint["optimizer_states"][0]["state"],
        "results": {
            k: v for k, v in results.items() if k not in ("seconds", "counters", "peak_rss_mb")
        },
        "predictions": (folder / "predictions.jsonl").read_bytes(),
        "centre": json.loads((folder / "adapters/last/router.json").read_text())["centre"],
    }
    for name in ("best", "last"):
        kept[name] = load_file(folder / "adapters" / name / "adapter_model.safetensors")
    return kept


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return bool(one == other)


def wait_for_steps(process: subprocess.Popen[bytes], home: Path, seconds: float) -> None:
    """Return when the process's own training has begun, or it has ended, or time is up."""
    log, until = home / "log.txt", time.monotonic() + seconds
    before = log.stat().st_size if log.exists() else 0
    while process.poll() is None and time.monotonic() < until:
        with log.open("rb") as text:
            text.seek(before)
            if b"epoch" in text.read():
                return
        time.sleep(0.02)


def kill_once(recipe: Path, home: Path, draw: random.Random, whole: float, training: float) -> str:
    """Start or go on, kill at a random moment, and say how it ended."""
    begun = any((home / "runs" / "small").glob("*/run.json"))
    process = start(recipe, home, *(["--ckpt_path", "last"] if begun else []))
    if draw.random() < 0.75:  # most kills among the steps, the others anywhere
        wait_for_steps(process, home, 200)
        wanted = draw.uniform(0, training)
    else:
        wanted = draw.uniform(0, whole)
    try:
        process.wait(timeout=wanted)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
    code = process.wait(timeout=60)
    states = [json.loads(p.read_text()) for p in (home / "runs" / "small").glob("*/run.json")]
    if any(state["status"] == "finished" for state in states):
        code = 0  # killed on its way out, with everything written
    assert code in (0, -signal.SIGKILL), (home / "log.txt").read_text()[-2000:]
    saved = sorted((home / "runs" / "small").rglob("*.ckpt"))
    return f"exit {code} after {wanted:.1f} s of its part; checkpoints {[p.name for p in saved]}"


def finish(recipe: Path, home: Path) -> None:
    """Go on with what there is, to the end."""
    begun = any((home / "runs" / "small").glob("*/run.json"))
    process = start(recipe, home, *(["--ckpt_path", "last"] if begun else []))
    assert process.wait(timeout=200) == 0, (home / "log.txt").read_text()[-2000:]


@pytest.mark.timeout(240 + 90 * KILLS)
def test_a_fit_killed_and_gone_on_with_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    small = recipe(tmp_path)
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    began = time.monotonic()
    process = start(small, unbroken)
    wait_for_steps(process, unbroken, 200)
    steps_began = time.monotonic()
    assert process.wait(timeout=200) == 0, (unbroken / "log.txt").read_text()[-2000:]
    whole, training = time.monotonic() - began, time.monotonic() - steps_began

    draw, kills, finished = random.Random(5), 0, 0
    while kills < KILLS:
        # A part of the training a kill: the same run must survive many.
        said = kill_once(small, killed, draw, whole, training / 2)
        kills += said.startswith("exit -9")
        print(f"kill {kills}: {said}")
        if said.startswith("exit 0"):  # it got through between two kills: compare, begin another
            assert same(end_state(unbroken), end_state(killed))
            finished += 1
            killed = tmp_path / f"killed{finished}"
    finish(small, killed)
    one, other = end_state(unbroken), end_state(killed)
    for part in one:
        assert same(one[part], other[part]), part
