"""Small functions that write SVG: elements with escaped text, scales, ticks and axes.

Colours, sizes of type and line widths are the style sheet's: a drawing has classes only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

SIGN_WIDTH = 6.8
"""About the width of a sign of the plots' type, in units of a drawing."""

GROWTH = 1.15
"""How much larger than its units a drawing is where there is room: the same type in all of them."""


def tag(name: str, *inside: str, text: str = "", **attributes: Any) -> str:
    """One element; `text` and attributes are escaped, `inside` is SVG already.

    >>> tag("text", text="<b>", x=1.234, text_anchor="end", class_="a b")
    '<text x="1.23" text-anchor="end" class="a b">&lt;b&gt;</text>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    content = "".join(inside) + escape(text)
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def drawing(width: float, height: float, *inside: str, says: str) -> str:
    """A whole drawing that grows with its place.

    Args:
        says: what it shows, for who cannot see it.
    """
    return tag(
        "svg",
        *inside,
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        width=width * GROWTH,
        role="img",
        aria_label=says,
        class_="plot",
    )


@dataclass(frozen=True)
class Scale:
    """From values to places along an axis, linearly."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value.

        >>> Scale(0, 10, 100, 200)(2.5)
        125.0
        """
        span = self.high - self.low or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values between two ends, at steps of 1, 2, 2.5 or 5 times a power of ten.

    >>> ticks(0.0, 1.0), ticks(0.62, 0.98, 4)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.7, 0.8, 0.9])
    """
    if not high > low:
        return [low]
    rough = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) + 0.0 for i in range(first, last + 1)]


@dataclass(frozen=True)
class Frame:
    """The field of a plot with its two scales."""

    x: Scale
    y: Scale

    def axes(
        self,
        x_ticks: Sequence[tuple[float, str]],
        y_ticks: Sequence[tuple[float, str]],
        x_name: str = "",
        y_name: str = "",
    ) -> str:
        """Grid lines, the ticks' texts and the axes' names."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        parts = []
        for value, said in y_ticks:
            at = self.y(value)
            parts.append(tag("line", x1=left, x2=right, y1=at, y2=at, class_="grid"))
            parts.append(tag("text", text=said, x=left - 7, y=at + 4, class_="tick end"))
        for value, said in x_ticks:
            at = self.x(value)
            parts.append(tag("line", x1=at, x2=at, y1=bottom, y2=bottom + 4, class_="grid"))
            parts.append(tag("text", text=said, x=at, y=bottom + 18, class_="tick middle"))
        parts.append(tag("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
        middle = (left + right) / 2
        parts.append(tag("text", text=x_name, x=middle, y=bottom + 37, class_="name middle"))
        parts.append(tag("text", text=y_name, x=0, y=top - 11, class_="name"))
        return "".join(parts)

    def path(self, xs: Iterable[float], ys: Iterable[float], class_: str) -> str:
        """A line through points."""
        places = [f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in zip(xs, ys, strict=True)]
        return tag("path", d="M" + "L".join(places), class_=class_) if places else ""


def frame(
    width: float,
    height: float,
    x: tuple[float, float],
    y: tuple[float, float],
    left: float = 44,
    right: float = 14,
    top: float = 26,
    bottom: float = 44,
) -> Frame:
    """A field inside margins, y growing upwards."""
    return Frame(Scale(*x, left, width - right), Scale(*y, height - bottom, top))


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return escape(str(value))
