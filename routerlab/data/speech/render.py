"""Renders the spoken clips that ship, once: `python -m routerlab.data.speech.render FOLDER`.

Needs the library of espeak-ng (Debian: `apt-get install libespeak-ng1`); nothing else here does.
Writes one Ogg a clip and `clips.json`: text, voice, and when each word starts and ends.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from routerlab.data.speech.words import GROUPS, PHRASES

RATE = 16_000
QUALITY = 0.8
"""How hard Vorbis compresses, from 0 to 1."""

VOICES = {
    "low": ("en-us+m1", "en+m3", "en-us+m7", "en-gb-scotland+m5"),
    "high": ("en-us+f2", "en+f4", "en-us+f5", "en-gb-x-rp+f1"),
}
"""Register -> voices. The last of each register is kept for the shifted split."""

_WORD, _RETRIEVAL = 1, 1


@dataclass(frozen=True)
class Spoken:
    """One rendered clip.

    Attributes:
        words: (word, start, end) in seconds.
    """

    file: str
    text: str
    voice: str
    register: str
    shifted: bool
    words: tuple[tuple[str, float, float], ...]


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_longlong),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Speaker:
    """espeak-ng's library: text and a voice to samples and the places of words."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise SystemExit("render: no library of espeak-ng. apt-get install libespeak-ng1")
        self._library = ctypes.CDLL(name)
        self._rate = self._library.espeak_Initialize(_RETRIEVAL, 0, None, 0)
        self._samples: list[NDArray[np.int16]] = []
        self._starts: dict[int, float] = {}
        self._keep = _Callback(self._take)  # the library holds no reference of its own
        self._library.espeak_SetSynthCallback(self._keep)

    def _take(self, wave, count, events) -> int:  # type: ignore[no-untyped-def]
        if wave and count:
            self._samples.append(np.ctypeslib.as_array(wave, (count,)).copy())
        number = 0
        while events[number].type:
            if events[number].type == _WORD:
                place = events[number].text_position - 1
                self._starts.setdefault(place, events[number].audio_position / 1000)
            number += 1
        return 0

    def say(self, text: str, voice: str) -> tuple[NDArray[np.float64], list[float]]:
        """Samples at 16 kHz and the start of each word in seconds.

        Raises:
            SystemExit: a voice that is not there, or words that run into one another.
        """
        self._samples, self._starts = [], {}
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise SystemExit(f"render: espeak-ng has no voice {voice!r}")
        raw = text.encode()
        self._library.espeak_Synth(raw, len(raw) + 1, 0, 1, 0, 1, None, None)
        self._library.espeak_Synchronize()
        sound = np.concatenate(self._samples).astype(np.float64) / 32768
        places = [match.start() for match in re.finditer(r"\S+", text)]
        if missing := [text[p:] for p in places if p not in self._starts]:
            raise SystemExit(f"render: {voice} gives no time for {missing[0]!r} in {text!r}")
        starts = [self._starts[place] for place in places]
        return np.asarray(soxr.resample(sound, self._rate, RATE)), starts


def plan() -> Iterator[tuple[str, str, str, bool]]:
    """(text, voice, register, shifted) of every clip: words and phrases take turns of the voices.

    >>> len(list(plan()))
    298
    """
    words = [word for group in GROUPS for word in group]
    for number, text in enumerate([*words, *PHRASES]):
        register = ("low", "high")[number % 2]
        known = VOICES[register][:-1]
        yield text, known[number // 2 % len(known)], register, False
    for number, text in enumerate([*words, *PHRASES[::2]]):
        register = ("high", "low")[number % 2]
        known, kept = VOICES[register][:-1], VOICES[register][-1]
        shifted = number % 3 == 2
        yield text, kept if shifted else known[(number // 2 + 1) % len(known)], register, shifted


def render(folder: Path) -> int:
    """Write all clips; how many."""
    folder.mkdir(parents=True, exist_ok=True)
    speaker, spoken = Speaker(), []
    for number, (text, voice, register, shifted) in enumerate(plan()):
        sound, starts = speaker.say(text, voice)
        loud = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
        first, last = int(loud[0]), int(loud[-1]) + 1
        length = (last - first) / RATE
        begins = [max(0.0, start - first / RATE) for start in starts]
        ends = [*begins[1:], length]
        times = zip(text.split(), begins, ends, strict=True)
        words = tuple((w, round(a, 3), round(b, 3)) for w, a, b in times)
        file = f"{number:03d}.ogg"
        quiet = sound[first:last] * (0.1 / np.sqrt(np.mean(sound[first:last] ** 2)))
        soundfile.write(
            folder / file, np.clip(quiet, -0.99, 0.99), RATE, format="OGG", subtype="VORBIS",
            compression_level=QUALITY,
        )  # fmt: skip
        spoken.append(Spoken(file, text, voice, register, shifted, words))
    listed = json.dumps([asdict(s) for s in spoken], indent=1)
    (folder / "clips.json").write_text(f"{listed}\n", encoding="utf-8")
    return len(spoken)


if __name__ == "__main__":
    print(f"{render(Path(sys.argv[1]))} clips in {sys.argv[1]}")
