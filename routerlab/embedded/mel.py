"""Log-mel features in numpy, for preparing training clips in processes that import no torch.

The same numbers as `LALM.log_mel` gives with the shipped feature extractor (a test compares them);
inference always goes through the extractor.
"""

from __future__ import annotations

from functools import cache

import librosa
import numpy as np
from numpy.typing import NDArray

N_FFT = 400
HOP = 160
RATE = 16_000


@cache
def _filters(bins: int) -> NDArray[np.float32]:
    return librosa.filters.mel(
        sr=RATE, n_fft=N_FFT, n_mels=bins, fmin=0.0, fmax=8000.0, htk=False, norm="slaney"
    )


def log_mel(samples: NDArray[np.float32], bins: int) -> NDArray[np.float16]:
    """Whisper's log-mel of one clip at 16 kHz, [ceil(len(samples) / 160), bins]."""
    # A mirror image before the clip, silence after it: a padded batch looks the same.
    padded = np.pad(np.pad(samples, (N_FFT // 2, 0), mode="reflect"), (0, N_FFT))
    count = -(-len(samples) // HOP)
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP][:count]
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    logs = np.log10(np.maximum(power @ _filters(bins).T, 1e-10))
    logs = np.maximum(logs, logs.max() - 8.0)
    scaled: NDArray[np.float16] = ((logs + 4.0) / 4.0).astype(np.float16)
    return scaled
