"""The spoken clips that ship, and which split may use which."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import soundfile

from routerlab.data.synth.sounds import Sound

SHARES = ("train",) * 5 + ("val",) + ("test",) * 4
"""Splits of clips in turn; those of the voices kept apart are `test_ood`'s."""


@dataclass(frozen=True)
class Speech:
    """One rendered clip.

    Attributes:
        sound: float64 [n] at 16 kHz, RMS about 0.1, no silence around it.
        register: "low" or "high".
        words: (word, start, end) in seconds.
    """

    name: str
    sound: Sound
    text: str
    voice: str
    register: str
    words: tuple[tuple[str, float, float], ...]


@cache
def spoken(split: str) -> tuple[Speech, ...]:
    """The clips of one split: no clip is in two."""
    folder = Path(str(files("routerlab.data.speech"))) / "clips"
    rows = json.loads((folder / "clips.json").read_text(encoding="utf-8"))
    return tuple(
        Speech(
            row["file"],
            np.asarray(soundfile.read(folder / row["file"], dtype="float64")[0]),
            row["text"],
            row["voice"],
            row["register"],
            tuple((word, start, end) for word, start, end in row["words"]),
        )
        for number, row in enumerate(rows)
        if _split(number, row["shifted"]) == split
    )


def _split(number: int, shifted: bool) -> str:
    # Three, not one: neighbours are of alternating registers, and groups of words have four.
    return "test_ood" if shifted else SHARES[number * 3 % len(SHARES)]
