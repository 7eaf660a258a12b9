"""The folder in which tools keep numba's compiled code, filled by one process at a time.

Numba keeps a `guvectorize` function of librosa in two files, and the one names the other by a
number that depends on what the process had compiled before (numba issue 10128). Processes that
compile at the same time leave pairs that do not fit, and calling such a function is a SIGSEGV: in
every later process, too. So tools share no folder with other programs, and whoever prepares them
does so alone. The workers of a pool after the first find all of it there and write nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
_WAIT_S = 200.0
"""Longest wait for others, below the limit of a worker's start; then it goes on unguarded."""

_turn = threading.RLock()
_held = False


def folder() -> Path:
    """Apart for each Python and numba: another version would replace the index of this one."""
    try:
        numba = version("numba")
    except PackageNotFoundError:
        numba = "none"
    own = Path("routerlab") / f"{sys.implementation.cache_tag}-numba-{numba}"
    base = Path(os.environ.get(VARIABLE) or os.environ.get("XDG_CACHE_HOME") or _at_home())
    # The variable names it already in what a process of ours has started.
    return base if base.parts[-2:] == own.parts else base / own


def _at_home() -> Path:
    try:
        return Path.home() / ".cache"
    # In a container a user may have none.
    except RuntimeError:
        return Path(tempfile.gettempdir())


def use_folder() -> Path:
    """Have numba use the folder in this process; it looks for one when it is first imported."""
    place = folder()
    os.environ[VARIABLE] = str(place)
    return place


@contextlib.contextmanager
def alone(*, wait: bool = True) -> Iterator[None]:
    """Use the folder, and hold it against other processes that prepare tools, where possible.

    Args:
        wait: for them; not needed where the same tools have been prepared there just before.
    """
    global _held
    with _turn, contextlib.ExitStack() as stack:
        if _held:
            yield
            return
        place = use_folder()
        if wait:
            with contextlib.suppress(ImportError, OSError):
                _lock(place, stack)
        _held = True
        try:
            yield
        finally:
            _held = False


def _lock(place: Path, stack: contextlib.ExitStack) -> None:
    import fcntl

    place.mkdir(parents=True, exist_ok=True)
    file = stack.enter_context((place / "lock").open("w"))
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # By name: what a tool forked in setup holds the same lock until it ends.
            stack.callback(fcntl.flock, file, fcntl.LOCK_UN)
            return
        time.sleep(0.05)
