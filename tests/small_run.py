"""A whole small fit by the command line, for tests: a tiny LALM, two tools, few questions.

Started as a user starts it, in a process group of its own; what it says goes to a log.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import yaml
from tiny import tiny_folder

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
    """`routerlab fit` as typed in `home`; what it says is added to a log there."""
    home.mkdir(exist_ok=True)
    with (home / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "routerlab.cli", "fit", str(recipe), *more],
            cwd=home,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def said(home: Path) -> str:
    """All that was said in `home` so far."""
    log = home / "log.txt"
    return log.read_text(errors="replace") if log.exists() else ""


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A process and all that it started."""
    try:
        first = psutil.Process(process.pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def none_left(members: list[psutil.Process], seconds: float = 30.0) -> bool:
    """Whether all have ended, or do so in time; those that do not are ended here."""
    _, left = psutil.wait_procs(members, timeout=seconds)
    for process in left:
        process.kill()
    return not left


def kill(process: subprocess.Popen[bytes]) -> int:
    """End the first process alone, by SIGKILL; its children must end by themselves. Its code."""
    members = family(process)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    code = process.wait(timeout=60)
    assert none_left(members), "a process outlived the run that started it"
    return code
