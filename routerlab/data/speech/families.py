"""The families of speech questions: each draws clips, lays them out, and knows the answer.

Which word, how many words, who speaks first, one voice or two, where the pause is, speech or not;
over a quiet ground, noise, music or in a room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

from routerlab.data.speech.clips import Speech
from routerlab.data.speech.words import GROUPS
from routerlab.data.synth.item import Draft
from routerlab.data.synth.sounds import (
    SAMPLE_RATE,
    TIMBRES,
    Sound,
    add_noise,
    curve,
    gain,
    noise_burst,
    place,
    room,
    tone,
)

SECONDS = 3.0
PAUSE = (0.45, 0.6)
"""Seconds of an inserted pause; between words spoken on end there is none."""

ORDINALS = ("first", "second", "third", "fourth")
GROUNDS = {"clean": 0.4, "noisy": 0.25, "music": 0.2, "room": 0.15}


def which_word(rng: Generator, clips: Sequence[Speech]) -> Draft:
    """One word among three that sound alike."""
    clip = _one(rng, [c for c in clips if len(c.words) == 1])
    group = next(g for g in GROUPS if clip.text in g)
    others = [w for w in group if w != clip.text]
    choices = (clip.text, *(others[i] for i in rng.permutation(len(others))[:2]))
    return _draft(rng, clip.sound, choices, clip.text, [clip], fits=("transcript",))


def word_count(rng: Generator, clips: Sequence[Speech]) -> Draft:
    """How many words a phrase has; onsets are of syllables, not of words."""
    clip = _one(rng, [c for c in clips if len(c.words) > 1])
    count = len(clip.words)
    near = [n for n in range(1, 8) if n != count and abs(n - count) <= 2]
    choices = (str(count), *(str(near[i]) for i in rng.permutation(len(near))[:2]))
    return _draft(
        rng, clip.sound, choices, str(count), [clip], fits=("transcript",), outside=("onsets",)
    )


def first_voice(rng: Generator, clips: Sequence[Speech]) -> Draft:
    """A low and a high voice, one after the other."""
    low, high = (_one(rng, [c for c in clips if c.register == r]) for r in ("low", "high"))
    pair = [low, high] if rng.random() < 0.5 else [high, low]
    answer = f"the {'lower' if pair[0] is low else 'higher'} voice"
    choices = ("the lower voice", "the higher voice")
    return _draft(
        rng, _turns(rng, pair), choices, answer, pair, fits=("pitch", "speakers"), hides=("pitch",)
    )


def voices(rng: Generator, clips: Sequence[Speech]) -> Draft:
    """Two words by one voice or by two."""
    first = _one(rng, clips)
    same = rng.random() < 0.5
    pool = [c for c in clips if (c.voice == first.voice) == same and c.text != first.text]
    pair = [first, _one(rng, pool)]
    answer = "one voice" if same else "two voices"
    choices = ("one voice", "two voices")
    return _draft(
        rng, _turns(rng, pair), choices, answer, pair, fits=("speakers",), outside=("segments",)
    )


def pause(rng: Generator, clips: Sequence[Speech]) -> Draft:
    """After which word a phrase stops for a moment."""
    clip = _one(rng, [c for c in clips if len(c.words) > 3])
    last = min(len(clip.words) - 1, len(ORDINALS))
    after = int(rng.integers(1, last + 1))
    cut = round(clip.words[after][1] * SAMPLE_RATE)
    silent = np.zeros(round(rng.uniform(*PAUSE) * SAMPLE_RATE))
    sound = np.concatenate([clip.sound[:cut], silent, clip.sound[cut:]])
    places = [f"after the {ORDINALS[n]} word" for n in range(last)]
    answer = places.pop(after - 1)
    choices = (answer, *(places[i] for i in rng.permutation(len(places))[:2]))
    return _draft(
        rng,
        sound,
        choices,
        answer,
        [clip],
        after=after,
        fits=("transcript",),
        outside=("segments",),
    )


def speech(rng: Generator, clips: Sequence[Speech]) -> Draft:
    """Somebody speaks, or something else is as loud and as restless."""
    clip = _one(rng, clips)
    choices = ("yes, someone speaks", "no, nobody speaks")
    if rng.random() < 0.5:
        sound, answer = clip.sound, choices[0]
    else:
        sound, answer = _restless(rng, len(clip.sound) / SAMPLE_RATE), choices[1]
    return _draft(rng, sound, choices, answer, [clip], fits=("speech_activity", "transcript"))


MAKERS: dict[str, Callable[[Generator, Sequence[Speech]], Draft]] = {
    "word": which_word,
    "words": word_count,
    "first_voice": first_voice,
    "voices": voices,
    "pause": pause,
    "speech": speech,
}

WORDINGS: dict[str, tuple[str, ...]] = {
    "word": ("Which word is spoken?", "What does the voice say?", "Which of these words is heard?"),
    "words": ("How many words are spoken?", "What is the number of words?", "Count the words."),
    "first_voice": (
        "Who speaks first?",
        "Which voice is heard first?",
        "Which of the two voices begins?",
    ),
    "voices": (
        "Is there one voice or are there two?",
        "How many voices speak?",
        "Does one voice speak, or do two?",
    ),
    "pause": (
        "Where is the pause?",
        "After which word does the voice stop for a moment?",
        "Where does the voice pause?",
    ),
    "speech": (
        "Does someone speak?",
        "Is there speech in the clip?",
        "Is a voice heard in this recording?",
    ),
}
"""The last of each family is kept for the shifted split."""


def _one(rng: Generator, clips: Sequence[Speech]) -> Speech:
    return clips[int(rng.integers(len(clips)))]


def _turns(rng: Generator, pair: Sequence[Speech]) -> Sound:
    """One after the other, with a breath between; each at most as long as fits."""
    most = round((SECONDS / 2 - 0.25) * SAMPLE_RATE)
    breath = np.zeros(round(rng.uniform(0.1, 0.25) * SAMPLE_RATE))
    return np.concatenate([pair[0].sound[:most], breath, pair[1].sound[:most]])


def _restless(rng: Generator, seconds: float) -> Sound:
    """Noise or a tone with the ups and downs of syllables."""
    steps = max(3, round(seconds * 8))
    if rng.random() < 0.5:
        sound = noise_burst(rng, seconds, 200.0, 3500.0)
    else:
        sound = tone(rng, float(rng.integers(45, 66)), seconds, "voice")
    return curve(sound, rng.uniform(-25, 0, steps).tolist())


def _draft(
    rng: Generator,
    sound: Sound,
    choices: tuple[str, ...],
    answer: str,
    clips: Sequence[Speech],
    *,
    fits: tuple[str, ...] = (),
    outside: tuple[str, ...] = (),
    hides: tuple[str, ...] = (),
    **truth: int,
) -> Draft:
    """Lay the speech somewhere into the clip, over a ground.

    Args:
        hides: tools among `fits` that no longer measure it over any ground but a quiet one.
    """
    ground = str(rng.choice(tuple(GROUNDS), p=tuple(GROUNDS.values())))
    length = min(SECONDS, len(sound) / SAMPLE_RATE + 0.4)
    start = rng.uniform(0.05, max(0.06, length - len(sound) / SAMPLE_RATE))
    laid = _over(rng, place(length, [(float(start), sound)]), ground)
    lost = hides if ground in ("noisy", "music") else ()
    return Draft(
        sound=laid,
        choices=choices,
        answer=answer,
        condition=ground,
        difficulty="easy" if ground == "clean" else "hard",
        fits=tuple(t for t in fits if t not in lost),
        outside=(*outside, *lost),
        truth={"clips": [c.name for c in clips], "voices": [c.voice for c in clips], **truth},
    )


def _over(rng: Generator, sound: Sound, ground: str) -> Sound:
    if ground == "noisy":
        return add_noise(rng, sound, float(rng.uniform(2, 8)))
    if ground == "room":
        return room(rng, sound, float(rng.uniform(0.3, 0.6)))
    if ground == "music":
        seconds = len(sound) / SAMPLE_RATE
        root = int(rng.integers(48, 60))
        timbre = str(rng.choice(tuple(TIMBRES)))
        chord = sum(tone(rng, root + step, seconds, timbre) for step in (0, 4, 7))
        return np.asarray(sound + gain(np.asarray(chord), float(rng.uniform(-18, -12))))
    return sound
