"""What the page shows of a split, of training and of a survey: tiles, plots and tables in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from routerlab.report.evaluation import RIVALS
from routerlab.report.grid import percent, points
from routerlab.report.page import blocks, heat, plots, tables
from routerlab.report.page.figures import (
    Heat,
    Split,
    calibration_error,
    calls,
    gains,
    reliability,
    risk_coverage,
)
from routerlab.report.page.words import between, closed, gain
from routerlab.report.survey_tables import survey_grids

BOUNDS = ("oracle", "predictable", "oracle_cross_fitted")

_HOW_POLICIES = (
    "Up is better, left is cheaper. Hollow marks are upper bounds; small ones, single tools."
)
_HOW_COUNTS = "Questions on which a tool makes a wrong answer right, or a right one wrong."
_HOW_GAINS = "Points that each tool adds to direct when it is always called; n is the questions."
_HOW_CALLS = "Share of questions, in %, on which the router takes each action."
_HOW_SURE = (
    "A router is trained to pick what pays, not to know how sure it is: on the line, its "
    "probabilities could be read as the chance of a right answer."
)
_HOW_RISK = "If only the questions with the surest actions are answered, how many are wrong?"


def split_panel(results: Mapping[str, Any], split: Split | None) -> str:
    """One split: tiles, plots, tables."""
    drawn = [
        blocks.figure(plots.policies(list(_dots(results))), "Accuracy and calls", _HOW_POLICIES),
        blocks.figure(plots.fix_break(_counts(results)), "Fixes and breaks", _HOW_COUNTS),
    ]
    if split is not None and split.rows:
        drawn += _drawn(split)
    grids = [tables.policies_grid(results), tables.tools_grid(results)]
    grids += [*tables.group_grids(results), *tables.other_grids(results)]
    rest = tables.rest_grid(results)
    folded = blocks.folded("More figures", blocks.table(rest)) if rest else ""
    shown = "".join(blocks.table(grid) for grid in grids if grid.rows)
    facts = blocks.tiles(list(_tiles(results)))
    return f'{facts}<div class="plots">{"".join(drawn)}</div>{shown}{folded}'


def training_panel(metrics: Sequence[Mapping[str, Any]]) -> str:
    """The curves of training, "" where none were noted."""
    drawn = plots.curves(metrics)
    return f'<div class="curves">{"".join(drawn)}</div>' if drawn else ""


def survey_panels(survey: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Sections of a survey's folder; an outlook is there if `routerlab survey` wrote it."""
    figures = survey.get("outlook")
    if figures:
        drawn = [
            blocks.figure(
                plots.policies(list(_outlook_dots(figures))), "Accuracy and calls", _HOW_POLICIES
            )
        ]
        tools = figures["tools"]
        if tools:
            counts = [(name, it["fix"], it["break"]) for name, it in tools.items()]
            drawn.append(blocks.figure(plots.fix_break(counts), "Fixes and breaks", _HOW_COUNTS))
        if figures["groups"] and tools:
            map_ = heat.gain_map(_group_heat(figures))
            drawn.append(blocks.figure(map_, "Tools by category", _HOW_GAINS))
        shown = "".join(blocks.table(grid) for grid in survey_grids(figures, "Survey"))
        yield "results", "Results", f'<div class="plots">{"".join(drawn)}</div>{shown}'
    splits = survey.get("splits") or {}
    if splits:
        yield (
            "splits",
            "Splits",
            "".join(blocks.table(tables.split_grid(name, it)) for name, it in splits.items()),
        )


def _drawn(split: Split) -> Iterator[str]:
    """The plots that need every question."""
    if len(split.actions) > 1:
        yield blocks.figure(heat.gain_map(gains(split)), "Tools by category", _HOW_GAINS)
        yield blocks.figure(heat.call_map(calls(split)), "What the router calls", _HOW_CALLS)
    error = f"{_HOW_SURE} Mean distance (ECE): {100 * calibration_error(split):.1f} points."
    yield blocks.figure(plots.calibration(reliability(split)), "Calibration", error)
    wrong = float(1 - split.right[:, 0].mean())
    coverage, risk = risk_coverage(split)
    yield blocks.figure(plots.risk(coverage, risk, wrong), "Risk and coverage", _HOW_RISK)


def _tiles(results: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    accuracy, rate = results["accuracy"], results.get("call_rate") or {}
    it, part, counted = gain(results), closed(results), results.get("calls") or {}
    yield (
        "Router",
        f"{percent(accuracy.get('routed'))} %",
        f"of {results['questions']:,} questions right",
    )
    yield "Direct", f"{percent(accuracy.get('direct'))} %", "without any tool"
    if it is not None:
        yield "Gain", f"{points(it[0])}", f"points, 95 % {between(it[1], it[2])}"
    if part is not None:
        yield "Headroom closed", f"{percent(part[0], 0)} %", part[1]
    if rate.get("routed") is not None:
        yield "Call rate", f"{percent(rate['routed'])} %", "of questions call a tool"
    if counted:
        yield (
            "Fixed : broken",
            f"{counted['fix']} : {counted['break']}",
            "answers that calls changed",
        )


def _dots(results: Mapping[str, Any]) -> Iterator[plots.Dot]:
    rate = results.get("call_rate") or {}
    for name, it in (results.get("tools") or {}).items():
        yield plots.Dot(1.0, it["accuracy"], f"always {name}", "tool")
    for name, accuracy in results["accuracy"].items():
        if accuracy is not None and rate.get(name) is not None:
            yield plots.Dot(rate[name], accuracy, RIVALS.get(name, name), _kind(name))


def _outlook_dots(figures: Mapping[str, Any]) -> Iterator[plots.Dot]:
    for name, it in figures["policies"].items():
        kind = "tool" if name.startswith(("tool.", "foretold.")) else _kind(name)
        yield plots.Dot(it["calls"], it["accuracy"], name.replace("_", " "), kind)


def _kind(name: str) -> str:
    known = {"routed": "routed", "direct": "direct"}
    return known.get(name, "bound" if name in BOUNDS else "rival")


def _counts(results: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    own = results.get("calls") or {}
    first = [("router", own["fix"], own["break"])] if own else []
    return first + [(k, it["fix"], it["break"]) for k, it in (results.get("tools") or {}).items()]


def _group_heat(figures: Mapping[str, Any]) -> Heat:
    import numpy as np

    names, tools = list(figures["groups"])[:24], list(figures["tools"])
    groups = [figures["groups"][name] for name in names]
    sizes = [it["questions"] for it in groups]
    values = [
        [(it["tools"][t]["fix"] - it["tools"][t]["break"]) / max(1, n) for t in tools]
        for it, n in zip(groups, sizes, strict=True)
    ]
    return Heat(tuple(names), tuple(tools), np.array(values), tuple(sizes))
