"""Tools that installed packages offer through entry points: named at once, imported when asked for.

It stops at loading a class: a plug-in that cannot be loaded is remembered with its reason, and
disturbs nobody who does not ask for it.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from routerlab.errors import UserError
from routerlab.tools.base import Tool
from routerlab.types import ToolCard

ENTRY_POINTS = "routerlab.tools"
"""Group under which an installed package offers tools: `name = module:Class`."""


def offered() -> dict[str, EntryPoint]:
    """Every plug-in by name; nothing of it is imported."""
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def load(point: EntryPoint) -> type[Tool]:
    """The tool's class.

    Raises:
        UserError: whatever its import raised, or why it is no tool of that name.
    """
    where = f"tools: the plug-in {point.name!r} ({point.value}{_origin(point)})"
    try:
        found = point.load()
    # A foreign module may raise anything, even SystemExit: only what asked for it may suffer.
    except (Exception, SystemExit) as err:
        raise UserError(f"{where} cannot be loaded: {type(err).__name__}: {err}") from err
    if not (isinstance(found, type) and issubclass(found, Tool)):
        raise UserError(f"{where} is no subclass of routerlab.Tool.")
    card = getattr(found, "card", None)
    if not isinstance(card, ToolCard) or card.name != point.name:
        named = repr(card.name) if isinstance(card, ToolCard) else "missing"
        raise UserError(f"{where}: its card's name is {named}. Give it the plug-in's name.")
    return found


def _origin(point: EntryPoint) -> str:
    return f" of {point.dist.name} {point.dist.version}" if point.dist else ""
