"""A whole small fit by the command line, for tests: a tiny LALM, two tools, few questions.

Started as a user starts it, in a process group of its own; what it says goes to a log. A run that
is to be killed is forked from a process that has imported what a fit imports: that takes longer
than the fit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import yaml
from tiny import tiny_folder
from warm import WARM, ended, says_to

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


def typed(recipe: Path, home: Path, seconds: float) -> int:
    """`routerlab fit` as typed in `home`, to its end, within this time; its exit code."""
    home.mkdir()
    with (home / "log.txt").open("ab") as log:
        command = [sys.executable, "-m", "routerlab.cli", "fit", str(recipe)]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        streams = {"stdout": log, "stderr": log}
        return subprocess.run(command, cwd=home, env=env, timeout=seconds, **streams).returncode


def start(recipe: Path, home: Path, *more: str) -> BaseProcess:
    """The same in a warm process; what it says is added to the log there."""
    home.mkdir(exist_ok=True)
    process = WARM.Process(target=_fit, args=(home, ["fit", str(recipe), *more]))
    process.start()
    return process


def _fit(home: Path, words: list[str]) -> None:
    from routerlab.cli import main

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
    os.chdir(home)
    says_to(home / "log.txt")
    sys.argv = ["routerlab", *words]
    sys.exit(main(words))


def said(home: Path) -> str:
    """All that was said in `home` so far."""
    log = home / "log.txt"
    return log.read_text(errors="replace") if log.exists() else ""


def family(process: BaseProcess) -> list[psutil.Process]:
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


def kill(process: BaseProcess) -> int:
    """End the first process alone, by SIGKILL; its children must end by themselves. Its code."""
    members = family(process)
    if process.exitcode is None:
        process.kill()
    code = ended(process, 60)
    assert code is not None, "SIGKILL did not end it"
    assert none_left(members), "a process outlived the run that started it"
    return code
