"""A grid as text in four formats: aligned lines, Markdown, LaTeX (booktabs), CSV. Layout only."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence

from routerlab.report.grid import Grid

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "±": r"$\pm$",
    "−": "$-$",
    "<": "$<$",
    ">": "$>$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def latex(grid: Grid) -> str:
    r"""A `table` environment for the package booktabs; notes stand below the table.

    >>> print(latex(Grid("a & b", ["x", "%"], [["run_1", "<0.001"]])))
    \begin{table}
    \caption{a \& b}
    \begin{tabular}{lr}
    \toprule
    x & \% \\
    \midrule
    run\_1 & $<$0.001 \\
    \bottomrule
    \end{tabular}
    \end{table}
    """

    def line(cells: Sequence[str], bold: bool = False) -> str:
        shown = [f"\\textbf{{{_tex(c)}}}" if bold and c else _tex(c) for c in cells]
        return f"{' & '.join(shown)} \\\\"

    body = [line(row, i in grid.strong) for i, row in enumerate(grid.rows)]
    return "\n".join(
        [
            r"\begin{table}",
            f"\\caption{{{_tex(grid.title)}}}",
            f"\\begin{{tabular}}{{l{'r' * (len(grid.heads) - 1)}}}",
            r"\toprule",
            line(grid.heads),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *(f"\\par\\footnotesize {_tex(note)}" for note in grid.notes),
            r"\end{table}",
        ]
    )


def comma_separated(grid: Grid) -> str:
    r"""Heads and rows alone, for a spreadsheet or a script.

    >>> comma_separated(Grid("t", ["a", "b"], [["x, y", "1"]]))
    'a,b\n"x, y",1'
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(grid.heads)
    writer.writerows(grid.rows)
    return out.getvalue().rstrip("\n")


FORMATS: Mapping[str, Callable[[Grid], str]] = {
    "text": Grid.plain,
    "markdown": Grid.markdown,
    "latex": latex,
    "csv": comma_separated,
}
"""What `--format` may name."""


def _tex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)
