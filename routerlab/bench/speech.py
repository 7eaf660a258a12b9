"""How right speech tools are on SpeechAQA's own sounds, by the ground under the voice.

    python -m routerlab.bench.speech                    the tools that need no model
    python -m routerlab.bench.speech transcript MODEL   one that does: a folder, or a hub id

A tool's values are read by the rule a person would use; no language model is asked. What it does to
a reasoner's answers is the survey's affair.
"""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from routerlab.audio import make_clip
from routerlab.data.speech.families import GROUNDS
from routerlab.data.speech.make import draw
from routerlab.data.synth.item import Item
from routerlab.data.synth.sounds import SAMPLE_RATE
from routerlab.errors import UserError, unknown
from routerlab.report.grid import Grid
from routerlab.tools.base import Tool
from routerlab.tools.registry import load_tool

CLIPS = 160
"""Sounds a family; grounds fall as they do in SpeechAQA."""

Values: TypeAlias = Mapping[str, Any]
Reads: TypeAlias = Callable[[Values, Item], bool]

_STREAM = 0x5342_4E43
"""Mixed into every seed, so that the stream differs from SpeechAQA's."""


def _yes(heard: bool, item: Item) -> bool:
    return heard == item.answer.startswith("yes")


def _words(values: Values) -> list[str]:
    return re.findall(r"[a-z']+", values["text"].lower())


def _rises(first_hz: float, last_hz: float, item: Item) -> bool:
    begins = "lower" if first_hz < last_hz else "higher"
    return item.answer == f"the {begins} voice"


def _notes_rise(values: Values, item: Item) -> bool:
    """By the pitches of the first and the second half of the notes' time."""
    notes = values["notes"]
    if len(notes) < 2:
        return False
    middle = (notes[0]["start_s"] + notes[-1]["end_s"]) / 2
    first = [note["f0_hz"] for note in notes if note["start_s"] < middle]
    last = [note["f0_hz"] for note in notes if note["start_s"] >= middle]
    return bool(last) and _rises(statistics.median(first), statistics.median(last), item)


def _speakers_rise(values: Values, item: Item) -> bool:
    heights = [speaker["pitch_hz"] for speaker in values["speakers"]]
    return len(heights) == 2 and None not in heights and _rises(heights[0], heights[1], item)


READ: dict[str, dict[str, Reads]] = {
    "speech_activity": {"speech": lambda values, item: _yes(values["speech"], item)},
    "pitch": {"first_voice": _notes_rise},
    "transcript": {
        "speech": lambda values, item: _yes(bool(values["segments"]), item),
        "word": lambda values, item: item.answer in _words(values),
        "words": lambda values, item: len(_words(values)) == int(item.answer),
    },
    "speakers": {
        "first_voice": _speakers_rise,
        "voices": lambda values, item: (values["count"] == 1) == (item.answer == "one voice"),
    },
}
"""Tool -> family that it fits -> whether its values give the answer."""


def measured(tool: Tool, clips: int = CLIPS, seed: int = 0) -> list[tuple[str, ...]]:
    """A row a family: tool, family, and percent right on each ground and on all."""
    rows = []
    for family, right in READ[tool.card.name].items():
        marks: dict[str, list[bool]] = {ground: [] for ground in GROUNDS}
        for index in range(clips):
            item = draw(np.random.default_rng([_STREAM, seed, index]), "train", family)
            values = tool(make_clip(item.samples, SAMPLE_RATE)).values
            marks[item.condition].append(right(values, item))
        everything = [mark for ground in marks.values() for mark in ground]
        rows.append((tool.card.name, family, *map(_percent, (*marks.values(), everything))))
    return rows


def _percent(marks: Sequence[bool]) -> str:
    return f"{100 * sum(marks) / len(marks):.0f} ({len(marks)})" if marks else "–"


def main(words: Sequence[str]) -> None:
    """Print a table of the tool named, or of the tools that need no model.

    Raises:
        UserError: no such tool.
    """
    name, model = (*words, "", "")[:2]
    if name and name not in READ:
        raise UserError(unknown("speech bench: nothing measures a tool", name, READ))
    names = [name] if name else ["speech_activity", "pitch"]
    tools = [load_tool(each, **({"model": model} if model else {})) for each in names]
    heads = ["tool", "question", *GROUNDS, "all"]
    rows = [row for tool in tools for row in measured(tool)]
    Grid("Right in percent (of how many)", heads, rows).show()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
