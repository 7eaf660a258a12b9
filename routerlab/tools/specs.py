"""The tools of a recipe: named instances with settings, checked together, then built.

The same tool under two names with two settings is two actions. A spec is data; building it is the
only place where a recipe's class is imported.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from routerlab.errors import UserError, unknown
from routerlab.tools.base import Tool
from routerlab.tools.registry import construct, find_tool, tool_names
from routerlab.trust import TrustedImports
from routerlab.types import ALL_OUTPUTS, DIRECT, ToolCard

ISOLATION = ("process", "thread", "none")
"""Where a tool may run."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class ToolSpec:
    """One tool of a recipe.

    Attributes:
        name: the action's name.
        tool: a registered tool's name; the spec's own name if neither this nor `class_path` is set.
        class_path: "module.Class" of a trusted module, instead of `tool`.
        settings: keyword arguments of the tool.
        isolation: where it runs. "process": a worker that is ended at its limit. "thread": a thread
            of this process; at its limit it is given up and not called again. "none": right here,
            without limits.
        timeout_s: limit of one call in seconds; None for the pool's.
        memory_mb: MiB that a call may take; None for the pool's. Held for "process" only.
    """

    name: str
    tool: str = ""
    class_path: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    isolation: str = "process"
    timeout_s: float | None = None
    memory_mb: int | None = None


def check_specs(specs: Sequence[ToolSpec]) -> list[str]:
    """Every problem of a recipe's tools that can be told without importing their classes."""
    problems: list[str] = []
    for name, times in Counter(spec.name for spec in specs).items():
        if times > 1:
            problems.append(
                f"tools: {times} tools are named {name!r}. Give each its own name (and `tool:` "
                "for what it is)."
            )
        if name in (DIRECT, ALL_OUTPUTS):
            problems.append(f"tools: {name!r} is not a tool's name: it is an action of its own.")
        elif not _NAME.fullmatch(name):
            problems.append(
                f"tools: {name!r} is not a name. Allowed: a letter, then up to 39 letters, digits, "
                "'_' or '-'."
            )
    known = tool_names()
    for spec in specs:
        problems += _limit_problems(spec)
        wanted = spec.tool or spec.name
        if spec.tool and spec.class_path:
            problems.append(f"tools: {spec.name}: give `tool` or `class_path`, not both.")
        elif not spec.class_path and wanted not in known:
            problems.append(unknown("tools: no tool", wanted, known))
    return problems


def _limit_problems(spec: ToolSpec) -> list[str]:
    problems = []
    if spec.isolation not in ISOLATION:
        problems.append(
            f"tools: {spec.name}: isolation is {spec.isolation!r}. Allowed: {', '.join(ISOLATION)}."
        )
    for key in ("timeout_s", "memory_mb"):
        limit = getattr(spec, key)
        if limit is not None and (isinstance(limit, str) or not limit > 0):
            problems.append(f"tools: {spec.name}: {key} is {limit!r}. Give a number above 0.")
    return problems


def build_tool(spec: ToolSpec, trust: TrustedImports) -> Tool:
    """The instance of a spec, under the spec's name; `setup` has not run.

    Raises:
        UserError: unknown, not trusted, not a tool, or wrong settings.
    """
    cls = _tool_class(spec, trust)
    tool = construct(cls, dict(spec.settings), spec.name)
    tool.name = spec.name
    tool.bind(trust)
    return tool


def instance_card(tool: Tool, spec: ToolSpec) -> ToolCard:
    """The card under the instance's name; settings are told, or two instances would read alike."""
    settings = spec.settings if tool.tells_settings else {}
    told = ", ".join(f"{key} {value}" for key, value in settings.items())
    measures = f"{tool.card.measures} ({told})" if told else tool.card.measures
    return replace(tool.card, name=tool.name, measures=measures)


def _tool_class(spec: ToolSpec, trust: TrustedImports) -> type[Tool]:
    if not spec.class_path:
        return find_tool(spec.tool or spec.name)
    cls = trust.resolve(spec.class_path)
    if not issubclass(cls, Tool):
        raise UserError(f"tools: {spec.class_path} is not a Tool. Subclass routerlab.Tool.")
    if inspect.isabstract(cls):
        raise UserError(f"tools: {spec.class_path} has no run(self, clip). Add it.")
    return cls
