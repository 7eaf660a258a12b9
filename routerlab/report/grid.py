"""A table of text that can be shown three ways: on a terminal, as plain lines, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Grid:
    """Rows of text under column heads; the first column reads left, the others right.

    Attributes:
        strong: indices of rows to be set off.
        notes: lines below the table.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: Sequence[int] = ()
    notes: Sequence[str] = field(default=())

    def show(self, console: Console | None = None) -> None:
        """Print: a drawn table on a terminal, aligned lines elsewhere."""
        out = console or Console()
        if not out.is_terminal:
            out.print(self.plain(), markup=False, highlight=False, soft_wrap=True)
            return
        table = Table(title=self.title, title_justify="left")
        for index, head in enumerate(self.heads):
            table.add_column(Text(head), justify="right" if index else "left")
        for index, row in enumerate(self.rows):
            cells = [Text(cell) for cell in row]
            table.add_row(*cells, style="bold" if index in self.strong else None)
        out.print(table)
        for note in self.notes:
            out.print(note, markup=False, highlight=False)

    def plain(self) -> str:
        """Aligned text.

        >>> print(Grid("t", ["a", "b"], [["x", "10"], ["long", "5"]]).plain())
        t
        a      b
        x     10
        long   5
        """
        lines = [self.heads, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = (
            [
                cell.rjust(width) if index else cell.ljust(width)
                for index, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            for line in lines
        )
        return "\n".join(
            [self.title, *("  ".join(cells).rstrip() for cells in aligned), *self.notes]
        )

    def markdown(self) -> str:
        """A Markdown table; bars in cells are escaped.

        >>> print(Grid("t", ["a", "b"], [["x", "1|0"]]).markdown())
        **t**
        <BLANKLINE>
        | a | b |
        |:--|--:|
        | x | 1\\|0 |
        """

        def line(cells: Sequence[str], bold: bool = False) -> str:
            escaped = [cell.replace("|", "\\|") for cell in cells]
            shown = [f"**{cell}**" if bold and cell else cell for cell in escaped]
            return f"| {' | '.join(shown)} |"

        rule = "|:--|" + "--:|" * (len(self.heads) - 1)
        body = [line(row, i in self.strong) for i, row in enumerate(self.rows)]
        notes = ["", *self.notes] if self.notes else []
        return "\n".join([f"**{self.title}**", "", line(self.heads), rule, *body, *notes])


def percent(value: float | None, digits: int = 1) -> str:
    """A share as per cent, a dash for what is unknown.

    >>> percent(0.1234), percent(None)
    ('12.3', '–')
    """
    return "–" if value is None or value != value else f"{100 * value:.{digits}f}"


def points(value: float | None) -> str:
    """A difference of shares as signed points.

    >>> points(0.05), points(-0.012)
    ('+5.0', '-1.2')
    """
    return "–" if value is None or value != value else f"{100 * value:+.1f}"


def p_value(value: float | None) -> str:
    """A p-value short enough for a table.

    >>> p_value(0.00001), p_value(0.0312), p_value(None)
    ('<0.001', '0.031', '–')
    """
    if value is None or value != value:
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
