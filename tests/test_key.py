"""The key tool against pieces whose key is known, and against what has none."""

from __future__ import annotations

import re

import numpy as np
import pytest

from routerlab.audio import make_clip
from routerlab.tools import load_tool
from routerlab.tools.signal import NOTES

RATE = 16_000
KEY = load_tool("key")
TEXT = re.compile(
    r"key: (none found, [a-z0-9 ]+|[A-G]b? (major|minor), fit \d\.\d\d; "
    r"next [A-G]b? (major|minor), fit \d\.\d\d)"
)


def tone(midi: float, seconds: float, rate: int = RATE) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    hertz = 440 * 2 ** ((midi - 69) / 12)
    parts = [np.sin(2 * np.pi * k * hertz * time) / k for k in range(1, 6) if k * hertz < 3500]
    return 0.1 * np.sum(parts, axis=0)


def chords(*groups: tuple[int, ...], rate: int = RATE) -> np.ndarray:
    return np.concatenate([sum(tone(note, 0.6, rate) for note in group) for group in groups])


def cadence(tonic: int, minor: bool = False, rate: int = RATE) -> np.ndarray:
    third, sixth = (3, 8) if minor else (4, 9)
    groups = [(0, third, 7), (5, sixth, 12), (7, 11, 14), (0, third, 7)]
    return chords(*[tuple(48 + tonic + note for note in group) for group in groups], rate=rate)


@pytest.mark.parametrize("minor", [False, True])
@pytest.mark.parametrize("tonic", range(12))
def test_a_cadence_settles_the_key(tonic: int, minor: bool) -> None:
    values = KEY(make_clip(cadence(tonic, minor), RATE)).values
    assert (values["tonic"], values["mode"]) == (NOTES[tonic], "minor" if minor else "major")
    assert values["key"] == f"{values['tonic']} {values['mode']}"
    assert values["fit"] > values["next_fit"]
    assert values["next_key"] != values["key"]


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_the_rate_does_not_matter(rate: int) -> None:
    for tonic in (0, 7):
        values = KEY(make_clip(cadence(tonic, rate=rate), rate)).values
        assert values["key"] == f"{NOTES[tonic]} major"


@pytest.mark.parametrize(
    ("sound", "why"),
    [
        (np.zeros(RATE), "nothing sounds"),
        (0.1 * np.random.default_rng(0).standard_normal(3 * RATE), "no notes stand out"),
        (tone(60, 2.0), "fewer than 4 notes"),
        (chords((60, 64, 67)), "fewer than 4 notes"),
    ],
)
def test_what_has_no_key_is_given_none(sound: np.ndarray, why: str) -> None:
    seen = KEY(make_clip(sound, RATE))
    assert seen.values["key"] is None
    assert seen.text == f"key: none found, {why}"


def test_the_text_keeps_one_form() -> None:
    rng = np.random.default_rng(1)
    sounds = [cadence(3), cadence(3)[:1600], tone(60, 0.1), np.full(1, 0.5), np.full(RATE, 0.5)]
    sounds += [cadence(5) + 0.3 * rng.standard_normal(len(cadence(5)))]
    sounds += [chords(tuple(range(48, 60)))]
    for sound in sounds:
        assert TEXT.fullmatch(KEY(make_clip(sound, RATE)).text)


def test_ten_minutes_are_one_key() -> None:
    assert KEY(make_clip(np.tile(cadence(2), 250), RATE)).values["key"] == "D major"
