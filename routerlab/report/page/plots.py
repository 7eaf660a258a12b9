"""The page's plots: policies, fixes and breaks, curves of training, calibration, risk and coverage.

Figures in, SVG text out; heat maps are in `heat`. Names come from data and are escaped by `svg`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routerlab.report.page.figures import Bin, Floats
from routerlab.report.page.svg import SIGN_WIDTH, Frame, drawing, frame, tag, ticks

WIDTH = 440.0
CURVE_WIDTH = 300.0


def percents(low: float, high: float, about: int = 5) -> list[tuple[float, str]]:
    """Ticks of shares, in per cent.

    >>> percents(0.6, 0.7, 2)
    [(0.6, '60'), (0.65, '65'), (0.7, '70')]
    """
    return [(v, f"{100 * v:.4g}") for v in ticks(low, high, about)]


# --- policies ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dot:
    """One policy: where it stands, its name ("" for none), and how it is drawn."""

    calls: float
    accuracy: float
    name: str
    kind: str


def policies(dots: Sequence[Dot]) -> str:
    """Accuracy against the share of questions with a call, a dot a policy."""
    heights = [dot.accuracy for dot in dots]
    low, high = _padded(min(heights), max(heights))
    field = frame(WIDTH, 330, (0.0, 1.0), (low, high))
    x_ticks, y_ticks = percents(0, 1), percents(low, high)
    parts = [field.axes(x_ticks, y_ticks, "questions with a tool call, %", "accuracy, %")]
    for dot in sorted(dots, key=lambda it: it.kind == "routed"):
        said = f"{dot.name}: {100 * dot.accuracy:.1f} % right, {100 * dot.calls:.1f} % called"
        place: dict[str, Any] = {"cx": field.x(dot.calls), "cy": field.y(dot.accuracy)}
        size = {"routed": 6.5, "tool": 2.5}.get(dot.kind, 4.5)
        parts.append(tag("circle", tag("title", text=said), **place, r=size, class_=dot.kind))
    named = [dot for dot in dots if dot.kind != "tool"]
    parts += [_label(field, *it) for it in placed(field, named, dots)]
    return drawing(WIDTH, 330, *parts, says="Accuracy against call rate of every policy")


Box = tuple[float, float, float, float]


def placed(
    field: Frame, named: Sequence[Dot], dots: Sequence[Dot]
) -> Iterator[tuple[Dot, float, float, str]]:
    """A place for each name that covers no dot and no other name, the router's first.

    A name that fits nowhere is left out: the dot still says it when pointed at.
    """
    taken: list[Box] = [
        (
            field.x(d.calls) - 5,
            field.y(d.accuracy) - 5,
            field.x(d.calls) + 5,
            field.y(d.accuracy) + 5,
        )
        for d in dots
    ]
    for dot in sorted(named, key=lambda it: (it.kind != "routed", it.kind == "rival")):
        wide = len(dot.name) * SIGN_WIDTH * (1.15 if dot.kind == "routed" else 1.0)
        x, y = field.x(dot.calls), field.y(dot.accuracy)
        for dx, dy, anchor in _AROUND:
            start = x + dx - {"start": 0.0, "end": wide, "middle": wide / 2}[anchor]
            box = (start, y + dy - 10, start + wide, y + dy + 3)
            inside = box[0] >= field.x.start - 2 and box[2] <= field.x.end + 12
            inside = inside and box[1] >= field.y.end - 16 and box[3] <= field.y.start
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                yield dot, x + dx, y + dy, anchor
                break


_AROUND = [
    (sx * dx, dy, anchor)
    for dy in (4, -8, 15, -19, 26)
    for sx, dx, anchor in ((1, 9, "start"), (-1, 9, "end"), (1, 0, "middle"))
    if not (anchor == "middle" and dy == 4)
]
"""Where a name may stand about its dot, best places first."""


def _label(field: Frame, dot: Dot, x: float, y: float, anchor: str) -> str:
    parts = []
    far = abs(y - 4 - field.y(dot.accuracy)) > 14
    if far:
        ends: dict[str, Any] = {
            "x1": field.x(dot.calls),
            "y1": field.y(dot.accuracy),
            "x2": x,
            "y2": y - 4,
        }
        parts.append(tag("line", **ends, class_="lead"))
    classes = f"label {anchor}" + (" strong" if dot.kind == "routed" else "")
    return "".join([*parts, tag("text", text=dot.name, x=x, y=y, class_=classes)])


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


# --- fixes and breaks -------------------------------------------------------------------------


def fix_break(counts: Sequence[tuple[str, int, int]]) -> str:
    """Fixes to the right and breaks to the left, a row a tool.

    Args:
        counts: name, fixes, breaks of each row.
    """
    most = max([max(fix, broken) for _, fix, broken in counts] or [1]) or 1
    gutter = max(len(name) for name, *_ in counts) * SIGN_WIDTH + 18
    per = min(44.0, max(27.0, 280 / max(1, len(counts))))
    thick, height = 0.6 * per, per * len(counts) + 34
    # The longer side of each kind and its number must fit.
    left = max(broken for *_, broken in counts) / most
    right = max(fix for _, fix, _ in counts) / most
    unit = (WIDTH - gutter - 2 * 38) / ((left + right) or 1)
    zero = gutter + 38 + left * unit
    parts = [
        tag("text", text="breaks", x=zero - 8, y=14, class_="name end"),
        tag("text", text="fixes", x=zero + 8, y=14, class_="name"),
    ]
    for row, (name, fix, broken) in enumerate(counts):
        top = 24 + per * row
        base = top + thick / 2 + 8
        strong = " strong" if name == "router" else ""
        wide, back = fix / most * unit, broken / most * unit
        said = tag("title", text=f"{name}: {fix} fixed, {broken} broken")
        parts += [
            tag("text", text=name, x=0, y=base, class_=f"label{strong}"),
            tag("rect", said, x=zero, y=top + 4, width=wide, height=thick, class_="good"),
            tag("rect", said, x=zero - back, y=top + 4, width=back, height=thick, class_="bad"),
            tag("text", text=str(fix), x=zero + wide + 6, y=base, class_="tick"),
            tag("text", text=str(broken), x=zero - back - 6, y=base, class_="tick end"),
        ]
    parts.append(tag("line", x1=zero, x2=zero, y1=22, y2=height - 8, class_="axis"))
    return drawing(WIDTH, height, *parts, says="Questions fixed and broken by each tool")


# --- confidence -------------------------------------------------------------------------------


def calibration(bins: Sequence[Bin]) -> str:
    """Accuracy against confidence; the size of a dot is the number of questions."""
    field = frame(WIDTH, 300, (0.0, 1.0), (0.0, 1.0))
    names = ("probability of the action taken, %", "answers right, %")
    parts = [field.axes(percents(0, 1), percents(0, 1), *names)]
    parts.append(field.path((0, 1), (0, 1), "ideal"))
    parts.append(field.path([b.confidence for b in bins], [b.accuracy for b in bins], "line thin"))
    most = max([b.questions for b in bins] or [1])
    for it in bins:
        said = f"{it.questions} questions: {100 * it.confidence:.0f} % sure, "
        title = tag("title", text=said + f"{100 * it.accuracy:.1f} % right")
        place: dict[str, Any] = {"cx": field.x(it.confidence), "cy": field.y(it.accuracy)}
        parts.append(
            tag("circle", title, **place, r=3 + 7 * (it.questions / most) ** 0.5, class_="routed")
        )
    return drawing(WIDTH, 300, *parts, says="Accuracy against the router's confidence")


def risk(coverage: Floats, error: Floats, direct: float, tail: str = "direct, on all") -> str:
    """Error of the answers kept against the share kept, with direct's error beside it."""
    top = max(float(np.max(error, initial=0.0)), direct) * 1.12 or 0.1
    field = frame(WIDTH, 300, (0.0, 1.0), (0.0, top))
    parts = [field.axes(percents(0, 1), percents(0, top), "questions answered, %", "wrong, %")]
    parts.append(field.path((0, 1), (direct, direct), "ideal"))
    at, end = (0.98, " end") if _crowded(coverage, error, direct, top) else (0.02, "")
    line_y = field.y(direct) - 6
    parts.append(tag("text", text=tail, x=field.x(at), y=line_y, class_=f"tick{end}"))
    parts.append(field.path(coverage, error, "line"))
    if len(error):
        last = f"router, {100 * error[-1]:.1f} on all"
        beneath = error[coverage >= 1 - len(last) * SIGN_WIDTH * 1.2 / (field.x(1) - field.x(0))]
        place: dict[str, Any] = {"x": field.x(1) - 2, "y": _clear(field, beneath, direct)}
        parts.append(tag("text", text=last, **place, class_="label end strong"))
    return drawing(WIDTH, 300, *parts, says="Error against the share of questions answered")


def _clear(field: Frame, curve: Floats, other: float) -> float:
    """A height for a text over a piece of a curve, or under it if another line is in the way."""
    over = field.y(float(curve.max())) - 9
    crossed = -18 < field.y(other) - over < 26
    return field.y(float(curve.min())) + 18 if crossed else over


def _crowded(coverage: Floats, error: Floats, direct: float, top: float) -> bool:
    """Whether the curve comes near the other line at its left end."""
    near = np.abs(error[coverage < 0.3] - direct) < 0.12 * top
    return bool(near.any())


# --- training ---------------------------------------------------------------------------------

CURVES: Sequence[tuple[str, Sequence[tuple[str, str]]]] = (
    ("accuracy in validation", (("val/accuracy", "dots"),)),
    ("expected reward", (("train/expected_reward", "line thin"), ("train/reward", "line thin"))),
    ("call rate", (("train/call_rate", "line thin"), ("val/call_rate", "dots"))),
    ("probability of direct", (("train/pi_direct", "line thin"),)),
    ("entropy of the policy", (("train/entropy", "line thin"),)),
    ("loss", (("train/loss", "line thin"),)),
    ("gradient norm", (("train/grad_norm", "line thin"),)),
    ("learning rate", (("train/lr", "line thin"),)),
)
"""Title of a curve -> names of metrics, and how each is drawn."""


def curves(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """A small plot for each metric of `CURVES` that was noted."""
    found = []
    for title, wanted in CURVES:
        series = [(_series(metrics, name), class_) for name, class_ in wanted]
        there = [(points, class_) for points, class_ in series if points]
        if there:
            found.append(_curve(title, there))
    return found


def _series(metrics: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(float(row["step"]), float(row[name])) for row in metrics if row.get(name) is not None]


def _curve(title: str, series: Sequence[tuple[list[tuple[float, float]], str]]) -> str:
    values = [value for points, _ in series for _, value in points]
    low, high = _padded(min(values), max(values))
    last = max(step for points, _ in series for step, _ in points)
    field = frame(CURVE_WIDTH, 176, (0.0, last), (low, high), left=48, bottom=26)
    x_ticks = [(v, f"{v:,.0f}") for v in ticks(0, last, 4) if v == int(v)]
    y_ticks = [(v, f"{v:.4g}") for v in ticks(low, high, 4)]
    parts = [field.axes(x_ticks, y_ticks, y_name=title)]
    for points, class_ in series:
        xs, ys = zip(*points, strict=True)
        parts.append(field.path(xs, ys, "line thin" if class_ == "dots" else class_))
        if class_ == "dots":
            parts += [_dot(field, x, y) for x, y in points]
    return drawing(CURVE_WIDTH, 176, *parts, says=f"{title} by step of training")


def _dot(field: Frame, x: float, y: float) -> str:
    said = tag("title", text=f"step {x:,.0f}: {y:.4g}")
    return tag("circle", said, cx=field.x(x), cy=field.y(y), r=4.0, class_="routed")


def _padded(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return low - room, high + room
