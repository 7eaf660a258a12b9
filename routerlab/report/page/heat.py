"""Heat maps as SVG: rows of categories, columns of actions, a number in each cell. Drawing only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from routerlab.report.page.figures import Heat
from routerlab.report.page.svg import SIGN_WIDTH, drawing, tag

CELL, ROW = 50.0, 25.0
FAINTEST = 0.06
"""Share of the strongest colour below which a cell has no colour."""


def gain_map(heat: Heat) -> str:
    """Points that each tool would add to direct: gains in one colour, losses in another."""

    def shade(value: float) -> tuple[str, float]:
        return ("good" if value > 0 else "bad"), min(1.0, abs(value) / 0.5)

    return _map(heat, shade, _signed, "What each tool would add, by category")


def _signed(value: float) -> str:
    """Points with their sign, and none on a nought.

    >>> _signed(0.251), _signed(-0.001)
    ('+25', '0')
    """
    points = round(100 * value)
    return f"{points:+d}" if points else "0"


def call_map(heat: Heat) -> str:
    """Share of questions on which the router takes each action."""
    return _map(heat, lambda v: ("called", v), lambda v: f"{100 * v:.0f}", "What the router takes")


def _map(
    heat: Heat,
    shade: Callable[[float], tuple[str, float]],
    write: Callable[[float], str],
    says: str,
) -> str:
    left = max((len(name) for name in heat.rows), default=4) * SIGN_WIDTH + 52
    longest = max((len(name) for name in heat.columns), default=4) * SIGN_WIDTH
    slanted = longest > CELL - 6
    top = 24 + (longest * 0.62 if slanted else 0)
    width = left + CELL * len(heat.columns) + (longest * 0.7 if slanted else 4)
    parts = [tag("text", text="n", x=left - 12, y=top - 8, class_="tick end")]
    for column, name in enumerate(heat.columns):
        x = left + CELL * (column + 0.5)
        turned = f"rotate(-38 {x:.1f} {top - 8:.1f})" if slanted else None
        anchor = "" if slanted else " middle"
        parts.append(
            tag("text", text=name, x=x, y=top - 8, transform=turned, class_=f"tick{anchor}")
        )
    for row, name in enumerate(heat.rows):
        y = top + ROW * row
        parts.append(tag("text", text=name, x=0, y=y + 17, class_="label"))
        parts.append(
            tag("text", text=str(heat.sizes[row]), x=left - 12, y=y + 17, class_="tick end")
        )
        for column, value in enumerate(heat.values[row]):
            kind, strength = shade(float(value))
            place: dict[str, Any] = {"x": left + CELL * column + 1, "y": y + 1}
            faint = strength < FAINTEST
            said = tag("title", text=f"{heat.columns[column]} on {name}: {write(float(value))}")
            cell = tag(
                "rect",
                said,
                **place,
                width=CELL - 2,
                height=ROW - 2,
                rx=3,
                class_="none" if faint else kind,
                fill_opacity=None if faint else round(0.12 + 0.78 * strength, 3),
            )
            ink = "cell middle" + (" faint" if faint else " on" if strength > 0.6 else "")
            x = left + CELL * (column + 0.5)
            parts += [cell, tag("text", text=write(float(value)), x=x, y=y + 17, class_=ink)]
    return drawing(max(width, 300.0), top + ROW * len(heat.rows) + 4, *parts, says=says)
