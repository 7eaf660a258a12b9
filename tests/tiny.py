"""A tiny random LALM folder and clips for tests: real architecture, real tokenizer, no training."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from routerlab.embedded.architectures import Architecture, Sizes
from routerlab.embedded.build import build
from routerlab.types import Clip

CORPUS = (
    "Which note is played? choices: C4 | Eb4 | G4 | Bb4",
    "How many events are there? choices: 1 | 2 | 3 | 12",
    "tool output: pitch: C4 +3 cents at 0.1 to 0.8 s; E4 -2 cents at 0.9 to 1.6 s",
    "tool output: tempo: 124 bpm, 5 beats",
    "answer: Eb minor",
    "Actions: A direct B pitch C tempo. action: A",
)

SIZES = Sizes(
    text_width=32, text_layers=2, text_heads=2, text_ffn=48, text_rope=(2, 3, 3), audio_width=32,
    audio_layers=1, audio_heads=2, audio_ffn=48, mel_bins=16, chunk_frames=150, pieces=420,
)  # fmt: skip


def tiny_folder(
    folder: Path,
    *,
    seed: int = 0,
    sizes: Sizes = SIZES,
    architecture: Architecture | None = None,
) -> str:
    """Write a random tiny model into `folder` and return its path."""
    build(folder, CORPUS, sizes, seed=seed, architecture=architecture)
    return str(folder)


def tone(seconds: float = 1.0, hz: float = 440.0, seed: int = 0) -> Clip:
    """A noisy tone at 16 kHz."""
    time = np.arange(int(seconds * 16_000)) / 16_000
    noise = np.random.default_rng(seed).normal(0, 0.02, len(time))
    samples = (0.3 * np.sin(2 * np.pi * hz * time) + noise).astype(np.float32)
    fingerprint = hashlib.sha256(b"16000" + samples.tobytes()).hexdigest()
    return Clip(samples, 16_000, fingerprint)
