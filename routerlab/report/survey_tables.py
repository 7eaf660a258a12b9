"""The survey as tables of text: policies, tools, groups of questions, rewards, options.

Layout only; the figures come from `report.outlook`, the words from `report.verdict`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from routerlab.report.grid import Grid, p_value, percent, points
from routerlab.report.verdict import verdict

NAMES: Mapping[str, str] = {
    "direct": "direct",
    "random": "random action",
    "best_tool": "best single tool (chosen on other questions)",
    "cascade": "best tool where direct is unsure",
    "vote": "vote over all actions",
    "permutation_vote": "vote of direct over permuted options",
    "all_outputs": "all outputs at once",
    "foretold.text": "foretold by words",
    "foretold.kNN": "foretold by nearest neighbours (words)",
    "foretold.text and sound": "foretold by words and sound",
    "predictable": "predictable: the best of these",
    "oracle_cross_fitted": "oracle (cross-fitted)",
    "oracle": "oracle (raw)",
}
"""Key of a policy's figures -> its name in the table; the order is the table's."""

FEW_GROUPS = 12


def survey_text(figures: Mapping[str, Any], title: str, notes: Sequence[str] = ()) -> str:
    """The whole report of one split: verdict first, then the tables."""
    said = "\n".join(verdict(figures))
    return "\n\n".join([said, *(grid.plain() for grid in survey_grids(figures, title, notes))])


def survey_grids(
    figures: Mapping[str, Any], title: str, notes: Sequence[str] = ()
) -> Iterator[Grid]:
    """Every table that has something to say."""
    yield policies_grid(figures, title, notes)
    if figures["tools"]:
        yield tools_grid(figures)
    if figures["groups"]:
        yield groups_grid(figures)
    if figures["presets"]:
        yield rewards_grid(figures)
    if figures["by_position"]:
        yield options_grid(figures)


def policies_grid(figures: Mapping[str, Any], title: str, notes: Sequence[str] = ()) -> Grid:
    """A policy a row, with its gain over direct."""
    heads = ("policy", "accuracy %", "calls %", "gain", "95 % interval")
    rows = [_policy(name, figures["policies"][key]) for key, name in _named(figures["policies"])]
    sample = "" if figures["of"] == figures["questions"] else f", a random part of {figures['of']}"
    whole = f"{title}: {figures['questions']} questions{sample}"
    return Grid(whole, heads, rows, notes=[*notes, *_remarks(figures)])


def tools_grid(figures: Mapping[str, Any]) -> Grid:
    """What each tool does to direct's answers when it is called on every question."""
    heads = ("tool, always called", "fix", "break", "redundant", "only it", "failed", "p (Holm)")
    rows = [
        [
            name,
            *(str(it[k]) for k in ("fix", "break")),
            str(it["redundant_right"] + it["redundant_wrong"]),
            *(str(it[k]) for k in ("only", "failed")),
            p_value(it["p"]),
        ]
        for name, it in figures["tools"].items()
    ]
    note = "only it: no other action is right. p: McNemar's exact test of fixes against breaks."
    return Grid("Tools, in questions", heads, rows, notes=[note])


def groups_grid(figures: Mapping[str, Any]) -> Grid:
    """Fixes and breaks of each tool in each group, as "+12 -3 =85": fixed, broken, redundant."""
    names = list(figures["tools"])
    heads = ("group", "questions", "direct %", "oracle %", *names)
    groups = list(figures["groups"].items())
    rows = [
        [
            group,
            str(it["questions"]),
            percent(it["direct"]),
            percent(it["oracle"]),
            *(_done(it["tools"][name]) for name in names),
        ]
        for group, it in groups[:FEW_GROUPS]
    ]
    notes = ["+ fixes, - breaks, = redundant calls."]
    if len(groups) > FEW_GROUPS:
        notes.append(f"{len(groups) - FEW_GROUPS} smaller groups are in the JSON only.")
    return Grid("By group", heads, rows, notes=notes)


def rewards_grid(figures: Mapping[str, Any]) -> Grid:
    """What each reward preset's own optimum would reach, for a router that sees the features."""
    heads = ("reward", "its optimum %", "gives away", "95 % interval", "calls %")
    rows = [
        [
            it["reward"],
            percent(it["accuracy"]),
            points(it["given_away"]),
            f"{points(it['ci95'][0])} to {points(it['ci95'][1])}",
            percent(it["calls"]),
        ]
        for it in figures["presets"]
    ]
    sees = figures["presets"][0]["sees"]
    note = f"For a router that sees what the predictor `{sees}` sees; cross-fitted."
    return Grid("Rewards", heads, rows, notes=[note])


def options_grid(figures: Mapping[str, Any]) -> Grid:
    """Whether direct leans on where an option stands, or how long it is."""
    heads = ("gold option", "questions", "direct %", "gold stands there %", "chosen %")
    rows = [
        [
            name,
            str(it["questions"]),
            percent(it["direct"]),
            percent(it["gold"]),
            percent(it["chosen"]),
        ]
        for name, it in _options(figures)
        if it["questions"]
    ]
    note = "A reasoner without a lean chooses each about as often as gold stands there."
    return Grid("Options", heads, rows, notes=[note])


def _named(policies: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, name in NAMES.items():
        if key == "random":
            yield from ((k, f"always {k[5:]}") for k in policies if k.startswith("tool."))
        if key in policies:
            yield key, name


def _policy(name: str, it: Mapping[str, Any]) -> list[str]:
    own = name == "direct"
    interval = "" if own else f"{points(it['ci95'][0])} to {points(it['ci95'][1])}"
    gained = "" if own else points(it["gain"])
    return [name, percent(it["accuracy"]), percent(it["calls"]), gained, interval]


def _done(it: Mapping[str, int]) -> str:
    return f"+{it['fix']} -{it['break']} ={it['redundant']}"


def _options(figures: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for it in figures["by_position"]:
        yield f"place {it['place']}", it
    for it in figures["by_length"]:
        yield f"the {it['option']}" if it["option"] != "middle" else "of middle length", it


def _remarks(figures: Mapping[str, Any]) -> Iterator[str]:
    if figures["policies"].get("predictable"):
        yield "predictable is the best of several on the same questions, so a little too high."
    flips = figures["flips"]
    if flips:
        yield (
            f"with permuted options {percent(flips['answer'])} % of {flips['cells']} cells change "
            f"their answer, and {percent(flips['right'])} % change between right and wrong."
        )
