"""Finds a tool by name: the package's own, those of `@register_tool`, those of installed plug-ins.

It stops at classes and plain instances; named instances of a recipe are in `specs`.
"""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

from routerlab.errors import UserError, unknown
from routerlab.tools.base import Tool
from routerlab.types import ToolCard

ENTRY_POINTS = "routerlab.tools"
"""Group under which an installed package offers tools: `name = module:Class`."""

_BUILT_IN = {
    "pitch": "pitch",
    "chord": "harmony",
    "tempo": "rhythm",
    "onsets": "rhythm",
    "loudness": "levels",
    "segments": "levels",
    "brightness": "timbre",
    "quality": "timbre",
}
MAKERS = {"function": "function", "command": "command"}
"""Tools that are nothing without settings, with their modules: they run what a recipe names."""

_REGISTERED: dict[str, type[Tool]] = {}

AnyTool = TypeVar("AnyTool", bound=type[Tool])


def register_tool(cls: AnyTool) -> AnyTool:
    """Make a tool known under its card's name (a class decorator).

    Raises:
        UserError: no card, or another class has the name.
    """
    card = getattr(cls, "card", None)
    if not isinstance(card, ToolCard):
        raise UserError(f"tools: {cls.__name__} has no card; register_tool needs `card.name`.")
    holder = _REGISTERED.get(card.name)
    # The same file imported twice (a reload, a trusted path) brings the same class anew.
    if holder is not None and _place(holder) != _place(cls):
        raise UserError(
            f"tools: the name {card.name!r} of {_place(cls)} is taken by {_place(holder)}. "
            "Give the card another name."
        )
    _REGISTERED[card.name] = cls
    return cls


def known_tools() -> dict[str, type[Tool]]:
    """Every tool by name, the package's own first; not `MAKERS`."""
    _import_built_in()
    _import_plugins()
    others = (name for name in _REGISTERED if name not in _BUILT_IN and name not in MAKERS)
    order = [*_BUILT_IN, *others]
    return {name: _REGISTERED[name] for name in order}


def find_tool(name: str) -> type[Tool]:
    """The class of a name; UserError with the nearest spelling if there is none."""
    _import_built_in()
    if name in MAKERS:
        importlib.import_module(f"routerlab.tools.{MAKERS[name]}")
    elif name not in _REGISTERED:
        _import_plugins()
    if name not in _REGISTERED:
        raise UserError(unknown("tools: no tool", name, _REGISTERED))
    return _REGISTERED[name]


def load_tool(name: str, **settings: Any) -> Tool:
    """An instance of a known tool, ready to be called.

    >>> load_tool("pitch").card.unit
    'note name, cents and Hz'
    """
    return construct(find_tool(name), settings, name)


def construct(cls: type[Tool], settings: dict[str, Any], name: str) -> Tool:
    """`cls(**settings)`, where a wrong setting is a UserError that names the tool."""
    try:
        return cls(**settings)
    except (TypeError, ValueError) as err:
        raise UserError(f"tools: {name}: wrong settings {settings}: {err}") from err


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


@cache
def _import_built_in() -> None:
    for module in sorted(set(_BUILT_IN.values())):
        importlib.import_module(f"routerlab.tools.{module}")


@cache
def _import_plugins() -> None:
    for point in entry_points(group=ENTRY_POINTS):
        try:
            register_tool(point.load())
        # One broken plug-in must not take the other tools away.
        except Exception as err:
            warnings.warn(f"tools: plug-in {point.name} ({point.value}): {err}", stacklevel=2)
