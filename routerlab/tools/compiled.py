"""The folder in which tool workers keep numba's compiled code, filled by one process at a time.

Numba keeps a `guvectorize` function of librosa in two files, and the one names the other by a
number that depends on what the process had compiled before (numba issue 10128). Processes that
compile at the same time leave pairs that do not fit, and calling such a function is a SIGSEGV: in
every later process, too. So workers share no folder with other programs, and the first worker of a
pool prepares its tools alone: those after it find all of it there and write nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
_WAIT_S = 200.0
"""Longest wait for other pools, below the limit of a worker's start; then it goes on unguarded."""


def folder() -> Path:
    """Apart for each Python and numba: another version would replace the index of this one."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    base = os.environ.get(VARIABLE) or cache
    try:
        numba = version("numba")
    except PackageNotFoundError:
        numba = "none"
    return Path(base) / "routerlab" / f"{sys.implementation.cache_tag}-numba-{numba}"


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold this process's folder against other pools' first workers, where the system can."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, KeyError, OSError):
            import fcntl

            place = Path(os.environ[VARIABLE])
            place.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((place / "lock").open("w"))
            deadline = time.monotonic() + _WAIT_S
            while time.monotonic() < deadline:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # By name: what a tool forked in setup holds the same lock until it ends.
                    stack.callback(fcntl.flock, file, fcntl.LOCK_UN)
                    break
                time.sleep(0.05)
        yield
