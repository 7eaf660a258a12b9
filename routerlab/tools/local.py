"""Runs tools in this very process: in a thread with a time limit, or as a plain call without any.

It stops where only another process could go on: what crashes here ends the run, and a thread that
hangs cannot be ended, so its tool is not called again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from routerlab.errors import ToolError
from routerlab.tools.base import Tool
from routerlab.tools.specs import ToolSpec
from routerlab.types import Clip, Observation


class LocalTools:
    """The tools of a recipe whose isolation is "thread" or "none".

    Args:
        tools: one a spec, built.
        timeout_s: limit of a call in a thread whose spec sets none.
    """

    def __init__(self, specs: Sequence[ToolSpec], tools: Sequence[Tool], timeout_s: float) -> None:
        pairs = [(s, t) for s, t in zip(specs, tools, strict=True) if s.isolation != "process"]
        self._tools = {spec.name: tool for spec, tool in pairs}
        self._limits = {s.name: s.timeout_s or timeout_s for s, _ in pairs if s.isolation != "none"}
        self._broken: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    def observe(self, name: str, clip: Clip, choices: Sequence[str]) -> Observation:
        """One tool's observation of one clip; a failure is in its `error`."""
        tool = self._tools[name]
        error = self._broken.get(name, "") or self._prepared(tool)
        if error:
            return _failed(tool, error)
        limit = self._limits.get(name)
        if limit is None:
            return _observed(tool, clip, choices)
        return self._in_thread(tool, clip, choices, limit)

    def _prepared(self, tool: Tool) -> str:
        """Set up outside any limit; "" or why that failed."""
        try:
            tool.prepare()
        # Whatever a tool's setup raises is that tool's error and nobody else's.
        except Exception as err:
            self._broken[tool.name] = f"exception: setup: {type(err).__name__}: {err}"[:500]
        return self._broken.get(tool.name, "")

    def _in_thread(
        self, tool: Tool, clip: Clip, choices: Sequence[str], limit: float
    ) -> Observation:
        seen: list[Observation] = []
        thread = threading.Thread(
            target=lambda: seen.append(_observed(tool, clip, choices)),
            name=f"tool-{tool.name}",
            daemon=True,
        )
        thread.start()
        thread.join(limit)
        if seen:
            return seen[0]
        self._broken[tool.name] = (
            f"timeout: no answer within {limit:g} s; its thread cannot be ended, so it is not "
            "called again"
        )
        return _failed(tool, self._broken[tool.name])


def _observed(tool: Tool, clip: Clip, choices: Sequence[str]) -> Observation:
    try:
        return tool(clip, choices)
    except ToolError as err:
        return _failed(tool, f"{err.kind}: {err}"[:500])


def _failed(tool: Tool, error: str) -> Observation:
    return Observation(tool.name, {}, "", tool.version, error)
