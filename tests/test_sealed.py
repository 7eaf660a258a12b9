"""A whole small run in a sealed box: sockets refused in every process, a secret in the environment.

The run is the reduced quickstart with an untrained LALM, so its figures mean nothing; that it goes
through, what it leaves and what it does not leave is what is looked at.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny import tiny_folder

from routerlab.cli import main
from routerlab.commands.runs import Run

CANARY = "sk-canary-7f3a91c5d2"

# Python imports this module at the start of every process, the tools' workers included.
SEAL = """
import socket

def refuse(*args, **kwargs):
    raise AssertionError(f"a sealed run reached for the network: {args[1:]}")

inner = socket.socket.connect
def connect(self, address):
    return inner(self, address) if self.family == socket.AF_UNIX else refuse(self, address)

socket.socket.connect = connect
socket.getaddrinfo = refuse
"""

SMALL = (
    "trainer.max_epochs=1",
    *("data.train=24", "data.val=8", "data.test=16", "data.ood=8"),
    *("data.controls=false", "data.crossfit=false", "data.workers=1"),
)
REASONER = "routerlab.reasoners.transformers_reasoner.TransformersReasoner"


@dataclass(frozen=True)
class Sealed:
    home: Path
    run: Run
    printed: str


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    home = tmp_path_factory.mktemp("sealed")
    (home / "seal").mkdir()
    (home / "seal" / "sitecustomize.py").write_text(SEAL)
    lalm = tiny_folder(home / "lalm")
    chosen = [
        f"model.policy.lalm={lalm}",
        f"data.reasoner={REASONER}",
        f"data.reasoner.lalm={lalm}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "routerlab.cli", "fit", "quickstart_reduced", *SMALL, *chosen],
        cwd=home,
        env={
            **os.environ,
            "PYTHONPATH": str(home / "seal"),
            **dict.fromkeys(("OPENAI_API_KEY", "HF_TOKEN", "MY_SECRET"), CANARY),
        },
        capture_output=True,
        text=True,
        timeout=230,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Sealed(home, Run(home / "runs/quickstart_reduced/001"), done.stdout + done.stderr)


def test_the_run_is_whole(sealed: Sealed) -> None:
    assert sealed.run.state["status"] == "finished"
    assert sealed.run.checkpoint() is not None
    left = {path.name for path in sealed.run.folder.iterdir()}
    assert {"recipe.yaml", "results.json", "predictions.jsonl", "manifest.json"} <= left
    results = json.loads((sealed.run.folder / "results.json").read_text())
    assert results["counters"]["reasoner_calls"] > 0
    assert "Traceback" not in sealed.printed


def test_the_secret_is_nowhere(sealed: Sealed) -> None:
    assert CANARY not in sealed.printed
    written = [p for p in (sealed.home / "runs").rglob("*") if p.is_file() and p.suffix != ".wav"]
    assert len(written) > 10
    assert not [path for path in written if CANARY.encode() in path.read_bytes()]


def test_the_run_answers(sealed: Sealed, monkeypatch, capsys) -> None:
    monkeypatch.chdir(sealed.home)
    sound = next((sealed.home / "runs/data").rglob("test-*.wav"))
    words = ["--question", "Which note is played?", "--choice", "C4", "--choice", "E4", "--json"]
    capsys.readouterr()
    assert main(["ask", "--audio", str(sound), *words]) == 0
    answered = json.loads(capsys.readouterr().out)
    assert answered["answer"] in ("C4", "E4")
    assert answered["action"] in answered["probabilities"]
    assert sum(answered["probabilities"].values()) == pytest.approx(1, abs=1e-4)
