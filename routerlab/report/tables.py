"""The final table of a run: the trained router among its rivals, on one split."""

from __future__ import annotations

from routerlab.report.evaluation import RIVALS, Comparison, Evaluation
from routerlab.report.grid import Grid, p_value, percent, points

HEADS = ("policy", "accuracy %", "calls %", "against direct", "95 % interval", "p")


def final_grid(evaluation: Evaluation, split: str) -> Grid:
    """One row a policy, in the order of `RIVALS`; what has no figures says why below."""
    versus = evaluation.minus_direct()
    names = [name for name in RIVALS if name in evaluation.scored]
    rows = [_row(evaluation, name, versus.get(name)) for name in names]
    strong = [names.index("routed")] if "routed" in names else []
    notes = [f"{RIVALS.get(k, k)}: {why}" for k, why in evaluation.missing.items()]
    notes += _closed(evaluation)
    title = f"{split}: {len(evaluation.table)} questions"
    return Grid(title, HEADS, rows, strong=strong, notes=notes)


def interval(it: Comparison | None) -> str:
    """An interval in points.

    >>> interval(Comparison(0.05, 0.01, 0.09, None))
    '+1.0 to +9.0'
    """
    return "" if it is None else f"{points(it.low)} to {points(it.high)}"


def _row(evaluation: Evaluation, name: str, versus: Comparison | None) -> list[str]:
    scored = evaluation.scored[name]
    return [
        RIVALS[name],
        percent(scored.accuracy),
        percent(scored.call_rate),
        "" if versus is None else points(versus.difference),
        interval(versus),
        "" if versus is None else p_value(versus.p),
    ]


def _closed(evaluation: Evaluation) -> list[str]:
    closed = evaluation.headroom_closed()
    known = [f"{percent(v, 0)} % of {k}" for k, v in closed.items() if v is not None and v == v]
    return [f"headroom closed: {', '.join(known)}"] if known else []
