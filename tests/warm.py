"""Processes that begin with the heavy half imported, for tests that need several of their own.

Importing torch, Lightning and transformers takes longer than a small run.
"""

from __future__ import annotations

import os
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

WARM = get_context("forkserver")
WARM.set_forkserver_preload(
    [
        "routerlab.experiment",
        "routerlab.lightning_cli",
        "routerlab.reasoners.transformers_reasoner",
        "peft",
        "transformers.models.qwen2_5_omni.modeling_qwen2_5_omni",
    ]
)


def says_to(log: Path) -> None:
    """From here on, all that this process says is added to a file."""
    to = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(to, 1)
    os.dup2(to, 2)
    os.close(to)


def ended(process: BaseProcess, seconds: float) -> int | None:
    """The exit code of a process that ends by itself within this time; else None."""
    process.join(seconds)
    return process.exitcode
