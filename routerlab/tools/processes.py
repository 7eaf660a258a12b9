"""Starting, weighing and ending a tool's process together with everything it started.

Processes are found by a random mark in their environment, which children inherit: so a grandchild
that left its group, or whose parent has crashed, is found too. One that wipes its own environment
after leaving is not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import psutil

from routerlab.tools import compiled

MARK = "ROUTERLAB_TOOL_WORKER"
"""Environment variable that every process of a pool carries."""

_SINGLE = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA")


def start(arguments: Sequence[str], mark: str, keep_fd: int) -> subprocess.Popen[bytes]:
    """A process of its own session, one thread a library, silent, keeping one file descriptor.

    Its compiled code lies in a folder that is the workers' alone (`compiled`).
    """
    env = {**os.environ, MARK: mark, **{f"{name}_NUM_THREADS": "1" for name in _SINGLE}}
    env[compiled.VARIABLE] = str(compiled.folder())
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=env,
        pass_fds=(keep_fd,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def marked(mark: str) -> Iterator[psutil.Process]:
    """Living processes of this user whose mark starts with `mark`, but not the caller."""
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK, "").startswith(mark):
                yield process
        except (psutil.Error, OSError):
            continue


def end(mark: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Kill everything under a mark, stopped first so that nothing forks away meanwhile."""
    for _ in range(5):
        found = list(marked(mark))
        for signal_number in (signal.SIGSTOP, signal.SIGKILL):
            for one in found:
                with contextlib.suppress(psutil.Error, OSError):
                    one.send_signal(signal_number)
        if process is not None:
            with contextlib.suppress(OSError):
                process.kill()
            process.wait()
        if not found:
            return
        time.sleep(0.01)


def weight_mb(pid: int) -> float:
    """Resident memory of a process and its children, in MiB; 0 if it is gone."""
    total = 0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total / 2**20


def death_note(process: subprocess.Popen[bytes]) -> str:
    """How an ended process ended: "SIGSEGV" or "exit code 3"."""
    try:
        code = process.wait(timeout=2.0)
    except subprocess.TimeoutExpired:
        return "closed its connection"
    if code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
