"""routerlab: learn when a frozen audio language model should call a tool.

Importing this package is light: the names below are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Tool": "routerlab.tools.base",
    "ToolCard": "routerlab.types",
    "register_tool": "routerlab.tools.registry",
    "load_tool": "routerlab.tools.registry",
    "load_clip": "routerlab.audio",
    "RelativeOutcomeReward": "routerlab.rewards",
    "RouterModule": "routerlab.module",
    "RouterDataModule": "routerlab.data.module",
    "RouterPolicy": "routerlab.policy.router",
}

if TYPE_CHECKING:
    from routerlab.audio import load_clip as load_clip
    from routerlab.data.module import RouterDataModule as RouterDataModule
    from routerlab.module import RouterModule as RouterModule
    from routerlab.policy.router import RouterPolicy as RouterPolicy
    from routerlab.rewards import RelativeOutcomeReward as RelativeOutcomeReward
    from routerlab.tools.base import Tool as Tool
    from routerlab.tools.registry import load_tool as load_tool
    from routerlab.tools.registry import register_tool as register_tool
    from routerlab.types import ToolCard as ToolCard

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'routerlab' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
