"""`routerlab doctor [RECIPE…]`: what this machine offers, which recipes fit it; free of torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from routerlab.commands.parsing import Parser
from routerlab.commands.recipes import PACKAGED, find_recipe, read_recipe
from routerlab.doctor import Machine, examine
from routerlab.doctor_recipes import fit
from routerlab.doctor_torch import Finding, State
from routerlab.errors import UserError

QUICKSTART = "quickstart"

_STYLES = {"ok": "green", "note": "yellow", "fail": "bold red"}
_MACHINE: Mapping[State, str] = {"ok": "ok", "note": "note", "fail": "fail"}
_RECIPES: Mapping[State, str] = {"ok": "ok", "note": "no", "fail": "no"}


def main(words: Sequence[str]) -> int:
    """Run `routerlab doctor`; 0 where the recipes named (quickstart, if none) would run, else 1."""
    args = _parser().parse_args(words)
    named = [find_recipe(given) for given in args.recipes]
    shown = named or sorted(PACKAGED.glob("*.yaml"), key=lambda p: (p.stem != QUICKSTART, p.stem))
    console = Console()
    with console.status("importing torch, looking around"):
        machine = examine()
        recipes = [_fit(path, machine) for path in shown]
    wanted = recipes if named else [it for it in recipes if it.name == QUICKSTART]
    good = not machine.fails and all(it.state == "ok" for it in wanted)
    if args.json:
        print(_json(machine.findings, recipes, good))
        return 0 if good else 1
    if not named:  # what a recipe lacks is no fault of the machine's
        recipes = [_milder(it) for it in recipes]
    _show(console, "This machine", machine.findings, _MACHINE)
    _show(console, "Recipes", recipes, _RECIPES)
    console.print(_verdict(wanted, shown, good), markup=False, highlight=False, soft_wrap=True)
    return 0 if good else 1


def _parser() -> Parser:
    parser = Parser(
        prog="routerlab doctor",
        description=(
            "What this machine offers and which recipes would run on it. The exit code is 0 when "
            "those named would run (quickstart, if none is named), else 1."
        ),
    )
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="those that ship, if none")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    return parser


def _fit(path: Path, machine: Machine) -> Finding:
    try:
        return fit(path.stem, read_recipe(path), path.read_text(encoding="utf-8"), machine)
    except UserError as error:
        return Finding(path.stem, "fail", " ".join(str(error).split()))


def _json(machine: Sequence[Finding], recipes: Sequence[Finding], good: bool) -> str:
    found = {"machine": list(map(asdict, machine)), "recipes": list(map(asdict, recipes))}
    return json.dumps({"ok": good, **found}, indent=1)


def _milder(it: Finding) -> Finding:
    if it.state != "fail" or it.name == QUICKSTART:
        return it
    return Finding(it.name, "note", it.text, it.todo)


def _verdict(wanted: Sequence[Finding], paths: Sequence[Path], good: bool) -> str:
    names = ", ".join(it.name for it in wanted)
    if not good:
        return f"{names}: would not run here. The lines above say what to mend."
    given = QUICKSTART if len(paths) != len(wanted) else str(paths[0])
    return f"{names}: would run here. Next: routerlab fit {given}"


def _show(
    console: Console, title: str, findings: Sequence[Finding], words: Mapping[State, str]
) -> None:
    """A table on a terminal; elsewhere a line a finding, and one a thing to do."""
    if not console.is_terminal:
        console.print(_plain(title, findings, words), markup=False, highlight=False, soft_wrap=True)
        return
    table = Table(title=title, title_justify="left", show_header=False)
    for it in findings:
        todo = [Text(f"→ {line}", style="cyan") for line in it.todo.splitlines()]
        state = Text(words[it.state], style=_STYLES[it.state])
        table.add_row(state, it.name, Group(Text(it.text), *todo))
    console.print(table)


def _plain(title: str, findings: Sequence[Finding], words: Mapping[State, str]) -> str:
    width = max(len(it.name) for it in findings)
    lines = [title]
    for it in findings:
        lines.append(f"{words[it.state]:4}  {it.name:{width}}  {it.text}")
        lines += [f"{'':{width + 8}}-> {line}" for line in it.todo.splitlines()]
    return "\n".join([*lines, ""])
