"""Question families about time: tempo, count, order, longer, gap, duration.

As in `pitched`, one wording covers clips inside and outside what a tool measures: echoes fool an
onset counter, off-beat hits fool a rate of onsets, two slow hits are no pulse to a tempo tracker,
noise that follows a tone or fills its pause makes the stretch of sound longer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from routerlab.data.synth.item import Draft
from routerlab.data.synth.pitched import pick
from routerlab.data.synth.sounds import (
    Sound,
    echo,
    gain,
    knock,
    noise_burst,
    place,
    sweep,
    tone,
)

ECHO = ("Does the sound echo?", ("yes", "no"))
BURST = ("Is there a burst of noise beside the tone?", ("yes", "no"))
EVENTS = ("a noise burst", "a beep", "a knock", "a rising sweep")


def tempo(rng: Generator, timbres: Sequence[str]) -> Draft:
    """Beats a minute. Extra hits spoil a rate of onsets; two slow hits are no pulse to a tracker.

    Both sorts of clip are asked with two speeds and their doubles, so options do not tell which.
    """
    dense = rng.random() < 0.5
    bpm = float(rng.integers(76, 101) if dense else rng.integers(38, 50))
    period = 60 / bpm
    seconds = rng.uniform(2.8, 3.0)
    start = rng.uniform(0.05, 0.25)
    pitch = rng.uniform(180, 320)
    beats = np.arange(start, seconds - 0.12, period)
    events = [(float(t), knock(rng, 0.12, pitch)) for t in beats]
    if dense:
        extras = [b + period * f for b in beats[:-1] for f in (0.5, 0.75) if rng.random() < 0.5]
        events += [(float(t), gain(knock(rng, 0.08, 2 * pitch), -9.0)) for t in extras]
    other = bpm * float(rng.choice([0.97, 1.03]))
    octave = 0.5 if dense else 2.0
    choices = tuple(f"{round(x)} bpm" for x in (bpm, other, bpm * octave, other * octave))
    return Draft(
        place(seconds, events),
        choices,
        choices[0],
        condition="dense" if dense else "slow",
        difficulty="hard",
        fits=("tempo",) if dense else ("onsets",),
        outside=("onsets",) if dense else ("tempo",),
        truth={"bpm": bpm, "hits": len(events)},
    )


def count(rng: Generator, timbres: Sequence[str]) -> Draft:
    """How many sounds were played; echoes do not count and fool an onset counter."""
    dry = rng.random() < 0.55
    number = int(rng.integers(6, 15)) if dry else int(rng.integers(3, 8))
    seconds = rng.uniform(2.7, 3.0)
    timbre = pick(rng, [t for t in timbres if t != "bell"])
    midi = int(rng.integers(64, 84))
    slots = np.linspace(0.1, seconds - 0.4, number) + rng.uniform(-0.02, 0.02, number)
    sound = place(seconds, [(float(t), tone(rng, midi, 0.08, timbre)) for t in slots])
    if not dry:
        sound = echo(sound, rng.uniform(0.11, 0.17), rng.uniform(0.5, 0.65), repeats=1)
    # Doubles and halves stand among the options of dry clips too: options must not tell an echo.
    chosen = [number] if rng.random() < (0.5 if dry else 0.8) else []
    chosen += [-number // 2] if number % 2 == 0 and rng.random() < (0.5 if dry else 0.2) else []
    near = [d for d in rng.permutation([-2, -1, 1, 2]) if number + d > 0 and int(d) not in chosen]
    chosen = [int(d) for d in (*chosen, *near)][:3]
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
    kinds = [EVENTS[i] for i in rng.permutation(4)[:3]]
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


def longer(rng: Generator, timbres: Sequence[str]) -> Draft:
    """Which of two tones lasts longer. Noise that follows one at once is sound, but not tone."""
    alone = rng.random() < 0.6
    ratio = rng.uniform(1.02, 1.035) if alone else rng.uniform(2.2, 2.8)
    short = rng.uniform(0.6, 0.8) if alone else rng.uniform(0.24, 0.34)
    first_longer = rng.random() < 0.5
    lengths = (short * ratio, short) if first_longer else (short, short * ratio)
    timbre = pick(rng, [t for t in timbres if t not in ("bell", "string")])
    midi = int(rng.integers(58, 76))
    seconds = rng.uniform(2.7, 3.0)
    events: list[tuple[float, Sound]] = []
    at = rng.uniform(0.1, 0.25)
    for length in lengths:
        events.append((at, tone(rng, midi, length, timbre)))
        at += length
        if not alone and length == short:
            burst = short * ratio - short + rng.uniform(0.25, 0.5)
            events.append((at - 0.01, noise_burst(rng, burst)))
            at += burst
        at += rng.uniform(0.2, 0.3)
    return Draft(
        place(seconds, events),
        ("the first", "the second"),
        "the first" if first_longer else "the second",
        condition="alone" if alone else "crowded",
        difficulty="hard" if alone else "easy",
        fits=("segments",) if alone else (),
        outside=() if alone else ("segments",),
        describe=((*BURST, "no" if alone else "yes"),),
        truth={"lengths_s": [round(x, 3) for x in lengths], "timbre": timbre},
    )


PLACES = ("near the beginning", "in the middle", "near the end")


def gap(rng: Generator, timbres: Sequence[str]) -> Draft:
    """Where a tone is interrupted. Noise that fills the pause hides it from a meter of silence.

    A pause between that tone and a burst of noise is then the only silence there is.
    """
    alone = rng.random() < 0.6
    seconds = rng.uniform(2.5, 3.0)
    third = int(rng.integers(3))
    width = rng.uniform(0.03, 0.06) if alone else rng.uniform(0.2, 0.3)
    burst_first = not alone and (third == 2 or (third == 1 and rng.random() < 0.5))
    begin = 0.55 if burst_first else 0.1
    end = seconds - (0.1 if alone or burst_first else 0.55)
    low, high = (0.2, 0.28) if third == 0 else (0.45, 0.55) if third == 1 else (0.72, 0.8)
    centre = begin + rng.uniform(low, high) * (end - begin)
    timbre = pick(rng, [t for t in timbres if t not in ("bell", "string")])
    midi = int(rng.integers(55, 76))
    left = tone(rng, midi, centre - width / 2 - begin, timbre)
    right = tone(rng, midi, end - centre - width / 2, timbre)
    events = [(begin, left), (centre + width / 2, right)]
    if not alone:
        events.append((centre - width / 2 - 0.01, noise_burst(rng, width + 0.02)))
        events.append((0.1 if burst_first else end + 0.13, noise_burst(rng, 0.32)))
    return Draft(
        place(seconds, events),
        PLACES,
        PLACES[third],
        condition="alone" if alone else "crowded",
        difficulty="hard" if alone else "easy",
        fits=("segments",) if alone else (),
        outside=() if alone else ("segments",),
        describe=((*BURST, "no" if alone else "yes"),),
        truth={"gap_s": [round(centre - width / 2, 3), round(width, 3)], "timbre": timbre},
    )


def duration(rng: Generator, timbres: Sequence[str]) -> Draft:
    """How long a single sound lasts (out-of-distribution family)."""
    alone = rng.random() < 0.6
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
    if not alone:
        sound = sound + place(seconds, [(rng.uniform(0.0, 2.0), noise_burst(rng, 0.5))])
    return Draft(
        sound,
        tuple(names),
        wanted,
        condition="alone" if alone else "crowded",
        difficulty="hard" if alone else "easy",
        fits=("segments",) if alone else (),
        outside=() if alone else ("segments",),
        truth={"seconds": names[wanted], "timbre": timbre},
    )
