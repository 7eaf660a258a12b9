"""Tools: small measurements of a clip, each with a card that says where it stops.

`base` is what a tool is, `registry` finds one by name, `isolation` runs many in other processes.
Nothing here imports torch.
"""

from __future__ import annotations

from routerlab.tools.base import Tool
from routerlab.tools.check import check_tool
from routerlab.tools.registry import known_tools, load_tool, register_tool
from routerlab.types import Observation, ToolCard

__all__ = [
    "Observation",
    "Tool",
    "ToolCard",
    "check_tool",
    "known_tools",
    "load_tool",
    "register_tool",
]
