"""Blocks of the page as HTML: sections, tabs, tiles, tables, figures, and what was run.

Every text is escaped here; `inside` and `body` are HTML already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from routerlab.report.grid import Grid
from routerlab.report.page.run_files import RunFiles


def section(name: str, title: str, body: str) -> str:
    """A part of the page that the navigation leads to."""
    return f'<section id="{escape(name)}"><h2>{escape(title)}</h2>\n{body}</section>'


def sentences(said: Sequence[str]) -> str:
    """The verdict: the first sentence large, the others below it."""
    if not said:
        return ""
    first, *others = (escape(line) for line in said)
    rest = "".join(f"<li>{line}</li>" for line in others)
    return f'<p class="lead-line">{first}</p>' + (f'<ul class="said">{rest}</ul>' if rest else "")


def tiles(facts: Sequence[tuple[str, str, str]]) -> str:
    """Large figures: a name, the figure, and a line below it."""
    each = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
        f'<dd class="under">{escape(below)}</dd></div>'
        for name, value, below in facts
    )
    return f'<dl class="tiles">{"".join(each)}</dl>'


def tabs(panels: Sequence[tuple[str, str, str]]) -> str:
    """Panels of which one is seen; all of them where no script runs."""
    heads = "".join(
        f'<button type="button" role="tab" id="tab-{escape(name)}" data-split="{escape(name)}" '
        f'aria-controls="panel-{escape(name)}" aria-selected="false">{escape(title)}</button>'
        for name, title, _ in panels
    )
    bodies = "".join(
        f'<div role="tabpanel" id="panel-{escape(name)}" aria-labelledby="tab-{escape(name)}">'
        f"{body}</div>"
        for name, _, body in panels
    )
    bar = f'<div class="tabs" role="tablist" aria-label="Split">{heads}</div>'
    return (bar if len(panels) > 1 else "") + bodies


def figure(drawn: str, title: str, says: str = "", wide: bool = False) -> str:
    """A plot with its title and a line on how to read it."""
    if not drawn:
        return ""
    below = f"<p>{escape(says)}</p>" if says else ""
    kind = ' class="wide"' if wide else ""
    return (
        f"<figure{kind}><figcaption><h3>{escape(title)}</h3>{below}</figcaption>"
        f'<div class="scroll">{drawn}</div></figure>'
    )


def table(grid: Grid, kind: str = "figures") -> str:
    """A grid with its title, notes below; columns of `figures` are aligned at their right."""
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in grid.heads)
    rows = "".join(_row(row, index in grid.strong) for index, row in enumerate(grid.rows))
    notes = "".join(f"<p>{escape(note)}</p>" for note in grid.notes)
    below = f'<div class="notes">{notes}</div>' if notes else ""
    return (
        f'<div class="table"><h3>{escape(grid.title)}</h3><div class="scroll" tabindex="0">'
        f'<table class="{kind}"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        f"</div>{below}</div>"
    )


def folded(title: str, inside: str) -> str:
    """A part that is closed until it is wanted."""
    return f"<details><summary>{escape(title)}</summary>{inside}</details>"


def what_was_run(run: RunFiles) -> str:
    """Seed, versions, hashes and the whole recipe."""
    grids = [
        Grid("Run", ("what", "value"), list(_identity(run))),
        Grid("Versions", ("package", "version"), list(_versions(run))),
        Grid("Tools", ("tool", "version"), _pairs(run.manifest.get("tools"))),
        Grid("Data, SHA-256", ("split", "file"), _pairs(run.manifest.get("data"))),
        Grid("Releases", ("split", "published file"), _pairs(run.manifest.get("releases"))),
    ]
    tables = "".join(table(grid, "plain") for grid in grids if grid.rows)
    recipe = f"<pre>{escape(run.recipe)}</pre>" if run.recipe else ""
    return f'<div class="pair">{tables}</div>' + (
        folded("The recipe, resolved", recipe) if recipe else ""
    )


def _row(cells: Sequence[str], strong: bool) -> str:
    first, *others = (escape(cell) for cell in cells)
    kind = ' class="strong"' if strong else ""
    rest = "".join(f"<td>{cell}</td>" for cell in others)
    return f'<tr{kind}><th scope="row">{first}</th>{rest}</tr>'


def _identity(run: RunFiles) -> Iterator[list[str]]:
    # The state's "recipe" is a name, the manifest's a hash.
    known = {**run.state, "recipe": "", **run.manifest}
    for key, name in (
        ("recipe", "recipe, SHA-256"),
        ("seed", "seed"),
        ("command", "command"),
        ("status", "status"),
        ("started", "started"),
        ("scorer", "scorer"),
        ("lalm", "reasoner's model"),
        ("router_lalm", "router's model"),
        ("predictable", "predictable map"),
    ):
        if known.get(key) not in (None, ""):
            yield [name, str(known[key])]


def _versions(run: RunFiles) -> Iterator[list[str]]:
    for key in ("routerlab", "python", "platform", "cores"):
        if run.manifest.get(key):
            yield [key, str(run.manifest[key])]
    yield from _pairs(run.manifest.get("packages"))


def _pairs(values: Mapping[str, object] | None) -> list[list[str]]:
    return [[str(key), str(value)] for key, value in (values or {}).items() if value]
