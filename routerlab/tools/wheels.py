"""Packages that hold weights or networks for a tool: which version, and where its files are.

Nothing is imported for it. It stops at files; what is in them is each tool's own.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from routerlab.errors import UserError

INSTALL = 'Run: pip install "routerlab[tools]"'


def wheel_mark(package: str) -> str:
    """Name and version, which is the revision of its weights: "silero-vad 6.2.3".

    Raises:
        UserError: it is not installed.
    """
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        raise UserError(f"tools: {package} is not installed. {INSTALL}") from None


def wheel_file(package: str, inside: str) -> Path:
    """A file of an installed package (`-` read as `_` in its module's name), if it has it.

    Raises:
        UserError: the package is not installed, or it is a version without that file.
    """
    installed = wheel_mark(package)
    # Found, not imported: importing such packages brings torch and sets its threads.
    spec = find_spec(package.replace("-", "_"))
    folder = Path((spec.submodule_search_locations or [""])[0] if spec else "")
    if not (folder / inside).is_file():
        raise UserError(f"tools: {installed} has no {inside}, which is needed here. {INSTALL}")
    return folder / inside
