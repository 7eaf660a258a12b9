"""The sounds SynthAQA is made of: tones, hits, noise, rooms. Pure functions of a generator.

Everything is float64 at 16 kHz until `finish` scales and rounds it. Nothing here knows a question.
SciPy's filters are imported where they filter: names of data are looked up by commands that make no
sound, and importing them takes longer than such a command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

SAMPLE_RATE = 16_000

NOTES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")

Sound = NDArray[np.float64]


@dataclass(frozen=True)
class Timbre:
    """A spectrum and an envelope: relative partial amplitudes at `ratios` × f0, decay in 1/s."""

    partials: tuple[float, ...]
    ratios: tuple[float, ...] = ()
    decay: float = 0.0
    breath: float = 0.0


TIMBRES: dict[str, Timbre] = {
    "flute": Timbre((1.0, 0.15, 0.05), breath=0.03),
    "organ": Timbre((1.0, 0.7, 0.5, 0.6, 0.0, 0.4, 0.0, 0.3)),
    "reed": Timbre((0.6, 0.05, 1.0, 0.05, 0.5, 0.03, 0.3, 0.02, 0.2)),
    "string": Timbre(tuple(1 / n for n in range(1, 13)), decay=2.5),
    "bell": Timbre((1.0, 0.6, 0.5, 0.4, 0.25), ratios=(1.0, 2.0, 2.76, 4.07, 5.4), decay=3.5),
    "voice": Timbre((0.7, 1.0, 0.9, 0.35, 0.15, 0.2, 0.3, 0.2, 0.08), breath=0.01),
}
HARMONIC = ("flute", "organ", "string", "voice")
"""Timbres whose fundamental is plain to an autocorrelation and to a chromagram alike."""

OOD_TIMBRES: dict[str, Timbre] = {
    "accordion": Timbre((1.0, 0.9, 0.6, 0.5, 0.4, 0.3, 0.2), breath=0.005),
    "chip": Timbre((1.0, 0.0, 0.33, 0.0, 0.2, 0.0, 0.14, 0.0, 0.11, 0.0, 0.09)),
    "horn": Timbre((0.5, 0.9, 1.0, 0.8, 0.5, 0.3, 0.15)),
}
ALL_TIMBRES = TIMBRES | OOD_TIMBRES


def hertz(midi: float) -> float:
    """Equal temperament, A4 (69) = 440 Hz."""
    return float(440.0 * 2 ** ((midi - 69) / 12))


def note_name(midi: int) -> str:
    """Pitch class spelt with flats, which the official scorer's word tokens can tell apart.

    >>> note_name(61), note_name(69)
    ('Db', 'A')
    """
    return NOTES[midi % 12]


def silence(seconds: float) -> Sound:
    """Zeros."""
    return np.zeros(round(seconds * SAMPLE_RATE))


def fade(sound: Sound, attack: float = 0.01, release: float = 0.02) -> Sound:
    """Raised-cosine edges, in seconds, so that no edge clicks."""
    out = sound.copy()
    rise = min(max(1, round(attack * SAMPLE_RATE)), len(out))
    fall = min(max(1, round(release * SAMPLE_RATE)), len(out))
    out[:rise] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(rise) / rise)
    out[-fall:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(fall) / fall)
    return out


def tone(rng: Generator, midi: float, seconds: float, timbre: str) -> Sound:
    """One note, RMS 0.1 over its sounding part, with random phases."""
    spec = ALL_TIMBRES[timbre]
    n = round(seconds * SAMPLE_RATE)
    time = np.arange(n) / SAMPLE_RATE
    ratios = np.array(spec.ratios or range(1, len(spec.partials) + 1), dtype=float)
    frequencies = hertz(midi) * ratios
    kept = frequencies < 0.47 * SAMPLE_RATE
    amplitudes = np.array(spec.partials)[kept, None]
    phases = rng.uniform(0, 2 * np.pi, (kept.sum(), 1))
    wave = (amplitudes * np.sin(2 * np.pi * frequencies[kept, None] * time + phases)).sum(axis=0)
    if spec.decay:
        wave *= np.exp(-spec.decay * time)
    if spec.breath:
        wave += spec.breath * rng.standard_normal(n) * np.abs(amplitudes).max()
    return fade(level(wave, -20.0))


def noise_burst(rng: Generator, seconds: float, low: float = 100.0, high: float = 7000.0) -> Sound:
    """Band-limited noise, in Hz, RMS 0.1."""
    from scipy.signal import butter, sosfilt

    edges = butter(2, (low, high), "bandpass", fs=SAMPLE_RATE, output="sos")
    raw = rng.standard_normal(round(seconds * SAMPLE_RATE) + 400)
    return fade(level(sosfilt(edges, raw)[400:], -20.0), 0.004, 0.01)


def knock(rng: Generator, seconds: float = 0.12, pitch: float = 220.0) -> Sound:
    """A wooden hit: a short low resonance and a click."""
    n = round(seconds * SAMPLE_RATE)
    time = np.arange(n) / SAMPLE_RATE
    body = np.sin(2 * np.pi * pitch * time) * np.exp(-35 * time)
    click = rng.standard_normal(n) * np.exp(-300 * time)
    return fade(level(body + 0.6 * click, -20.0), 0.001, 0.02)


def sweep(seconds: float, start_hz: float, end_hz: float) -> Sound:
    """A logarithmic chirp."""
    from scipy.signal import chirp

    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = chirp(time, start_hz, seconds, end_hz, method="logarithmic")
    return fade(level(wave, -20.0))


def level(sound: Sound, decibels: float) -> Sound:
    """Scale to an RMS level in dB re full scale."""
    rms = float(np.sqrt(np.mean(sound**2))) if len(sound) else 0.0
    return sound * (10 ** (decibels / 20) / rms) if rms > 0 else sound


def gain(sound: Sound, decibels: float) -> Sound:
    """Scale by a relative level."""
    return sound * 10 ** (decibels / 20)


def place(seconds: float, events: Sequence[tuple[float, Sound]]) -> Sound:
    """Mix sounds into a canvas at their start times; what falls beyond its end is cut."""
    canvas = silence(seconds)
    for start, sound in events:
        begin = round(start * SAMPLE_RATE)
        end = min(len(canvas), begin + len(sound))
        canvas[begin:end] += sound[: max(0, end - begin)]
    return canvas


def add_noise(rng: Generator, sound: Sound, snr_db: float) -> Sound:
    """Add pink-ish noise over the whole clip at an SNR against the sounding part's power."""
    from scipy.signal import lfilter

    active = sound[np.abs(sound) > 1e-4]
    power = float(np.mean(active**2)) if len(active) else 1e-2
    hiss = lfilter([1.0, 0.4], [1.0, -0.7], rng.standard_normal(len(sound)))
    hiss *= np.sqrt(power / np.mean(hiss**2)) * 10 ** (-snr_db / 20)
    return np.asarray(sound + hiss)


def echo(sound: Sound, delay: float, feedback: float, repeats: int = 3) -> Sound:
    """Discrete echoes, each `feedback` times the one before."""
    out = sound.copy()
    step = round(delay * SAMPLE_RATE)
    for k in range(1, repeats + 1):
        if k * step < len(sound):
            out[k * step :] += feedback**k * sound[: len(sound) - k * step]
    return out


def room(rng: Generator, sound: Sound, rt60: float) -> Sound:
    """Convolve with exponentially decaying noise: 60 dB down after `rt60` seconds."""
    from scipy.signal import fftconvolve

    n = round(rt60 * SAMPLE_RATE)
    tail = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    tail *= 0.5 / np.sqrt(np.sum(tail**2))
    return np.asarray(sound + fftconvolve(sound, tail)[: len(sound)])


def curve(sound: Sound, points_db: Sequence[float]) -> Sound:
    """Apply a gain curve given in dB at equally spaced points."""
    at = np.linspace(0, 1, len(sound))
    shape = np.interp(at, np.linspace(0, 1, len(points_db)), points_db)
    return np.asarray(sound * 10 ** (shape / 20))


def finish(rng: Generator, sound: Sound) -> NDArray[np.float32]:
    """Overall level at random, a quiet floor, no clipping, on the 16-bit grid a WAV file keeps."""
    out = gain(sound, rng.uniform(-6, 6)) + 2e-4 * rng.standard_normal(len(sound))
    out *= min(1.0, 0.95 / float(np.abs(out).max()))
    return (np.round(out * 32767) / 32767).astype(np.float32)
