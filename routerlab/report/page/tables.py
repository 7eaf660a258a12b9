"""The tables of `results.json` as grids: policies, tools, groups of questions, costs, leftovers.

Layout only, and nothing is lost: what no table here knows of is listed by `rest_grid`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from routerlab.report.evaluation import RIVALS
from routerlab.report.grid import Grid, p_value, percent, points
from routerlab.report.page.words import between, gain

_SHOWN: tuple[str, ...] = (
    "questions",
    "accuracy",
    "call_rate",
    "tools",
    "headroom_closed",
    "oracle",
)
_SHOWN += ("difference", "ci95", "mcnemar_p", "calls", "by_kind", "by_category", "notes")
_KNOWN = (*_SHOWN, "ood", "keyword_trap", "alignment", "seconds", "counters", "tested")

IN_GROUPS = ("direct", "keyword", "text", "no_audio", "best_tool", "routed", "oracle")


def policies_grid(results: Mapping[str, Any]) -> Grid:
    """Every policy with its difference from direct, and the router's from it."""
    heads: tuple[str, ...] = (
        "policy",
        "accuracy %",
        "calls %",
        "against direct",
        "95 % interval",
        "p",
    )
    heads += ("router minus it", "95 % interval")
    accuracy = results["accuracy"]
    names = [name for name in RIVALS if accuracy.get(name) is not None]
    names += [name for name in accuracy if name not in RIVALS and accuracy[name] is not None]
    rows = [_policy(results, name) for name in names]
    notes = [f"{RIVALS.get(k, k)}: {why}" for k, why in results.get("notes", {}).items()]
    closed = results.get("headroom_closed", {})
    known = [f"{percent(v)} % of {k.replace('_', '-')}" for k, v in closed.items() if v is not None]
    if known:
        notes.insert(0, f"Headroom closed: {', '.join(known)}.")
    strong = [names.index("routed")] if "routed" in names else []
    return Grid("Policies", heads, rows, strong=strong, notes=notes)


def _policy(results: Mapping[str, Any], name: str) -> list[str]:
    versus = {k: results[k].get("minus_direct", {}) for k in ("difference", "ci95", "mcnemar_p")}
    low_high, against = versus["ci95"].get(name), gain(results, name)
    return [
        RIVALS.get(name, name),
        percent(results["accuracy"][name]),
        percent(results["call_rate"].get(name)),
        points(versus["difference"][name]) if name in versus["difference"] else "",
        between(*low_high) if low_high else "",
        p_value(versus["mcnemar_p"][name]) if name in versus["mcnemar_p"] else "",
        points(against[0]) if against else "",
        between(against[1], against[2]) if against else "",
    ]


def tools_grid(results: Mapping[str, Any]) -> Grid:
    """Each tool called on every question, and how often the router calls it."""
    heads: tuple[str, ...] = (
        "tool, always called",
        "accuracy %",
        "fix",
        "break",
        "break rate %",
        "redundant",
    )
    heads += ("failed", "router calls it %")
    share = (results.get("calls") or {}).get("share", {})
    rows = [
        [
            name,
            percent(it["accuracy"]),
            *(str(it[k]) for k in ("fix", "break")),
            percent(it["break_rate"]),
            *(str(it[k]) for k in ("redundant", "failed")),
            percent(share.get(name)),
        ]
        for name, it in results.get("tools", {}).items()
    ]
    note = "Break rate: the share of direct's right answers that the tool breaks."
    return Grid("Tools", heads, rows, notes=[note])


def group_grids(results: Mapping[str, Any]) -> Iterator[Grid]:
    """Accuracy by category and by kind of question, the largest group first."""
    for key, title in (("by_category", "By category"), ("by_kind", "By kind of question")):
        groups = results.get(key) or {}
        names = [n for n in IN_GROUPS if any(it.get(n) is not None for it in groups.values())]
        heads: tuple[str, ...] = ("group", "questions", *(RIVALS[name] for name in names))
        ordered = sorted(groups.items(), key=lambda it: -it[1]["questions"])
        rows = [
            [group, str(it["questions"]), *(percent(it.get(name)) for name in names)]
            for group, it in ordered
        ]
        if rows:
            yield Grid(f"{title}: accuracy in %", heads, rows)


def other_grids(results: Mapping[str, Any]) -> Iterator[Grid]:
    """Keyword traps, rewards and costs, where a run has them."""
    traps = results.get("keyword_trap") or {}
    if traps.get("questions"):
        changes = traps.get("policy_change") or {}
        names = [n for n in RIVALS if traps.get(n) is not None]
        rows = [[RIVALS[n], percent(traps[n]), percent(changes.get(n))] for n in names]
        heads: tuple[str, ...] = ("policy", "accuracy %", "acts differently on the twin %")
        title = f"Keyword traps: {traps['questions']} questions, {traps.get('pairs', 0)} pairs"
        yield Grid(title, heads, rows)
    rewards = results.get("alignment") or []
    if rewards:
        columns = ("reward", "its optimum %", "the best %", "gives away", "calls %")
        yield Grid(
            "What a reward's own optimum would reach", columns, [_reward(it) for it in rewards]
        )
    yield from _costs(results)


def _reward(it: Mapping[str, Any]) -> list[str]:
    shown = [percent(it.get("accuracy")), percent(it.get("best")), points(it.get("given_away"))]
    return [str(it.get("reward", "")), *shown, percent(it.get("calls"))]


def _costs(results: Mapping[str, Any]) -> Iterator[Grid]:
    seconds, counters = results.get("seconds") or {}, results.get("counters") or {}
    rows = [[f"seconds: {part}", f"{value:,.1f}"] for part, value in seconds.items()]
    rows += [[name.replace("_", " "), f"{value:,}"] for name, value in counters.items()]
    if results.get("peak_rss_mb"):
        rows.append(["peak memory, MiB", f"{results['peak_rss_mb']:,.0f}"])
    if rows:
        yield Grid("What it cost", ("part", "value"), rows)


def rest_grid(results: Mapping[str, Any]) -> Grid | None:
    """Every figure that no other table shows, under its path in `results.json`."""
    rest = {key: value for key, value in results.items() if key not in _KNOWN}
    rows = [[path, _plain(value)] for path, value in _leaves(rest)]
    return Grid("Other figures of results.json", ("figure", "value"), rows) if rows else None


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path} · {key}" if path else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        for index, inner in enumerate(value, 1):
            yield from _leaves(inner, f"{path} · {index}")
    else:
        yield path, value


def _plain(value: Any) -> str:
    """A number short enough to read, anything else as it is.

    >>> _plain(0.93561), _plain(None), _plain(12)
    ('0.9356', '–', '12')
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value in (None, "") or value == {} or value == [] else str(value)


def split_grid(name: str, figures: Mapping[str, Any]) -> Grid:
    """What a survey says of one split: each action's accuracy, fixes and breaks."""
    heads = ("action", "accuracy %", "fix", "break", "break rate %")
    rows = [["direct", percent(figures["direct"]), "", "", ""]]
    rows += [
        [
            tool,
            percent(it["accuracy"]),
            *(str(it[k]) for k in ("fix", "break")),
            percent(it["break_rate"]),
        ]
        for tool, it in figures["tools"].items()
    ]
    rows.append(["oracle (raw)", percent(figures["oracle"]), "", "", ""])
    return Grid(f"{name}: {figures['questions']:,} questions", heads, rows)
