"""The diagnostics as tables of text: keywords, kinds, scope, limits, hearing, cards.

Layout and words only; the figures come from `report.diagnostics`. What does not apply is a line
that says why, never a row of zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from routerlab.report.diagnostics import SCOPES
from routerlab.report.evaluation import RIVALS
from routerlab.report.grid import Grid, percent, points

TITLES: Mapping[str, str] = {
    "keyword_twins": "keyword traps",
    "kinds": "families",
    "scope": "over-inference",
    "limits": "limits shown",
    "router_hearing": "what the Router hears",
    "reasoner_hearing": "what the Reasoner hears",
    "cards": "cards",
    "new_tool": "new tool",
}
"""Key of a diagnostic -> its name, in the order of the report."""

CARDS: Mapping[str, str] = {
    "other_labels": "the same cards under other labels",
    "anonymous": "names taken away",
    "paraphrased": "texts in other words",
    "decoys": "two decoys added",
    "exchanged": "names and texts exchanged between tools",
}
HEARING: Mapping[str, str] = {"silence": "silence", "no_audio": "no audio"}


def show_diagnostics(found: Mapping[str, Any], console: Console) -> None:
    """Print all of it."""
    for grid in diagnostics_grids(found):
        console.print()
        grid.show(console)
    for line in ["", *closing_lines(found)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def diagnostics_grids(found: Mapping[str, Any]) -> Iterator[Grid]:
    """A table for each diagnostic that applies."""
    layouts = {
        "keyword_twins": _keywords,
        "kinds": _kinds,
        "scope": _scope,
        "limits": _limits,
        "router_hearing": _router,
        "reasoner_hearing": _reasoner,
        "cards": _cards,
        "new_tool": _new_tool,
    }
    for name, layout in layouts.items():
        if name in found:
            yield layout(found[name])


def closing_lines(found: Mapping[str, Any]) -> list[str]:
    """Why the others are missing, and what the diagnostics cost."""
    reasons = dict.fromkeys(found["notes"].values())
    missing = [
        f"{', '.join(TITLES[k] for k, it in found['notes'].items() if it == why)}: left out, {why}."
        for why in reasons
    ]
    cost = found["cost"]
    counted = f"{cost['reasoner_calls']} reasoner calls, {cost['tool_calls']} tool calls"
    return [
        *missing,
        f"diagnostics: {counted}, {cost['cache_hits']} answers remembered, {cost['seconds']} s.",
    ]


def _keywords(it: Mapping[str, Any]) -> Grid:
    heads = (
        "policy", "trap %", "twin %", "difference", "95 % interval",
        "other action %", "other answer %", "named (twin) %",
    )  # fmt: skip
    rows = [
        [
            RIVALS.get(name, name),
            percent(p["trap"]),
            percent(p["twin"]),
            points(p["difference"]),
            _interval(p["ci95"]),
            percent(p["action_changes"]),
            percent(p["answer_changes"]),
            _both(p.get("calls_named_tool"), "trap", "twin"),
        ]
        for name, p in _in_order(it["policies"])
    ]
    strong = [i for i, row in enumerate(rows) if row[0] == RIVALS["routed"]]
    moved = it["policies"]["routed"]["variation"]
    notes = [
        "A trap names a quantity that it does not ask about; its twin asks the same without it.",
        "other: changes from the twin to the trap. named: calls of the tool that the trap names.",
        f"The trained router's probabilities move by {percent(moved)} % (mean total variation).",
    ]
    title = f"Keyword traps: {it['pairs']} pairs"
    return Grid(title, heads, rows, strong=strong, notes=notes)


def _kinds(it: Mapping[str, Any]) -> Grid:
    scoped = any("calls_beyond" in figures for figures in it.values())
    heads = ["family", "questions", "direct %", "router %", "gain", "95 % interval", "calls %"]
    heads += ["beyond %", "other %"] if scoped else []
    rows = []
    for kind, f in it.items():
        row = [kind, str(f["questions"]), percent(f["direct"]), percent(f["routed"])]
        row += [points(f["gain"]), _interval(f["ci95"]), percent(f["calls"])]
        if scoped:
            row += [_of(f["calls_beyond"], f["calls"]), _of(f["calls_other"], f["calls"])]
        rows.append(row)
    note = "Of the calls, beyond: the clip is beyond the tool's limits; other: the tool measures "
    notes = [f"{note}something else."] if scoped else []
    return Grid("Families of questions", heads, rows, notes=notes)


def _scope(it: Mapping[str, Any]) -> Grid:
    heads = (
        "a valid output, where", "cells", "answer changes %", "95 % interval",
        "breaks % of right", "fixes % of wrong", "called %",
    )  # fmt: skip
    rows = [
        [
            words,
            str(it[name]["cells"]),
            percent(it[name]["answer_changes"]),
            _share_interval(it[name]["ci95"]),
            percent(it[name]["breaks"]),
            percent(it[name]["fixes"]),
            percent(it[name]["called_share"]),
        ]
        for name, words in SCOPES.items()
        if it[name]["cells"]
    ]
    note = (
        "Every tool on every question, called or not: does the Reasoner leave its direct answer? "
        "called: by the trained router."
    )
    return Grid("Over-inference", heads, rows, notes=[note])


def _limits(it: Mapping[str, Any]) -> Grid:
    heads = (
        "outputs", "cells", "right %", "with limits %", "difference", "95 % interval",
        "answer changes %", "with limits %",
    )  # fmt: skip
    names = {"called": "of the tools called", "beyond": "from beyond a limit"}
    rows = [
        [
            words,
            str(it[name]["cells"]),
            *map(percent, it[name]["accuracy"]),
            points(it[name]["difference"]),
            _interval(it[name]["ci95"]),
            *map(percent, it[name]["answer_changes"]),
        ]
        for name, words in names.items()
        if it.get(name, {}).get("cells")
    ]
    note = "The Reasoner reads where the tool stops (stops_at) behind its output."
    return Grid("Limits shown to the Reasoner", heads, rows, notes=[note])


def _router(it: Mapping[str, Any]) -> Grid:
    rows = [[HEARING[name], *_control(f), percent(f.get("same_action"))] for name, f in it.items()]
    heads = ("the Router hears", "accuracy %", "difference", "95 % interval", "same action %")
    notes = [] if "no_audio" in it else ["no audio: this router has no setting for it."]
    title = "The Router without sound; tools and Reasoner hear as before"
    return Grid(title, heads, rows, notes=notes)


def _reasoner(it: Mapping[str, Any]) -> Grid:
    rows = [
        [f"{HEARING[name]}, {words}", *_control(f[part])]
        for name, f in it.items()
        for part, words in (("direct", "direct"), ("routed", "trained router"))
    ]
    heads = ("the Reasoner hears", "accuracy %", "difference", "95 % interval")
    notes = [] if "no_audio" in it else ["no audio: this reasoner cannot leave the clip out."]
    title = "The Reasoner without sound; tools and Router hear as before"
    return Grid(title, heads, rows, notes=notes)


def _cards(it: Mapping[str, Any]) -> Grid:
    heads = ("cards at test time", "accuracy %", "difference", "95 % interval", "same action %")
    rows = [
        [words, *_control(it[name]), percent(it[name].get("same_action"))]
        for name, words in CARDS.items()
    ]
    notes = [
        f"decoys were called on {percent(it['decoys']['decoy_calls'])} % of the questions; such a "
        "call leaves direct's answer."
    ]
    followed = it["exchanged"]["follows_text"]
    if followed is not None:
        notes.append(
            f"exchanged: {percent(followed)} % of the calls go to where the called tool's text is "
            "now. A router that reads follows the text and loses; one that does not, stays."
        )
    return Grid("The trained router with other cards", heads, rows, notes=notes)


def _new_tool(it: Mapping[str, Any]) -> Grid:
    heads = ("with a new tool", "accuracy %", "difference", "95 % interval", "calls of it %")
    row = [it["tool"], *_control(it), percent(it["tool_calls"])]
    where = it["called_where_only_it"]
    called = "" if where is None else f", and is called on {percent(where)} % of them"
    note = (
        f"always {it['tool']}: {percent(it['always'])} %. It alone is right on {it['only_it']} "
        f"questions{called}."
    )
    return Grid("A tool that was in no training", heads, [row], notes=[note])


# --- small parts ------------------------------------------------------------------------------


def _control(f: Mapping[str, Any]) -> tuple[str, str, str]:
    return percent(f["accuracy"]), points(f["difference"]), _interval(f["ci95"])


def _interval(ends: Sequence[float]) -> str:
    return f"{points(ends[0])} to {points(ends[1])}"


def _share_interval(ends: Sequence[float]) -> str:
    return f"{percent(ends[0])} to {percent(ends[1])}"


def _both(it: Mapping[str, float] | None, one: str, two: str) -> str:
    return "–" if it is None else f"{percent(it[one])} ({percent(it[two])})"


def _of(part: float, whole: float) -> str:
    return percent(part / whole) if whole else "–"


def _in_order(policies: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    known = [name for name in RIVALS if name in policies]
    yield from ((name, policies[name]) for name in known)
