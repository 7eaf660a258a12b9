"""Measures the tools that need no download: right how often on sounds of known truth, how fast.

It stops at generated sounds, clean and in white noise: what holds for recordings is for a survey on
recordings. The loudness reference is the table of ITU-R BS.1770-4 at 48 kHz, written out by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from routerlab.audio import make_clip
from routerlab.tools.base import Tool
from routerlab.tools.harmony import QUALITIES
from routerlab.tools.listing import missing, pip_line
from routerlab.tools.registry import find_tool, load_tool
from routerlab.tools.signal import NOTES, Floats
from routerlab.types import Clip

RATE = 16_000
NOISE_DB = 10.0
SPEED, SLOW = 200.0, 5.0
"""Times real time that a signal tool should reach on one core, and a network."""

Made: TypeAlias = tuple[Floats, Any]
"""Samples [n] at `RATE`, and the truth that the scorer knows how to read."""


@dataclass(frozen=True)
class Task:
    """One tool's sounds, its score of one output (0 to 1, averaged) and the bars.

    Attributes:
        bars: least mean score, clean and at 10 dB.
        least_speed: least times real time.
    """

    tool: str
    what: str
    make: Callable[[np.random.Generator, int], Made]
    score: Callable[[dict[str, Any], Any], float]
    bars: tuple[float, float]
    least_speed: float = SPEED


@dataclass(frozen=True)
class Score:
    """One line of the benchmark; `noisy` is at 10 dB, `speed` in times real time."""

    tool: str
    what: str
    clean: float
    noisy: float
    bars: tuple[float, float]
    speed: float
    least_speed: float = SPEED

    def __str__(self) -> str:
        short = [
            f"{name} {value:.3f} < {bar:g}"
            for name, value, bar in (
                ("clean", self.clean, self.bars[0]),
                ("10 dB", self.noisy, self.bars[1]),
            )
            if value < bar
        ]
        slow = self.speed < self.least_speed
        short += [f"{self.speed:.0f} x < {self.least_speed:g} x"] if slow else []
        verdict = f"SHORT: {', '.join(short)}" if short else "reached"
        return (
            f"{self.tool:12} {self.what:34} clean {self.clean:.3f}  10 dB {self.noisy:.3f}  "
            f"{self.speed:6.0f} x  {verdict}"
        )


@dataclass(frozen=True)
class Deviation:
    """A tool that is measured by how far it is off, in a unit of its own.

    Attributes:
        what: how the figure is told.
        measure: () -> the deviation.
        most: the bar.
    """

    tool: str
    what: str
    measure: Callable[[], float]
    most: float

    def line(self) -> str:
        """Measure it; as one line of the benchmark."""
        off, pace = self.measure(), speed(load_tool(self.tool))
        verdict = "reached" if off <= self.most else f"SHORT: more than {self.most:g}"
        return f"{self.tool:12} {self.what.format(off):60}  {pace:6.0f} x  {verdict}"


def bench(names: Sequence[str] = (), clips: int = 96, seed: int = 0) -> Iterator[Score]:
    """Every task of the named tools, one after the other, clean and again in noise.

    Args:
        names: all that are installed if none are given.
    """
    wanted = names or [task.tool for task in TASKS if not lacking(task.tool)]
    return (_measured(task, clips, seed) for task in TASKS if task.tool in wanted)


def lacking(name: str) -> str:
    """The command that installs what a tool needs and is not here; "" if nothing is missing."""
    return pip_line(missing(find_tool(name).card.needs))


def speed(tool: Tool, seconds: float = 10.0, repeats: int = 5) -> float:
    """Seconds of sound a second of work, after a warm-up; the median of some runs."""
    rng = np.random.default_rng(0)
    samples = np.concatenate([_melody(rng, i)[0] for i in range(int(seconds / 2) + 1)])
    clip = make_clip(samples[: round(seconds * RATE)], RATE)
    tool(clip)
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        tool(clip)
        spent.append(time.process_time() - start)
    return seconds / max(float(np.median(spent)), 1e-6)


def _measured(task: Task, clips: int, seed: int) -> Score:
    tool = load_tool(task.tool)
    means = []
    for noise_db in (None, NOISE_DB):
        rng = np.random.default_rng(seed)
        made = [task.make(rng, i) for i in range(clips)]
        given = [_clip(samples, rng, noise_db) for samples, _ in made]
        scores = [
            task.score(dict(tool(clip).values), truth)
            for clip, (_, truth) in zip(given, made, strict=True)
        ]
        means.append(float(np.mean(scores)))
    clean, noisy = means
    return Score(task.tool, task.what, clean, noisy, task.bars, speed(tool), task.least_speed)


def _clip(samples: Floats, rng: np.random.Generator, noise_db: float | None) -> Clip:
    """In white noise so far below the power of what sounds, if asked."""
    if noise_db is not None:
        power = np.mean(samples[np.abs(samples) > 1e-4] ** 2)
        samples = samples + rng.standard_normal(len(samples)) * np.sqrt(
            power * 10 ** (-noise_db / 10)
        )
    return make_clip(samples, RATE)


def _tone(midi: float, seconds: float, rng: np.random.Generator) -> Floats:
    """A note with eight partials, random in level and phase, and soft edges of 8 ms."""
    at = np.arange(round(seconds * RATE)) / RATE
    hertz = 440.0 * 2 ** ((midi - 69) / 12)
    wave = np.zeros(len(at))
    for k in range(1, 9):
        if k * hertz < 7000:
            level = rng.uniform(0.5, 1.0) / k
            wave += level * np.sin(2 * np.pi * (k * hertz * at + rng.uniform()))
    ramp = min(round(0.008 * RATE), len(wave) // 2)
    wave[:ramp] *= np.linspace(0, 1, ramp)
    wave[-ramp:] *= np.linspace(1, 0, ramp)
    return 0.3 * wave / max(float(np.abs(wave).max()), 1e-9)


def _placed(events: Sequence[tuple[float, Floats]], seconds: float) -> Floats:
    canvas = np.zeros(round(seconds * RATE))
    for start, sound in events:
        begin = round(start * RATE)
        part = sound[: len(canvas) - begin]
        canvas[begin : begin + len(part)] += part
    return canvas


def _melody(rng: np.random.Generator, _: int) -> Made:
    midi = float(rng.uniform(45, 84))
    return _placed([(0.2, _tone(midi, 1.5, rng))], 2.0), 440.0 * 2 ** ((midi - 69) / 12)


def _in_tune(values: dict[str, Any], hertz: float) -> float:
    found = values["f0_hz"]
    return float(found is not None and abs(1200 * np.log2(found / hertz)) <= 50)


def _hits(rng: np.random.Generator, _: int) -> Made:
    starts = 0.2 + np.cumsum(rng.uniform(0.15, 0.5, rng.integers(3, 10)))
    starts = starts[starts < 3.7]
    return _placed([(float(at), _hit(rng)) for at in starts], 4.0), starts


def _hit(rng: np.random.Generator) -> Floats:
    fade = np.exp(-np.arange(1600) / 240)
    noise: Floats = 0.3 * rng.uniform(0.5, 1.0) * rng.standard_normal(1600) * fade
    return noise


def _f1(values: dict[str, Any], starts: Floats) -> float:
    return 2 * _matched(values["times_s"], starts) / max(len(values["times_s"]) + len(starts), 1)


def _matched(found: Sequence[float], true: Sequence[float] | Floats, within_s: float = 0.05) -> int:
    """How many of the found lie near a true one, each used once."""
    left = list(map(float, true))
    hits = 0
    for one in sorted(found):
        near = [at for at in left if abs(at - one) <= within_s]
        if near:
            left.remove(min(near))
            hits += 1
    return hits


def _pulse(rng: np.random.Generator, _: int) -> Made:
    bpm = float(rng.uniform(60, 180))
    beats = np.arange(0.1, 7.8, 60 / bpm)
    return _placed([(float(at), _hit(rng)) for at in beats], 8.0), bpm


def _in_tempo(values: dict[str, Any], bpm: float) -> float:
    found = values["tempo_bpm"]
    near = found is not None and any(abs(found / (bpm * k) - 1) <= 0.04 for k in (0.5, 1, 2))
    return float(near)


def _triad(rng: np.random.Generator, index: int) -> Made:
    """All 48 in turn, root position or inverted but for the augmented, which has no inversion."""
    quality = list(QUALITIES)[index // 12 % 4]
    root = index % 12
    notes = [48 + root + step for step in QUALITIES[quality]]
    sounds = [(0.1, _tone(note, 1.8, rng)) for note in notes]
    return _placed(sounds, 2.0) / 2, (NOTES[root], quality)


def _right_chord(values: dict[str, Any], truth: tuple[str, str]) -> float:
    return float((values["root"], values["quality"]) == truth)


def _right_quality(values: dict[str, Any], truth: tuple[str, str]) -> float:
    return float(values["quality"] == truth[1])


_STEPS = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 11)}
_TURNS = ((0, 3, 4, 0), (0, 4, 5, 3), (0, 5, 1, 4, 0), (3, 4, 0))
"""Degrees that chords stand on: cadences and common progressions."""


def _progression(rng: np.random.Generator, index: int) -> Made:
    """All 24 keys in turn, four progressions of triads; minor keys are harmonic."""
    mode, tonic = list(_STEPS)[index // 12 % 2], index % 12
    steps = [step + octave for octave in (0, 12) for step in _STEPS[mode]]
    events = [
        (0.1 + 0.6 * at, _tone(48 + tonic + steps[degree + third], 0.58, rng) / 3)
        for at, degree in enumerate(_TURNS[index // 24 % len(_TURNS)])
        for third in (0, 2, 4)
    ]
    return _placed(events, 3.3), f"{NOTES[tonic]} {mode}"


def _tune(rng: np.random.Generator, index: int) -> Made:
    """One voice that walks on a scale, from its tonic and back to it, in all 24 keys."""
    mode, tonic = list(_STEPS)[index // 12 % 2], index % 12
    walk = np.cumsum(rng.choice([-2, -1, 1, 2], 13))
    degrees = [0, *(int(degree) for degree in np.abs(walk)), 4, 0]
    notes = [60 + tonic + _STEPS[mode][d % 7] + 12 * (d // 7) for d in degrees]
    return _placed([(0.1 + 0.3 * i, _tone(n, 0.3, rng)) for i, n in enumerate(notes)], 5.1), (
        f"{NOTES[tonic]} {mode}"
    )


def _right_key(values: dict[str, Any], key: str) -> float:
    return float(values["key"] == key)


def _music(rng: np.random.Generator, index: int) -> Made:
    samples = _placed([(0.3 * i, _tone(rng.uniform(45, 84), 0.5, rng)) for i in range(8)], 3.0)
    return samples * 10 ** (rng.uniform(-30, 0) / 20), None


def _stretches(rng: np.random.Generator, _: int) -> Made:
    events, edges, at = [], [], 0.3
    for _ in range(rng.integers(2, 5)):
        seconds = float(rng.uniform(0.25, 0.7))
        events.append((at, _tone(rng.uniform(50, 76), seconds, rng)))
        edges += [at, at + seconds]
        at += seconds + float(rng.uniform(0.2, 0.5))
    return _placed(events, at + 0.2), edges


def _edges_found(values: dict[str, Any], edges: list[float]) -> float:
    found = [row[key] for row in values["segments"] for key in ("start_s", "end_s")]
    return 2 * _matched(found, edges) / max(len(found) + len(edges), 1)


def _two_colours(rng: np.random.Generator, _: int) -> Made:
    """A note twice, its partials falling steeply and gently; whether the second is brighter."""
    midi = float(rng.uniform(45, 69))
    slopes = rng.permutation([rng.uniform(0.5, 1.0), rng.uniform(1.5, 2.0)])
    events = [(0.1 + 1.5 * i, _coloured(midi, slope)) for i, slope in enumerate(slopes)]
    return _placed(events, 2.9), bool(slopes[1] < slopes[0])


def _coloured(midi: float, slope: float) -> Floats:
    at = np.arange(round(1.2 * RATE)) / RATE
    hertz = 440.0 * 2 ** ((midi - 69) / 12)
    partials = np.arange(1, 9)
    waves = np.sin(2 * np.pi * hertz * np.outer(partials, at)) / partials[:, None] ** slope
    sound: Floats = waves.sum(axis=0)
    return 0.1 * sound / float(np.sqrt(np.mean(sound**2)))


def _brighter_half(values: dict[str, Any], second: bool) -> float:
    return float((values["halves_hz"][1] > values["halves_hz"][0]) == second)


def bs1770(samples: Floats) -> float:
    """Integrated loudness in LUFS of mono samples at 48 kHz (the standard's own coefficients)."""
    from scipy.signal import lfilter

    shelf = [1.53512485958697, -2.69169618940638, 1.19839281085285]
    weighted = lfilter(shelf, [1.0, -1.69065929318241, 0.73248077421585], samples)
    weighted = lfilter([1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621], weighted)
    starts = range(0, len(weighted) - 19_200 + 1, 4800)
    power = np.array([np.mean(weighted[at : at + 19_200] ** 2) for at in starts])
    power = power[10 * np.log10(power + 1e-20) - 0.691 > -70]
    gate = 10 * np.log10(power.mean()) - 10
    return float(-0.691 + 10 * np.log10(power[10 * np.log10(power) > gate].mean()))


def loudness_error(clips: int = 24, seed: int = 0) -> float:
    """Largest difference in LU between the tool and `bs1770`, on tones and noise at 48 kHz."""
    rng, tool, worst = np.random.default_rng(seed), load_tool("loudness"), 0.0
    for index in range(clips):
        samples = np.repeat(_music(rng, index)[0], 3) + 1e-3 * rng.standard_normal(3 * 3 * RATE)
        found = tool(make_clip(samples, 48_000)).values["lufs"]
        worst = max(worst, abs(found - bs1770(samples)))
    return worst


def snr_error(clips: int = 96, seed: int = 0) -> float:
    """Mean difference in dB of `quality`'s SNR from the truth: music with pauses, 0 to 30 dB."""
    rng, tool, off = np.random.default_rng(seed), load_tool("quality"), []
    for index in range(clips):
        true = float(rng.uniform(0, 30))
        found = tool(_clip(_stretches(rng, index)[0], rng, true)).values["snr_db"]
        off.append(abs(found - true))
    return float(np.mean(off))


TASKS = (
    Task("pitch", "one note within 50 cents", _melody, _in_tune, (0.97, 0.90)),
    Task("pitch_neural", "one note within 50 cents", _melody, _in_tune, (0.97, 0.90), SLOW),
    Task("onsets", "F1 of starts within 50 ms", _hits, _f1, (0.95, 0.85)),
    Task("tempo", "within 4 %, octaves allowed", _pulse, _in_tempo, (0.90, 0.80)),
    Task("chord", "quality of 4 x 12 triads", _triad, _right_quality, (0.90, 0.75)),
    Task("chord", "root and quality of 4 x 12 triads", _triad, _right_chord, (0.90, 0.75)),
    Task("key", "key of progressions in all 24", _progression, _right_key, (0.90, 0.75)),
    Task("key", "key of tunes in all 24", _tune, _right_key, (0.80, 0.70)),
    Task("segments", "F1 of edges within 50 ms", _stretches, _edges_found, (0.95, 0.85)),
    Task("brightness", "which half is brighter", _two_colours, _brighter_half, (0.97, 0.90)),
)

DEVIATIONS = (
    Deviation("loudness", "at most {:.2f} LU from BS.1770's table", loudness_error, 0.3),
    Deviation("quality", "SNR {:.1f} dB off on average, from 0 to 30 dB", snr_error, 3.0),
)
