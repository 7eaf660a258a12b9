"""The run in words: whether routing pays, by how much, what makes it, and what it is measured by.

Figures come from `results.json`; nothing is said more surely than its interval allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from routerlab.report.evaluation import RIVALS
from routerlab.report.grid import percent, points

DEAF = ("text", "keyword", "no_audio")
"""Policies that choose without the sound."""

_BOUNDS: Mapping[str, str] = {
    "predictable": "of the headroom that could be known in advance",
    "cross_fitted": "of the cross-fitted headroom",
    "raw": "of the raw headroom",
}


def verdict(results: Mapping[str, Any]) -> list[str]:
    """A few sentences, the most important first."""
    said = [_headline(results), *_calls(results), *_without_sound(results)]
    said += [*_traps(results), *_shifted(results)]
    return said


def between(low: float, high: float) -> str:
    """An interval in points.

    >>> between(0.01, 0.0249)
    '+1.0 to +2.5'
    """
    return f"{points(low)} to {points(high)}"


def gain(results: Mapping[str, Any], over: str = "direct") -> tuple[float, float, float] | None:
    """The router minus a policy: difference, low, high; None where there is no such figure."""
    difference = results.get("difference", {}).get("routed_minus", {}).get(over)
    low, high = results.get("ci95", {}).get("routed_minus", {}).get(over) or (None, None)
    if difference is None or low is None or high is None:
        return None
    return float(difference), float(low), float(high)


def closed(results: Mapping[str, Any]) -> tuple[float, str] | None:
    """Headroom closed against the fairest bound that is known, and which bound that is."""
    known = results.get("headroom_closed", {})
    return next(((known[k], says) for k, says in _BOUNDS.items() if known.get(k) is not None), None)


def _headline(results: Mapping[str, Any]) -> str:
    accuracy, it = results.get("accuracy", {}), gain(results)
    both = (
        f"the router is right on {percent(accuracy.get('routed'))} % of "
        f"{results.get('questions', 0):,} test questions, direct on "
        f"{percent(accuracy.get('direct'))} %"
    )
    if it is None:
        return f"{both[0].upper()}{both[1:]}."
    sure = "Routing pays" if it[1] > 0 else "Routing harms" if it[2] < 0 else "No gain is sure"
    return f"{sure}: {both}, {points(it[0])} points (95 % interval {between(it[1], it[2])})."


def _calls(results: Mapping[str, Any]) -> Iterator[str]:
    part, calls = closed(results), results.get("calls") or {}
    closes = f"It closes {percent(part[0], 0)} % {part[1]}. " if part else ""
    if not calls:
        if closes:
            yield closes.strip()
        return
    idle = calls["redundant_right"] + calls["redundant_wrong"]
    failed = f", that failed: {calls['fallback']}" if calls["fallback"] else ""
    yield (
        f"{closes}It calls a tool on {percent(results['call_rate']['routed'])} % of the questions; "
        f"calls that put a wrong answer right: {calls['fix']}, a right one wrong: "
        f"{calls['break']}, that changed nothing: {idle}{failed}."
    )


def _without_sound(results: Mapping[str, Any]) -> Iterator[str]:
    accuracy = results.get("accuracy", {})
    known = {name: accuracy[name] for name in DEAF if accuracy.get(name) is not None}
    if not known:
        return
    best = max(known, key=lambda name: known[name])
    it, named = gain(results, best), f"the {RIVALS[best]} ({percent(known[best])} %)"
    if it is None:
        return
    if it[1] > 0:
        yield (
            f"It needs the sound: the best policy that does not hear, {named}, is "
            f"{100 * it[0]:.1f} points behind ({between(it[1], it[2])})."
        )
    else:
        yield f"It is not surely better than a policy that does not hear: {named}."


def _traps(results: Mapping[str, Any]) -> Iterator[str]:
    traps = results.get("keyword_trap") or {}
    if traps.get("questions") and traps.get("routed") is not None:
        other = traps.get("keyword")
        against = "" if other is None else f", the keyword heuristic on {percent(other)} %"
        yield (
            f"Of {traps['questions']} questions that name a quantity they do not ask about, it is "
            f"right on {percent(traps['routed'])} %{against}."
        )


def _shifted(results: Mapping[str, Any]) -> Iterator[str]:
    ood = results.get("ood") or {}
    it = gain(ood)
    if it is not None:
        sure = "" if it[1] > 0 or it[2] < 0 else ", which is not sure"
        yield (
            f"On {ood['questions']:,} questions unlike those of training it gains "
            f"{points(it[0])} points ({between(it[1], it[2])}){sure}."
        )
