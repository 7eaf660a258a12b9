"""Question families about level and colour: trend, louder, timbre, brightness, voiced."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.random import Generator

from routerlab.data.synth.item import Draft
from routerlab.data.synth.pitched import NOISE, pick
from routerlab.data.synth.sounds import (
    OOD_TIMBRES,
    TIMBRES,
    add_noise,
    curve,
    gain,
    noise_burst,
    place,
    tone,
)

TRENDS: dict[str, tuple[float, ...]] = {
    "it gets louder": (-1.0, 1.0),
    "it gets quieter": (1.0, -1.0),
    "it stays level": (0.0, 0.0),
    "it swells and fades": (-1.0, 1.0, -1.0),
}


def trend(rng: Generator, timbres: Sequence[str]) -> Draft:
    """How a tone's level moves: slight when alone; wide beside noise that moves on its own."""
    alone = rng.random() < 0.6
    answer = pick(rng, list(TRENDS))
    half = rng.uniform(0.3, 0.5) if alone else rng.uniform(9.0, 12.0)
    seconds = rng.uniform(2.3, 3.0)
    names = [t for t in timbres if t not in ("bell", "string")]
    length = seconds - 0.2
    sound = tone(rng, int(rng.integers(62, 80)), length, pick(rng, names))
    sound = curve(sound, [half * p for p in TRENDS[answer]])
    if not alone:
        bed = noise_burst(rng, length, 60.0, 400.0)
        moves = TRENDS[pick(rng, [t for t in TRENDS if t != answer])]
        sound = sound + gain(curve(bed, [rng.uniform(2, 4) * p for p in moves]), 14.0)
    return Draft(
        place(seconds, [(0.1, sound)]),
        tuple(TRENDS),
        answer,
        condition="alone" if alone else "over_noise",
        difficulty="hard" if alone else "easy",
        fits=("loudness",) if alone else (),
        outside=() if alone else ("loudness",),
        describe=((*NOISE, "no" if alone else "yes"),),
        truth={"change_db": round(2 * half, 2)},
    )


def louder(rng: Generator, timbres: Sequence[str]) -> Draft:
    """Which of two tones is louder. A rumble under the softer one lifts the level, not the tone."""
    dry = rng.random() < 0.6
    step = rng.uniform(0.15, 0.3) if dry else rng.uniform(8.0, 12.0)
    first_louder = rng.random() < 0.5
    seconds = rng.uniform(2.3, 3.0)
    length = rng.uniform(0.6, 0.8)
    names = [t for t in timbres if t not in ("bell", "string")]
    timbre, midi = pick(rng, names), int(rng.integers(58, 76))
    pair = [tone(rng, midi, length, timbre), tone(rng, midi, length, timbre)]
    pair[0 if first_louder else 1] = gain(pair[0 if first_louder else 1], step)
    start, between = rng.uniform(0.1, 0.25), rng.uniform(0.2, 0.35)
    sound = place(seconds, [(start, pair[0]), (start + length + between, pair[1])])
    if not dry:
        softer = start + (length + between if first_louder else 0.0)
        rumble = gain(noise_burst(rng, length, 60.0, 400.0), step + rng.uniform(3, 5))
        sound = sound + place(seconds, [(softer, rumble)])
    return Draft(
        sound,
        ("the first", "the second"),
        "the first" if first_louder else "the second",
        condition="dry" if dry else "rumble",
        difficulty="hard" if dry else "easy",
        fits=("segments", "loudness") if dry else (),
        outside=() if dry else ("loudness", "segments"),
        describe=((*NOISE, "no" if dry else "yes"),),
        truth={"step_db": round(step, 2), "timbre": timbre},
    )


def timbre(rng: Generator, timbres: Sequence[str]) -> Draft:
    """What kind of instrument plays: no tool measures it."""
    names = list(OOD_TIMBRES) if timbres[0] in OOD_TIMBRES else list(TIMBRES)
    wanted = pick(rng, names)
    others = [n for n in names if n != wanted]
    chosen = [others[i] for i in rng.permutation(len(others))[:3]]
    seconds = rng.uniform(2.0, 2.6)
    notes = [int(m) for m in rng.integers(57, 76, 3)]
    length = (seconds - 0.3) / 3
    events = [(0.1 + k * length, tone(rng, m, length * 0.95, wanted)) for k, m in enumerate(notes)]
    return Draft(
        place(seconds, events),
        (wanted, *chosen),
        wanted,
        condition="tune",
        difficulty="easy",
        outside=("pitch", "brightness"),
        truth={"midi": notes, "timbre": wanted},
    )


def brightness(rng: Generator, timbres: Sequence[str]) -> Draft:
    """Which of two noises sounds brighter."""
    low, high = rng.uniform(500, 1200), rng.uniform(2200, 4500)
    first = rng.random() < 0.5
    centres = (high, low) if first else (low, high)
    seconds = rng.uniform(2.1, 2.7)
    length = rng.uniform(0.6, 0.8)
    bands = [noise_burst(rng, length, c / 1.4, c * 1.4) for c in centres]
    sound = place(seconds, [(0.15, bands[0]), (0.4 + length, bands[1])])
    return Draft(
        sound,
        ("the first", "the second"),
        "the first" if first else "the second",
        condition="bands",
        difficulty="easy",
        outside=("brightness", "loudness"),
        truth={"centres_hz": [round(c) for c in centres]},
    )


VOICED = ("a pitched tone", "only noise", "a tone inside noise")


def voiced(rng: Generator, timbres: Sequence[str]) -> Draft:
    """Whether the clip holds a pitch, noise, or both."""
    answer = pick(rng, VOICED)
    seconds = rng.uniform(2.0, 2.8)
    names = [t for t in timbres if t not in ("bell", "string")]
    sound = place(
        seconds, [(0.1, tone(rng, int(rng.integers(57, 78)), seconds - 0.3, pick(rng, names)))]
    )
    if answer == "only noise":
        sound = place(seconds, [(0.1, noise_burst(rng, seconds - 0.3))])
    elif answer == "a tone inside noise":
        sound = add_noise(rng, sound, rng.uniform(-3, 3))
    return Draft(
        sound,
        VOICED,
        answer,
        condition=answer.replace(" ", "_"),
        difficulty="easy",
        outside=("pitch",) if answer != "a pitched tone" else (),
        truth={},
    )
