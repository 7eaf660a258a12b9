"""Two processes train as one does: the same gradients, centring and figures."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import learner_toy as toy
import pytest
import torch
from tiny import tiny_folder

pytestmark = toy.lightning_warnings


def two_ranks(folder: str, out: Path) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = Path(__file__).with_name("ddp_run.py")
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(script), folder, str(out)],
        env=os.environ | {"MASTER_PORT": port, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.timeout(220)
def test_two_processes_give_the_gradients_of_one_and_fail_as_one(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "lalm")
    done = two_ranks(folder, tmp_path)
    two = torch.load(tmp_path / "rank0.pt", weights_only=True)

    module, one = toy.module(folder), toy.Gradients()
    trainer = toy.trainer(tmp_path, callbacks=[one])
    trainer.fit(module, datamodule=toy.ToyData(questions=20, batch_size=7))
    assert torch.allclose(module.policy.centre, two["centre"], atol=1e-5)
    for step, (ours, theirs) in enumerate(zip(one.steps, two["gradients"], strict=True)):
        for name, gradient in ours.items():
            # Adam makes a little more of differences in the last bit at every step.
            near = torch.allclose(gradient, theirs[name], atol=2e-6 * 10**step, rtol=1e-3)
            assert near, (step, name)
    for name, value in two["val"].items():
        assert torch.allclose(value, trainer.callback_metrics[name], equal_nan=True), name

    # The script's last act is that rank 1 fails while rank 0 waits for it.
    assert done.returncode != 0
    assert "rank one has had enough" in done.stderr
