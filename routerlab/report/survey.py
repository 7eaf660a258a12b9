"""The survey: what the outcome tables say before any router is trained.

Whether routing can help at all, by how much, and which tools fix or break what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from routerlab import statistics
from routerlab.report.grid import Grid, percent, points
from routerlab.rivals import best_tool
from routerlab.types import OutcomeTable


def survey(tables: Mapping[str, OutcomeTable]) -> dict[str, Any]:
    """The survey's figures: for each split the accuracies, and what each tool fixes and breaks."""
    return {split: survey_split(table) for split, table in tables.items()}


def survey_split(table: OutcomeTable) -> dict[str, Any]:
    """The figures of one split."""
    accuracy = statistics.action_accuracy(table)
    return {
        "questions": len(table),
        "direct": accuracy["direct"],
        "best_tool": best_tool(table),
        "oracle": statistics.share(statistics.oracle_raw(table)),
        "tools": {
            name: {"accuracy": accuracy[name], **_counted(counts)}
            for name, counts in statistics.tool_counts(table).items()
        },
    }


def survey_grid(figures: Mapping[str, Any], notes: Sequence[str] = ()) -> Grid:
    """The survey's table: an action a row; fixes and breaks on the last split that is not `ood`."""
    shown = [split for split in figures if split != "ood"][-1:] or list(figures)[-1:]
    detail = figures[shown[0]]["tools"]
    heads = ["action", *figures, f"fix ({shown[0]})", "break", "break rate"]
    rows = [["direct", *(percent(f["direct"]) for f in figures.values()), "", "", ""]]
    for name, tool in detail.items():
        accuracy = [percent(f["tools"][name]["accuracy"]) for f in figures.values()]
        counted = [str(tool["fix"]), str(tool["break"]), percent(tool["break_rate"])]
        rows.append([name, *accuracy, *counted])
    rows.append(["best single tool", *(f["best_tool"] for f in figures.values()), "", "", ""])
    rows.append(["oracle (raw)", *(percent(f["oracle"]) for f in figures.values()), "", "", ""])
    sizes = ", ".join(f"{split} {f['questions']}" for split, f in figures.items())
    return Grid(f"Survey: accuracy in % ({sizes} questions)", heads, rows, notes=notes)


def cost_note(seconds: float, counters: Mapping[str, int]) -> str:
    """One line on what filling the tables took."""
    return (
        f"{seconds:.1f} s; {counters['reasoner_calls']} reasoner calls, "
        f"{counters['tool_calls']} tool calls, {counters['cache_hits']} cache hits"
    )


def gate_note(gate: Mapping[str, Any]) -> str:
    """One line on whether the sound is needed to route: predictable against words alone."""
    if gate.get("why"):
        return f"predictable: {gate['why']}"
    return (
        f"predictable {percent(gate['predictable'])} % against the best action per wording "
        f"{percent(gate['by_wording'])} % (chosen on train) and "
        f"{percent(gate['by_wording_same_table'])} % (on the map's own table): "
        f"{points(gate['gap'])} points that only the sound can give"
    )


def _counted(counts: statistics.Counts) -> dict[str, Any]:
    right = counts.break_ + counts.redundant_right
    return {
        "fix": counts.fix,
        "break": counts.break_,
        "redundant": counts.redundant,
        "failed": counts.failed,
        "break_rate": counts.break_ / right if right else 0.0,
    }
