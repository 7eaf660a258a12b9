"""Opens, bounds, downmixes, resamples and fingerprints sound; no other file does.

It stops at a `Clip`: mono float32 in memory, at most `max_seconds` long. Nothing is guessed: a file
that cannot be read to its declared end is refused by name, and what the limit drops is recorded.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from routerlab.errors import AudioError
from routerlab.types import Clip

if TYPE_CHECKING:
    import soundfile

SAMPLE_RATE = 16_000
MAX_SECONDS = 30.0
MAX_CHANNELS = 8
MIN_RATE, MAX_RATE = 1_000, 384_000
MAX_BYTES = 128 * 2**20
"""Most memory the kept part of a file may take as mono float32 before resampling."""

_LOUDEST = 1e6
"""Samples beyond this are a damaged file, not sound (16-bit integers stored as floats pass)."""


def make_clip(samples: NDArray[Any], sample_rate: int, path: str = "") -> Clip:
    """A clip of samples already in memory.

    Args:
        samples: [n], mono; kept as float32.

    Raises:
        AudioError: not one-dimensional, empty, or not finite.

    >>> make_clip(np.zeros(8000), 16_000).seconds
    0.5
    """
    kept = np.ascontiguousarray(samples, dtype=np.float32)
    problem = _problem(kept, sample_rate)
    if problem:
        raise AudioError(f"audio {path or 'samples'}: {problem}")
    return Clip(kept, int(sample_rate), fingerprint(kept, sample_rate), path=path)


def fingerprint(samples: NDArray[np.float32], sample_rate: int) -> str:
    """SHA-256 (hex) of the rate and the samples as little-endian float32."""
    digest = hashlib.sha256(struct.pack("<q", int(sample_rate)))
    digest.update(np.ascontiguousarray(samples, dtype="<f4").data)
    return digest.hexdigest()


def load_clip(
    path: str | Path, *, sample_rate: int = SAMPLE_RATE, max_seconds: float = MAX_SECONDS
) -> Clip:
    """Decode the first `max_seconds` of a sound file as mono at `sample_rate`.

    Formats are libsndfile's: wav, flac, ogg, mp3 and others. Size, channels and rate are checked
    from the header before anything is decoded; decoding goes second by second (MP3, of two channels
    at most, at once), so that a small file cannot unpack to more memory than the limit allows.

    Raises:
        AudioError: naming the file, for anything that is not sound or not whole.
    """
    import soundfile

    name = str(path)
    if not Path(path).is_file():
        raise AudioError(f"audio {name}: no such file. Give the path of a sound file.")
    try:
        with soundfile.SoundFile(name) as sound:
            total, rate = sound.frames, sound.samplerate
            limit = _frames_to_read(sound, name, max_seconds)
            mono = _read_mono(sound, limit, name)
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError) as err:
        if isinstance(err, AudioError):
            raise
        raise AudioError(f"audio {name}: cannot be decoded ({_first_line(err)}).") from err
    samples = _resample(mono, rate, sample_rate)
    problem = _problem(samples, sample_rate)
    if problem:
        raise AudioError(f"audio {name}: {problem}")
    cut = max(0, total - limit) / rate
    return Clip(samples, sample_rate, fingerprint(samples, sample_rate), cut, name)


def header_problem(path: str | Path) -> str:
    """What a sound file's header alone shows to be wrong; "" if nothing.

    A file that was cut off in the middle can look right here: only decoding it tells.
    """
    import soundfile

    name = str(path)
    if not Path(path).is_file():
        return f"no such sound file: {name}"
    try:
        with soundfile.SoundFile(name) as sound:
            _frames_to_read(sound, name, MAX_SECONDS)
    except AudioError as error:
        return str(error)
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError) as error:
        return f"audio {name}: cannot be decoded ({_first_line(error)})."
    return ""


def _frames_to_read(sound: soundfile.SoundFile, name: str, max_seconds: float) -> int:
    rate, channels = sound.samplerate, sound.channels
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(f"audio {name}: {rate} Hz; allowed are {MIN_RATE} to {MAX_RATE} Hz.")
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(f"audio {name}: {channels} channels; at most {MAX_CHANNELS} are read.")
    if sound.frames <= 0:
        raise AudioError(f"audio {name}: holds no samples.")
    limit = min(int(sound.frames), int(max_seconds * rate))
    if limit < 1:
        raise AudioError(f"audio {name}: a limit of {max_seconds} s keeps no samples.")
    if limit * 4 > MAX_BYTES:
        raise AudioError(
            f"audio {name}: {limit / rate:.0f} s at {rate} Hz need {limit * 4 / 2**20:.0f} MiB; "
            f"at most {MAX_BYTES / 2**20:.0f} MiB are decoded. Lower max_seconds."
        )
    return limit


def _read_mono(sound: soundfile.SoundFile, limit: int, name: str) -> NDArray[np.float32]:
    mono = np.empty(limit, dtype=np.float32)
    # soundfile seeks after every read, and an MP3 decoder, once sought, lacks the bits that frames
    # borrow from earlier ones: it gives zeros without a word.
    most = limit if sound.subtype.startswith("MPEG") else sound.samplerate
    done = 0
    while done < limit:
        block = sound.read(min(most, limit - done), dtype="float32", always_2d=True)
        if not len(block):
            break
        mono[done : done + len(block)] = block.mean(axis=1)
        done += len(block)
    # A truncated MP3 decodes to fewer frames than it declares, without any error.
    if done < limit:
        raise AudioError(
            f"audio {name}: ends after {done} of {limit} declared samples; the file is truncated."
        )
    return mono


def _resample(mono: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    if rate == wanted:
        return mono
    import soxr

    return np.ascontiguousarray(soxr.resample(mono, rate, wanted, quality="HQ"), dtype=np.float32)


def _problem(samples: NDArray[np.float32], sample_rate: int) -> str:
    if sample_rate <= 0:
        return f"a sample rate of {sample_rate} Hz; it must be above 0."
    if samples.ndim != 1:
        return f"samples of shape {samples.shape}; give one channel, [n]."
    if not len(samples):
        return "holds no samples."
    if not np.isfinite(samples).all():
        return "holds NaN or infinite samples."
    if float(np.abs(samples).max()) > _LOUDEST:
        return f"holds samples beyond {_LOUDEST:g}; the file is damaged."
    return ""


def _first_line(err: BaseException) -> str:
    lines = str(err).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(err).__name__
