"""Says what is wrong with a tool, and what to change: run it before a survey does.

It stops at behaviour that shows on a handful of clips; whether the values are *right* is for the
tool's own tests.
"""

from __future__ import annotations

import os
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence

import numpy as np

from routerlab.audio import make_clip
from routerlab.errors import ToolError
from routerlab.tools.base import Tool
from routerlab.types import Clip, Observation

RATE = 16_000
RATES = (8_000, 44_100, 96_000)
LONG_S = 600
SLOW_S, SLOW_MODEL_S = 0.25, 5.0
"""A call on a three-second clip should take less: a survey makes thousands. A model may be slow."""

MAX_CARD = 160

_ADVICE = {
    "schema": ". Make run() and schema agree; None (and type(None)) for 'not found', never NaN.",
    "exception": ". Return None where nothing can be measured.",
}


def check_tool(tool: Tool) -> list[str]:
    """Every problem found, a line each; empty for a tool that is fit to be an action.

    Checked: card and schema; that it runs on a tone, silence, noise, a tenth of a second, one
    sample, half a minute and at other rates; that values fit the schema and the text is short; that
    the same clip gives the same values again, after other clips too; that the clip is left as it
    was; that it is fast, and imports no torch.
    """
    had_torch = "torch" in sys.modules
    problems = [*_card_problems(tool), *_schema_problems(tool)]
    try:
        tool.prepare()
    except Exception as err:
        return [*problems, f"setup() raised {type(err).__name__}: {err}"]
    seen: dict[str, Observation] = {}
    found = [
        (what, line) for what, clip in clips() for line in _run_problems(tool, what, clip, seen)
    ]
    problems += _gathered([*found, *_repeat_problems(tool, seen)])
    if not (had_torch or tool.needs_torch) and "torch" in sys.modules:
        problems.append(
            "it imports torch, which every process pays for. Use NumPy, SciPy or librosa, or say "
            "`needs_torch = True`."
        )
    return problems


def clips() -> Iterator[tuple[str, Clip]]:
    """(what, clip) that every tool must stand."""
    rng = np.random.default_rng(0)
    time_s = np.arange(3 * RATE) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 261.6 * time_s) * (np.sin(np.pi * time_s) > 0)
    yield "a tone", make_clip(tone, RATE)
    yield "silence", make_clip(np.zeros(2 * RATE), RATE)
    yield "noise", make_clip(0.2 * rng.standard_normal(2 * RATE), RATE)
    yield "0.1 s of sound", make_clip(tone[: RATE // 10], RATE)
    yield "one sample", make_clip(np.full(1, 0.5), RATE)
    yield "30 s of sound", make_clip(np.tile(tone, 10), RATE)
    for rate in RATES:
        yield f"sound at {rate} Hz", make_clip(0.3 * np.sin(np.arange(rate) * 1640 / rate), rate)


def figures(tool: Tool) -> str:
    """One line: time a second of sound on ten minutes, and the memory that took, or the refusal."""
    rng = np.random.default_rng(0)
    clip = make_clip(0.1 * rng.standard_normal(LONG_S * RATE), RATE)
    tool.prepare()
    try:
        start = time.process_time()
        _choose(tool, clip)
        each = 1000 * (time.process_time() - start) / LONG_S
        # Again: watching memory slows what is watched.
        tracemalloc.start()
        _choose(tool, clip)
        _, peak = tracemalloc.get_traced_memory()
    except ToolError as err:
        return f"10 minutes: {err.kind}: {err}"
    finally:
        tracemalloc.stop()
    return f"10 minutes: {each:.2f} ms a second of sound, {peak / 2**20:.0f} MiB at most"


def _choose(tool: Tool, clip: Clip) -> Observation:
    """One call; a tool that sees options is given three."""
    return tool(clip, ("a bell", "a dog", "rain"))


def _card_problems(tool: Tool) -> list[str]:
    card = tool.card
    problems = [
        f"card.{key} is empty: a router chooses by it."
        for key in ("name", "measures", "unit", "stops_at")
        if not getattr(card, key).strip()
    ]
    problems += [
        f"card.{key} has {len(getattr(card, key))} characters: keep it to {MAX_CARD}, every "
        "question's prompt holds it."
        for key in ("measures", "stops_at")
        if len(getattr(card, key)) > MAX_CARD
    ]
    return problems


def _schema_problems(tool: Tool) -> list[str]:
    if not tool.schema:
        return ["schema is empty: declare each key of run()'s values, like {'f0_hz': float}."]
    return [
        f"schema key {key!r} is not a plain lower-case name: use letters, digits and '_', with "
        "the unit at the end (f0_hz, tempo_bpm)."
        for key in tool.schema
        if not (isinstance(key, str) and key.isidentifier() and key == key.lower())
    ]


def _run_problems(tool: Tool, what: str, clip: Clip, seen: dict[str, Observation]) -> list[str]:
    before = clip.samples.copy()
    start = _worked_s()
    try:
        seen[what] = _choose(tool, clip)
    except ToolError as err:
        return [f"{err.kind}: {err}{_ADVICE.get(err.kind, '')}"]
    seconds = _worked_s() - start
    problems = []
    if not np.array_equal(before, clip.samples):
        problems.append("it changed clip.samples. Work on a copy.")
    if not seen[what].text.strip():
        problems.append("the text is empty. Say what was not found.")
    per_clip = seconds * 3.0 / max(clip.seconds, 3.0)
    slow_s = SLOW_MODEL_S if tool.needs_torch else SLOW_S
    if per_clip > slow_s:
        problems.append(
            f"{1000 * per_clip:.0f} ms for three seconds; aim below {1000 * slow_s:.0f}. Move "
            "loading into setup()."
        )
    return problems


def _worked_s() -> float:
    """Processor time of this process and of programs it ran: a busy machine is no tool's fault."""
    return sum(os.times()[:4])


def _repeat_problems(tool: Tool, seen: dict[str, Observation]) -> list[tuple[str, str]]:
    """Clips again, in reverse: values may depend on the clip alone."""
    line = "other values the second time. Seed what is random, keep no state between calls."
    found = [
        (what, line)
        for what, clip in reversed(list(clips()))
        if what in seen and _values(tool, clip) != seen[what].values
    ]
    return found[::-1]


def _gathered(found: Sequence[tuple[str, str]]) -> list[str]:
    """One line a problem, with all the clips that show it."""
    where: dict[str, list[str]] = {}
    for what, line in found:
        where.setdefault(line, []).append(what)
    return [f"on {', '.join(clips)}: {line}" for line, clips in where.items()]


def _values(tool: Tool, clip: Clip) -> object:
    try:
        return _choose(tool, clip).values
    except ToolError as err:
        return err
