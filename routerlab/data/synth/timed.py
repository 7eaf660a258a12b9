"""Question families about time: tempo, count, order, longer, gap, duration.

As in `pitched`, one wording covers clips inside and outside what a tool measures: echoes fool an
onset counter, off-beat hits fool a mean gap, noise hides silence from a segmenter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from routerlab.data.synth.item import Draft
from routerlab.data.synth.pitched import NOISE, pick
from routerlab.data.synth.sounds import (
    Sound,
    add_noise,
    echo,
    fade,
    gain,
    knock,
    noise_burst,
    place,
    room,
    silence,
    sweep,
    tone,
)

ECHO = ("Does the sound echo?", ("yes", "no"))
SPEECHLESS = ("a noise burst", "a beep", "a knock", "a rising sweep")


def tempo(rng: Generator, timbres: Sequence[str]) -> Draft:
    """Beats a minute. A beat tracker needs several beats; a mean gap needs no extra hits."""
    dense = rng.random() < 0.55
    bpm = float(rng.integers(85, 151))
    period = 60 / bpm
    seconds = rng.uniform(2.8, 3.0)
    start = rng.uniform(0.05, 0.25) if dense else rng.uniform(0.2, 1.2)
    pitch = rng.uniform(180, 320)
    beats = np.arange(start, seconds - 0.12, period) if dense else start + period * np.arange(2)
    events = [(float(t), knock(rng, 0.12, pitch)) for t in beats]
    if dense:
        extras = [b + period * f for b in beats[:-1] for f in (0.5, 0.75) if rng.random() < 0.4]
        events += [(float(t), gain(knock(rng, 0.08, 2 * pitch), -9.0)) for t in extras]
    ratios = rng.permutation([0.65, 0.8, 1.25, 1.5])[:3]
    choices = tuple(f"{round(bpm * r)} bpm" for r in (1.0, *ratios))
    return Draft(
        place(seconds, events),
        choices,
        choices[0],
        condition="dense" if dense else "two_hits",
        difficulty="hard",
        fits=("tempo",) if dense else ("onsets",),
        outside=("onsets",) if dense else ("tempo",),
        truth={"bpm": bpm, "hits": len(events)},
    )


def count(rng: Generator, timbres: Sequence[str]) -> Draft:
    """How many sounds were played; echoes do not count and fool an onset counter."""
    dry = rng.random() < 0.55
    number = int(rng.integers(4, 11)) if dry else int(rng.integers(2, 7))
    seconds = rng.uniform(2.7, 3.0)
    timbre = pick(rng, [t for t in timbres if t != "bell"])
    midi = int(rng.integers(64, 84))
    slots = np.linspace(0.1, seconds - 0.4, number) + rng.uniform(-0.02, 0.02, number)
    sound = place(seconds, [(float(t), tone(rng, midi, 0.08, timbre)) for t in slots])
    if not dry:
        sound = echo(sound, rng.uniform(0.11, 0.17), rng.uniform(0.5, 0.65))
    near = [-3, -2, -1, 1, 2, 3] if dry else [-2, -1, 1, 2, number, number]
    usable = sorted({d for d in near if number + d > 0})
    chosen = [usable[i] for i in rng.permutation(len(usable))[:3]]
    choices = tuple(str(number + d) for d in (0, *chosen))
    return Draft(
        sound,
        choices,
        str(number),
        condition="dry" if dry else "echo",
        difficulty="hard" if dry else "easy",
        fits=("onsets",) if dry else (),
        outside=() if dry else ("onsets",),
        describe=((*ECHO, "no" if dry else "yes"),),
        truth={"count": number, "timbre": timbre},
    )


def order(rng: Generator, timbres: Sequence[str]) -> Draft:
    """Which of three kinds of sound comes first (or last): no tool names kinds of sound."""
    kinds = [SPEECHLESS[i] for i in rng.permutation(4)[:3]]
    makers = {
        "a noise burst": lambda: noise_burst(rng, 0.35),
        "a beep": lambda: tone(rng, int(rng.integers(70, 86)), 0.35, "flute"),
        "a knock": lambda: knock(rng, 0.15, rng.uniform(150, 260)),
        "a rising sweep": lambda: sweep(0.4, rng.uniform(250, 400), rng.uniform(1500, 3000)),
    }
    seconds = rng.uniform(2.2, 2.8)
    starts = 0.15 + np.arange(3) * (seconds - 0.3) / 3 + rng.uniform(0, 0.15, 3)
    events = [(float(t), makers[k]()) for t, k in zip(starts, kinds, strict=True)]
    return Draft(
        place(seconds, events),
        tuple(kinds),
        kinds[0],
        condition="three",
        difficulty="easy",
        outside=("onsets", "segments"),
        truth={"order": kinds},
    )


def _pair(rng: Generator, first: Sound, second: Sound, seconds: float) -> Sound:
    start = rng.uniform(0.1, 0.25)
    gap = rng.uniform(0.2, 0.35)
    return place(seconds, [(start, first), (start + len(first) / 16_000 + gap, second)])


def longer(rng: Generator, timbres: Sequence[str]) -> Draft:
    """Which of two sounds lasts longer. Noise hides the silence between from a segmenter."""
    dry = rng.random() < 0.6
    ratio = rng.uniform(1.1, 1.25) if dry else rng.uniform(2.2, 3.2)
    short = rng.uniform(0.6, 0.8) if dry else rng.uniform(0.28, 0.4)
    first_longer = rng.random() < 0.5
    lengths = (short * ratio, short) if first_longer else (short, short * ratio)
    timbre = pick(rng, [t for t in timbres if t not in ("bell", "string")])
    midi = int(rng.integers(58, 76))
    seconds = rng.uniform(2.6, 3.0)
    sounds = [tone(rng, midi, length, timbre) for length in lengths]
    sound = _pair(rng, sounds[0], sounds[1], seconds)
    if not dry:
        sound = add_noise(rng, sound, rng.uniform(0, 5))
    return Draft(
        sound,
        ("the first", "the second"),
        "the first" if first_longer else "the second",
        condition="dry" if dry else "noisy",
        difficulty="hard" if dry else "easy",
        fits=("segments",) if dry else (),
        outside=() if dry else ("segments",),
        describe=((*NOISE, "no" if dry else "yes"),),
        truth={"lengths_s": [round(x, 3) for x in lengths], "timbre": timbre},
    )


PLACES = ("near the beginning", "in the middle", "near the end")


def gap(rng: Generator, timbres: Sequence[str]) -> Draft:
    """Where a steady sound is interrupted. Its time must be set against the clip's length."""
    dry = rng.random() < 0.6
    seconds = rng.uniform(2.4, 3.0)
    third = int(rng.integers(3))
    width = rng.uniform(0.03, 0.06) if dry else rng.uniform(0.3, 0.45)
    low, high = (0.18, 0.28) if third == 0 else (0.45, 0.55) if third == 1 else (0.72, 0.82)
    centre = rng.uniform(low, high) * seconds
    timbre = pick(rng, [t for t in timbres if t not in ("bell", "string")])
    midi = int(rng.integers(55, 76))
    left = tone(rng, midi, centre - width / 2 - 0.1, timbre)
    right = tone(rng, midi, seconds - 0.1 - centre - width / 2, timbre)
    sound = place(seconds, [(0.1, left), (centre + width / 2, right)])
    clicks: tuple[float, ...] = ()
    if not dry:
        sound = add_noise(rng, sound, rng.uniform(0, 5))
    else:
        clicks = tuple(float(t) for t in rng.uniform(0.2, seconds - 0.3, 3))
        dips = [(t, gain(fade(noise_burst(rng, 0.04)), -3.0)) for t in clicks]
        sound = sound + place(seconds, dips)
    return Draft(
        sound,
        PLACES,
        PLACES[third],
        condition="dry" if dry else "noisy",
        difficulty="hard" if dry else "easy",
        fits=("segments",) if dry else (),
        outside=() if dry else ("segments",),
        describe=((*NOISE, "no" if dry else "yes"),),
        truth={"gap_s": [round(centre - width / 2, 3), round(width, 3)], "clicks_s": clicks},
    )


def duration(rng: Generator, timbres: Sequence[str]) -> Draft:
    """How long a single sound lasts (out-of-distribution family)."""
    dry = rng.random() < 0.6
    names = {
        "half a second": 0.5,
        "one second": 1.0,
        "one and a half seconds": 1.5,
        "two seconds": 2.0,
    }
    wanted = pick(rng, list(names))
    seconds = rng.uniform(2.6, 3.0)
    timbre = pick(rng, [t for t in timbres if t not in ("bell", "string")])
    event = tone(rng, int(rng.integers(58, 76)), names[wanted] * rng.uniform(0.97, 1.03), timbre)
    sound = place(seconds, [(rng.uniform(0.1, 0.5), event)])
    if not dry:
        sound = room(rng, add_noise(rng, sound, rng.uniform(0, 5)), 0.6)
    return Draft(
        sound if len(sound) else silence(seconds),
        tuple(names),
        wanted,
        condition="dry" if dry else "noisy",
        difficulty="hard" if dry else "easy",
        fits=("segments",) if dry else (),
        outside=() if dry else ("segments",),
        truth={"seconds": names[wanted], "timbre": timbre},
    )
