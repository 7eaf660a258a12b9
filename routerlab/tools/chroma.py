"""Energy by pitch class, as heard in a whole clip, and how well keys fit it.

It stops at the mean of the clip: when a note sounds is not kept.
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np

from routerlab.tools.signal import Floats

FRAME = 8192
"""Samples at 16 kHz: notes a semitone apart are told from each other from the third octave up."""

Profiles: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]
"""How much each degree belongs to a major and to a minor key, tonic first [12 each]."""


def mean_spectrum(samples: Floats, frame: int = FRAME) -> Floats:
    """Mean power spectrum [frame / 2 + 1] of at least one frame of samples [n]."""
    import librosa

    power = np.abs(librosa.stft(samples, n_fft=frame, hop_length=frame // 2)) ** 2
    spectrum: Floats = power.mean(axis=1)
    return spectrum


def chroma_of(spectrum: Floats, rate: int) -> Floats:
    """Chroma [12] of unit length, C first, of a mean power spectrum [frame / 2 + 1]."""
    chroma = np.sqrt(_wheel(rate, 2 * (len(spectrum) - 1)) @ spectrum)
    return chroma / max(float(np.linalg.norm(chroma)), 1e-9)


def key_likenesses(chroma: Floats, profiles: Profiles) -> list[tuple[float, int, str]]:
    """(correlation with the rotated profile, tonic's pitch class, mode) of all 24 keys."""
    return [
        (float(np.corrcoef(chroma, np.roll(profile, tonic))[0, 1]), tonic, mode)
        for mode, profile in zip(("major", "minor"), profiles, strict=True)
        for tonic in range(12)
    ]


@cache
def _wheel(rate: int, frame: int) -> Floats:
    """Chroma filters [12, frame / 2 + 1] that listen mostly to the second to fifth octave.

    Cubed: librosa's filters are wide enough that a tone leaks into its neighbours.
    """
    import librosa

    filters: Floats = librosa.filters.chroma(
        sr=rate, n_fft=frame, tuning=0.0, ctroct=4.0, octwidth=1.2, norm=None
    )
    return filters**3
