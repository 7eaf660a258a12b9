"""Finds a tool by name: the package's own, those of `@register_tool`, those of installed plug-ins.

It stops at classes and plain instances; named instances of a recipe are in `specs`.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any, TypeVar

from routerlab.errors import UserError, unknown
from routerlab.tools import plugins
from routerlab.tools.base import Tool
from routerlab.types import ToolCard

_BUILT_IN = {
    "pitch": "pitch",
    "chord": "harmony",
    "key": "key",
    "tempo": "rhythm",
    "onsets": "rhythm",
    "loudness": "levels",
    "segments": "levels",
    "brightness": "timbre",
    "quality": "timbre",
}
MAKERS = {
    "function": ("function", "Function"),
    "command": ("command", "Command"),
}
"""Tools that are nothing without settings (module and class): they run what a recipe names."""

MODELS: dict[str, tuple[str, str]] = {
    "speech_activity": ("speech_activity", "SpeechActivity"),
    "pitch_neural": ("pitch_neural", "PitchNeural"),
    "transcript": ("transcript", "Transcript"),
    "language": ("language", "Language"),
    "emotion": ("emotion", "Emotion"),
    "speakers": ("speakers", "Speakers"),
    "sound_events": ("sound_models", "SoundEvents"),
    "sound_match": ("sound_models", "SoundMatch"),
    "beats": ("beats", "Beats"),
}
"""Tools that stand on weights (module and class): named here, imported only when asked for."""

LAZY = {**MODELS, **MAKERS}
"""Every tool of the package whose module is not imported until it is asked for."""

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
    if card.name in LAZY:
        raise UserError(f"tools: the name {card.name!r} of {_place(cls)} is taken by routerlab's.")
    holder = _REGISTERED.get(card.name)
    # The same file imported twice (a reload, a trusted path) brings the same class anew.
    if holder is not None and _place(holder) != _place(cls):
        raise UserError(
            f"tools: the name {card.name!r} of {_place(cls)} is taken by {_place(holder)}. "
            "Give the card another name."
        )
    _REGISTERED[card.name] = cls
    return cls


def tool_names() -> list[str]:
    """Every name that a recipe may use; no plug-in is imported for it."""
    _import_built_in()
    return list(dict.fromkeys([*_BUILT_IN, *LAZY, *_REGISTERED, *plugins.offered()]))


def known_tools() -> dict[str, type[Tool]]:
    """Every tool by name, the package's own first; not `LAZY`, and no broken plug-in."""
    _import_built_in()
    broken_plugins()
    order = [*_BUILT_IN, *(name for name in _REGISTERED if name not in _BUILT_IN)]
    return {name: _REGISTERED[name] for name in order}


def broken_plugins() -> dict[str, str]:
    """Name -> reason of each installed plug-in that gives no tool; the others are loaded."""
    found = {}
    for name, point in plugins.offered().items():
        try:
            register_tool(plugins.load(point))
        except UserError as err:
            found[name] = str(err)
    return found


def find_tool(name: str) -> type[Tool]:
    """The class of a name, imported only now if it is a plug-in's.

    Raises:
        UserError: with the nearest spelling if there is none, or why a plug-in is broken.
    """
    _import_built_in()
    if name in LAZY:
        module, cls = LAZY[name]
        found: type[Tool] = getattr(importlib.import_module(f"routerlab.tools.{module}"), cls)
        return found
    if name not in _REGISTERED and name in (offered := plugins.offered()):
        register_tool(plugins.load(offered[name]))
    if name not in _REGISTERED:
        raise UserError(unknown("tools: no tool", name, tool_names()))
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
