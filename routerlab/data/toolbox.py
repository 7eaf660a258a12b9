"""The tools that a recipe names: from its entries to specs, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from routerlab.errors import UserError
from routerlab.policy.prompt import LABELS
from routerlab.tools.specs import ToolSpec, check_specs
from routerlab.trust import TrustedImports


def tool_problems(
    entries: Sequence[str | Mapping[str, Any]], trusted: Sequence[str] = ()
) -> list[str]:
    """What is wrong with a recipe's tools, one line each.

    Args:
        trusted: imported first, since that is where a registered tool may come from.
    """
    found = []
    try:
        TrustedImports(trusted).import_all()
    except UserError as error:
        found.append(str(error))
    if len(entries) >= len(LABELS):
        found.append(
            f"tools: {len(entries)} tools and direct need a label each, and there are "
            f"{len(LABELS)}. Name at most {len(LABELS) - 1}."
        )
    specs = []
    for entry in entries:
        try:
            specs.append(tool_spec(entry))
        except UserError as error:
            found.append(str(error))
    return found + list(check_specs(specs))


def tool_spec(entry: str | Mapping[str, Any]) -> ToolSpec:
    """A recipe's entry as a spec; a bare name stands for the tool of that name.

    Raises:
        UserError: for a key that a tool's entry does not have.
    """
    if isinstance(entry, str):
        return ToolSpec(name=entry)
    allowed = asdict(ToolSpec(name="")).keys()
    odd = sorted(set(entry) - set(allowed))
    if odd or not entry.get("name"):
        what = f"has no setting {odd[0]!r}" if odd else "needs a name"
        raise UserError(f"tools: the entry {dict(entry)} {what}. Allowed: {', '.join(allowed)}.")
    return ToolSpec(**entry)
