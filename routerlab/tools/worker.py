"""The process in which tools run. It imports no torch and speaks JSON with its pool.

    pool -> worker   specs and limits, once; then some jobs a time: header (JSON), samples of each
    worker -> pool   {"at": "setup", "tool"} a tool, {"at": "ready", "failed"}; then, a step,
                     {"at": "result", "observations"} a step

Its pool enforces the limits from outside (`isolation`); the ones set here are a second net.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from routerlab.errors import ToolError, UserError
from routerlab.tools import compiled, processes
from routerlab.tools.base import Tool
from routerlab.tools.specs import ToolSpec, build_tool
from routerlab.trust import TrustedImports
from routerlab.types import Clip, Observation

BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from routerlab.tools.worker import main; main(int(sys.argv[2]))"
)
"""Run with `python -c`: the caller's main module, which may import torch, is never imported."""


def main(fd: int) -> None:
    """Serve the pool behind a file descriptor until it closes."""
    parent = os.getppid()
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    with Connection(fd) as pool, contextlib.suppress(EOFError, BrokenPipeError, ConnectionError):
        order = json.loads(pool.recv_bytes())
        try:
            with compiled.alone(wait=order["first"]):
                tools, failed = _prepare(order, pool)
        except UserError as err:
            _send(pool, {"at": "refused", "message": str(err)})
            return
        memory_mb = {s["name"]: s["memory_mb"] or order["memory_mb"] for s in order["specs"]}
        base = _mapped()
        allowed = {name: base + limit * 2**20 for name, limit in memory_mb.items()}
        _send(pool, {"at": "ready", "failed": failed})
        while True:
            _serve(pool, tools, allowed)


def _prepare(order: Mapping[str, Any], pool: Connection) -> tuple[dict[str, Tool], dict[str, str]]:
    """Build and set up the tools; one that cannot be set up is reported, not fatal."""
    trust = TrustedImports(order["trusted"])
    trust.import_all()
    tools: dict[str, Tool] = {}
    failed: dict[str, str] = {}
    for row in order["specs"]:
        tool = build_tool(ToolSpec(**row), trust)
        _send(pool, {"at": "setup", "tool": tool.name})
        try:
            tool.prepare()
            tools[tool.name] = tool
        except Exception as err:
            failed[tool.name] = f"exception: setup: {type(err).__name__}: {err}"
    return tools, failed


def _serve(pool: Connection, tools: Mapping[str, Tool], allowed: Mapping[str, int]) -> None:
    job = json.loads(pool.recv_bytes())
    clips = [
        Clip(np.frombuffer(bytearray(pool.recv_bytes()), dtype=np.float32), **row)
        for row in job["clips"]
    ]
    for name, places, limit_s in job["steps"]:
        _limit_memory(allowed[name])
        # If the pool is gone and a tool holds the interpreter, the kernel ends it.
        signal.setitimer(signal.ITIMER_REAL, 1.5 * limit_s + 5.0)
        given = [(clips[at], tuple(job["choices"][at])) for at in places]
        observations = observe(tools[name], given)
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        _send(pool, {"at": "result", "observations": [asdict(o) for o in observations]})


def observe(tool: Tool, given: Sequence[tuple[Clip, tuple[str, ...]]]) -> list[Observation]:
    """One observation a (clip, choices), errors included; in one batch, or else one by one."""
    if len(given) > 1:
        with contextlib.suppress(ToolError):
            return tool.call_many([clip for clip, _ in given], [seen for _, seen in given])
    return [_observe_one(tool, clip, choices) for clip, choices in given]


def _observe_one(tool: Tool, clip: Clip, choices: tuple[str, ...]) -> Observation:
    start = time.perf_counter()
    try:
        return tool(clip, choices)
    except ToolError as err:
        # Bounded: an exception's text may quote a whole array.
        error = f"{err.kind}: {err}"[:500]
        spent = time.perf_counter() - start
        return Observation(tool.name, {}, "", tool.version, error, spent)


def _send(pool: Connection, message: Mapping[str, Any]) -> None:
    pool.send_bytes(json.dumps(message).encode())


def _mapped() -> int:
    """Bytes of address space in use."""
    import psutil

    return int(psutil.Process().memory_info().vms)


def _limit_memory(allowed: int) -> None:
    """Refuse address space beyond so many bytes, where the system can."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (allowed, most))


def _die_with(parent: int) -> None:
    """Leave nothing behind when the pool's process is killed."""
    while os.getppid() == parent:
        time.sleep(1.0)
    processes.end(os.environ.get(processes.MARK, "none"))
    os._exit(1)
