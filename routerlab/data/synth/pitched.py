"""Question families about pitch: note, interval, direction, chord, key, highest.

Each family draws a clip that its tool measures well and one that lies outside what the tool
measures, with the same wording for both, so that the words alone cannot tell which it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from routerlab.data.synth.item import Draft
from routerlab.data.synth.sounds import (
    HARMONIC,
    SAMPLE_RATE,
    Sound,
    add_noise,
    gain,
    note_name,
    place,
    tone,
)

INTERVALS = {
    "a semitone": 1,
    "a whole tone": 2,
    "a minor third": 3,
    "a major third": 4,
    "a fourth": 5,
    "a fifth": 7,
    "an octave": 12,
}
COARSE = ("a semitone", "a major third", "a fifth", "an octave")
CHORDAL = ("organ", "string", "flute")
"""Timbres whose partials leave a chord plain; where none is on offer, all are used."""
QUALITIES = {
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "diminished": (0, 3, 6),
    "augmented": (0, 4, 8),
}
NOISE = ("Is there noise behind the sound?", ("yes", "no"))
DRONE = ("Does a low voice accompany the melody?", ("yes", "no"))
VOICES = ("How many pitches sound together?", ("one", "two", "three"))


def pick(rng: Generator, options: Sequence[str]) -> str:
    """One of several strings."""
    return options[int(rng.integers(len(options)))]


def two_notes(rng: Generator, first: int, second: int, timbre: str, seconds: float) -> Sound:
    """Two notes one after the other, with a short pause between."""
    length = rng.uniform(0.6, 0.85)
    start = rng.uniform(0.1, 0.25)
    gap = rng.uniform(0.06, 0.15)
    return place(
        seconds,
        [
            (start, tone(rng, first, length, timbre)),
            (start + length + gap, tone(rng, second, length, timbre)),
        ],
    )


def over_drone(rng: Generator, sound: Sound) -> Sound:
    """Set a melody over a long low note: a second voice, which a one-voice tracker follows."""
    seconds = len(sound) / SAMPLE_RATE
    drone = tone(rng, int(rng.integers(40, 49)), seconds - 0.1, "organ")
    return place(seconds, [(0.05, gain(drone, rng.uniform(1, 4)))]) + sound


def over_bass(rng: Generator, sound: Sound, sign: int) -> tuple[Sound, int]:
    """Set two notes over two louder low ones that move another way: (sound, bass in semitones).

    A one-voice tracker reports the bass, in the very words that it has for a melody.
    """
    seconds = len(sound) / SAMPLE_RATE
    moves = [m for m in (-7, -4, -1, 0, 1, 4, 7) if np.sign(m) != sign]
    move = int(rng.choice(moves))
    low = int(rng.integers(41, 49))
    bass = two_notes(rng, low, low + move, "flute", seconds)
    return gain(bass, rng.uniform(7, 10)) + sound, move


def note(rng: Generator, timbres: Sequence[str]) -> Draft:
    """Which pitch class comes last. In noise a fundamental tracker is lost; a chromagram is not.

    Without noise the note before is the stronger one and the root of what sounds: a chromagram
    names that instead.
    """
    last = int(rng.integers(55, 75))
    first = last - int(rng.choice([-9, -8, -5, 3, 4, 7]))
    seconds = rng.uniform(2.2, 2.9)
    solo = rng.random() < 0.5
    names = [t for t in timbres if t in HARMONIC] or timbres
    timbre = pick(rng, names if solo else ("organ", "voice", "flute"))
    short = rng.uniform(0.4, 0.5) if solo else rng.uniform(0.25, 0.3)
    long = seconds - short - 0.35
    before, after = (long, short) if solo else (short, long)
    weak = rng.uniform(-8, -5) if solo else rng.uniform(-16, -12)
    sound = place(
        seconds,
        [
            (0.12, gain(tone(rng, first, before, timbre), 0.0 if solo else weak)),
            (0.17 + before, gain(tone(rng, last, after, timbre), weak if solo else 0.0)),
        ],
    )
    if not solo:
        sound = add_noise(rng, sound, rng.uniform(-6, -1))
    around = [last + d for d in range(-6, 6) if d and (last + d - first) % 12]
    near = [int(m) for m in rng.permutation(around)[:2]]
    choices = tuple(note_name(m) for m in (last, first, *near))
    return Draft(
        sound,
        choices,
        note_name(last),
        condition="solo" if solo else "noisy",
        difficulty="hard",
        fits=("pitch",) if solo else ("chord",),
        outside=("chord",) if solo else ("pitch",),
        describe=((*NOISE, "no" if solo else "yes"),),
        truth={"midi": [first, last], "timbre": timbre},
    )


def interval(rng: Generator, timbres: Sequence[str]) -> Draft:
    """How far apart two successive notes are."""
    solo = rng.random() < 0.6
    coarse = rng.random() < (0.35 if solo else 0.75)
    names = list(INTERVALS)
    wanted = pick(rng, COARSE if coarse else names)
    at = names.index(wanted)
    others = [n for n in (COARSE if coarse else names) if n != wanted]
    others.sort(key=lambda n: abs(names.index(n) - at) + rng.uniform(0, 1.5))
    step = INTERVALS[wanted] * int(rng.choice([-1, 1]))
    first = int(rng.integers(60, 71))
    timbre = pick(rng, [t for t in timbres if t != "bell"] if solo else HARMONIC)
    seconds = rng.uniform(2.2, 2.9)
    sound = two_notes(rng, first, first + step, timbre, seconds)
    if not solo:
        sound, moved = over_bass(rng, sound, int(np.sign(step)))
        heard = [n for n, size in INTERVALS.items() if size == abs(moved) and n != wanted]
        others = [*heard, *(n for n in others if n not in heard)]
    return Draft(
        sound,
        (wanted, *others[:3]),
        wanted,
        condition="solo" if solo else "duo",
        difficulty="easy" if coarse else "hard",
        fits=("pitch",) if solo else (),
        outside=() if solo else ("pitch",),
        describe=((*DRONE, "no" if solo else "yes"),),
        truth={"midi": [first, first + step], "timbre": timbre},
    )


def direction(rng: Generator, timbres: Sequence[str]) -> Draft:
    """Whether the second note is higher, lower or the same."""
    solo = rng.random() < 0.6
    size = 1 if solo else int(rng.integers(7, 15))
    sign = int(rng.choice([-1, 0, 1]))
    answer = {1: "higher", -1: "lower", 0: "the same"}[sign]
    first = int(rng.integers(60, 72))
    timbre = pick(rng, [t for t in timbres if t != "bell"] if solo else HARMONIC)
    seconds = rng.uniform(2.2, 2.9)
    sound = two_notes(rng, first, first + sign * size, timbre, seconds)
    if not solo:
        sound, _ = over_bass(rng, sound, sign)
    return Draft(
        sound,
        ("higher", "lower", "the same"),
        answer,
        condition="solo" if solo else "duo",
        difficulty="hard" if solo else "easy",
        fits=("pitch",) if solo else (),
        outside=() if solo else ("pitch",),
        describe=((*DRONE, "no" if solo else "yes"),),
        truth={"midi": [first, first + sign * size], "timbre": timbre},
    )


def chord(rng: Generator, timbres: Sequence[str]) -> Draft:
    """The quality of a triad, struck together; in half the clips one note after another."""
    quality = pick(rng, list(QUALITIES))
    root = int(rng.integers(53, 65))
    timbre = pick(rng, [t for t in CHORDAL if t in timbres] or timbres)
    seconds = rng.uniform(2.0, 2.7)
    broken = rng.random() < 0.35
    length = seconds - 0.4
    voices = [
        (0.15 + (0.22 * k if broken else 0.0), tone(rng, root + d, length, timbre))
        for k, d in enumerate(QUALITIES[quality])
    ]
    sound = place(seconds, [(at, gain(v, -4.0)) for at, v in voices])
    sound[-800:] *= np.linspace(1, 0, 800)
    return Draft(
        sound,
        tuple(QUALITIES),
        quality,
        condition="broken" if broken else "struck",
        difficulty="hard",
        fits=("chord",),
        describe=((*VOICES, "three"),),
        truth={"root": root, "timbre": timbre},
    )


def key(rng: Generator, timbres: Sequence[str]) -> Draft:
    """The key of a short cadence: tonic, subdominant, dominant, tonic."""
    major = rng.random() < 0.5
    tonic = int(rng.integers(48, 60))
    third = 4 if major else 3
    triads = {
        0: (0, third, 7),
        5: (5, 5 + third, 12),
        7: (7, 11, 14),
    }
    seconds = rng.uniform(2.6, 3.0)
    beat = (seconds - 0.2) / 4
    timbre = pick(rng, [t for t in CHORDAL if t in timbres] or timbres)
    events = [
        (0.1 + k * beat, gain(tone(rng, tonic + d + 12, beat * 0.95, timbre), -5.0))
        for k, degree in enumerate((0, 5, 7, 0))
        for d in triads[degree]
    ]
    gold = f"{note_name(tonic)} {'major' if major else 'minor'}"
    rivals = [
        f"{note_name(tonic + shift)} {mode}"
        for shift in (1, 2, 5, 6, 7, 9, 10, 11)
        for mode in ("major", "minor")
    ]
    chosen = [rivals[i] for i in rng.permutation(len(rivals))[:3]]
    return Draft(
        place(seconds, events),
        (gold, *chosen),
        gold,
        condition="cadence",
        difficulty="hard",
        fits=("chord",),
        describe=((*VOICES, "three"),),
        truth={"tonic": tonic, "major": major, "timbre": timbre},
    )


def highest(rng: Generator, timbres: Sequence[str]) -> Draft:
    """Which of three notes is the highest (out-of-distribution family)."""
    solo = rng.random() < 0.6
    spread = [0, 1, 3] if solo else [0, 9, 18]
    order = rng.permutation(3)
    base = int(rng.integers(58, 66))
    timbre = pick(rng, [t for t in timbres if t != "bell"] if solo else HARMONIC)
    length = rng.uniform(0.55, 0.7)
    seconds = 3 * (length + 0.1) + 0.35
    events = [
        (0.15 + k * (length + 0.1), tone(rng, base + spread[int(o)], length, timbre))
        for k, o in enumerate(order)
    ]
    sound = place(seconds, events)
    if not solo:
        sound = over_drone(rng, sound)
    names = ("the first", "the second", "the third")
    return Draft(
        sound,
        names,
        names[int(np.argmax([spread[int(o)] for o in order]))],
        condition="solo" if solo else "drone",
        difficulty="hard" if solo else "easy",
        fits=("pitch",) if solo else (),
        outside=() if solo else ("pitch",),
        truth={"base": base, "order": [int(o) for o in order], "timbre": timbre},
    )
