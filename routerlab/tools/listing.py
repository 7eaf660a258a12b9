"""What `routerlab tools list` shows: every tool with its card and whether it can run here.

It stops at what is declared: nothing is set up, no weights are looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, distribution, metadata, requires
from typing import Any

from routerlab.tools.base import Tool
from routerlab.tools.registry import LAZY, broken_plugins, find_tool, known_tools

_OWN_LICENCE = "Apache-2.0"
_COLUMNS = ("tool", "measures", "unit", "stops at", "needs", "licence")


def rows() -> list[dict[str, Any]]:
    """One a tool: its card, `installed`, `install` (the command for what is missing), `problem`."""
    tools = {**known_tools(), **{name: find_tool(name) for name in LAZY}}
    found = [_row(name, tool) for name, tool in tools.items()]
    return found + [
        {"name": name, "installed": False, "install": "", "problem": reason}
        for name, reason in broken_plugins().items()
    ]


def text(listed: Sequence[dict[str, Any]]) -> str:
    """The rows for a terminal."""
    return "\n".join(line for row in listed for line in _lines(row))


def markdown(listed: Sequence[dict[str, Any]]) -> str:
    """The rows as a table; what is installed here is left out, so that it is the same anywhere."""
    table = [_COLUMNS, ("---",) * len(_COLUMNS)]
    for row in listed:
        if not row["problem"]:
            needs = ", ".join(f"`{need}`" for need in row["needs"]) or "nothing"
            sees = "; sees the options" if row["sees_choices"] else ""
            measures = f"{row['measures']}{sees}"
            cells = (f"`{row['name']}`", measures, row["unit"], row["stops_at"], needs)
            table.append((*cells, row["licence"]))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def own_names() -> list[str]:
    """The tools that come with routerlab, whatever else is installed."""
    own = [n for n, tool in known_tools().items() if tool.__module__.startswith("routerlab.")]
    return [*own, *LAZY]


def missing(needs: Iterable[str]) -> list[str]:
    """Those of a card's needs that are not installed."""
    return [need for need in needs if not all(map(_is_installed, _packages(need)))]


def pip_line(needs: Sequence[str]) -> str:
    """The command that installs them, by the extra that sets their versions; "" for nothing.

    >>> pip_line(["silero-vad", "routerlab[tools]"])
    'pip install "routerlab[tools]"'
    """
    wanted = dict.fromkeys(_quoted(_offered(need)) for need in needs)
    return f"pip install {' '.join(wanted)}" if wanted else ""


def _row(name: str, tool: type[Tool]) -> dict[str, Any]:
    card = tool.card
    own = tool.__module__.split(".")[0] == "routerlab"
    lacking = missing(card.needs)
    return {
        **asdict(card),
        "name": name,
        "licence": card.licence or (_OWN_LICENCE if own else "not said"),
        "installed": not lacking,
        "install": pip_line(lacking),
        "problem": "",
    }


def _lines(row: dict[str, Any]) -> list[str]:
    if row["problem"]:
        return [f"{row['name']}: broken", f"    {row['problem']}"]
    state = "installed" if row["installed"] else row["install"]
    needs = f" Needs {', '.join(row['needs'])}: {state}." if row["needs"] else ""
    sees = " Sees the options." if row["sees_choices"] else ""
    return [
        f"{row['name']}: {row['measures']} [{row['unit']}]",
        f"    stops at: {row['stops_at']}.{sees}{needs} {row['licence']}",
    ]


def _full(need: str) -> str:
    """A need as pip wants it: "tools" is an extra of routerlab if routerlab has one."""
    extras = metadata("routerlab").get_all("Provides-Extra") or []
    return f"routerlab[{need}]" if need in extras else need


def _offered(need: str) -> str:
    """The extra of routerlab that brings a package, or the need itself."""
    for line in requires("routerlab") or []:
        extra = re.search(r"""extra\s*==\s*["'](.+?)["']""", line)
        if extra and _name(line) == need:
            return f"routerlab[{extra[1]}]"
    return _full(need)


def _quoted(need: str) -> str:
    return f'"{need}"' if re.search(r"[^\w.-]", need) else need


def _packages(need: str) -> list[str]:
    """Names of the distributions behind a need."""
    extra = re.fullmatch(r"routerlab\[(.+)\]", _full(need))
    if extra is None:
        return [_name(need)]
    marked = re.compile(rf"""extra\s*==\s*["']{re.escape(extra[1])}["']""")
    return [_name(line) for line in requires("routerlab") or [] if marked.search(line)]


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
