"""From the tokens that a Whisper wrote to words and their times; of a loop, one round stays.

The times come as Whisper's authors make them: from the attention of a few heads that follow the
sound, smoothed, by the cheapest path through it (dynamic time warping). They are good to a tenth
or two of a second; a word before a pause may be told to last into it. Loops and words are sought
here because transformers has no stop at a repetition, and its grouping into words is private.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from routerlab.tools.signal import Floats

_FRAME_S = 0.02  # of the encoder's output
_WIDTH = 7  # frames of the median filter, Whisper's
_BROKEN = "\ufffd"  # what a decoder gives for bytes that are no whole character yet
_JOINERS = "\u200c\u200d"  # part of the spelling in Persian, Hindi and others

_UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
_LOOP_TOKENS, _LOOP_TIMES = 16, 4


@dataclass(frozen=True)
class Word:
    """A word, when it is said (seconds from its stretch's start), and its mean probability."""

    text: str
    start_s: float
    end_s: float
    probability: float


def loop_length(tokens: Sequence[int]) -> int:
    """Tokens of the phrase that the end repeats over and over; 0 if it does not.

    >>> loop_length([7, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4])
    4
    >>> loop_length([1, 1, 1, 1])
    0
    """
    for length in range(1, len(tokens) // _LOOP_TIMES + 1):
        span = max(_LOOP_TIMES * length, _LOOP_TOKENS)
        if span <= len(tokens) and tokens[-span:-length] == tokens[length - span :]:
            return length
    return 0


def without_loop(tokens: Sequence[int]) -> list[int]:
    """Tokens with the phrase that their end repeats said once.

    >>> without_loop([7, *[1, 2, 3, 4] * 4])
    [7, 1, 2, 3, 4]
    """
    length, kept = loop_length(tokens), len(tokens)
    while length and kept > length and tokens[kept - length - 1] == tokens[kept - 1]:
        kept -= 1
    return list(tokens[:kept])


def timed_words(
    tokens: Sequence[int],
    logs: Floats,
    look: Floats,
    length_s: float,
    decode: Callable[[Sequence[int]], str],
    code: str,
) -> tuple[Word, ...]:
    """Words of a stretch of this length and language.

    Args:
        logs: of the tokens' probabilities; there may be more, as of `look`'s rows.
        look: attention [heads, tokens + 1, frames].
        decode: text of some tokens.
    """
    frames = max(round(length_s / _FRAME_S), 2)
    edges = (_FRAME_S * token_edges(look[:, : len(tokens) + 1, :frames])).tolist()
    return tuple(
        Word(one_line(text), edges[first], edges[stop], math.exp(logs[first:stop].mean()))
        for text, first, stop in pieces(tokens, decode, code not in _UNSPACED)
    )


def token_edges(weights: Floats) -> Floats:
    """The frame at which each token starts, and the last one ends: [T + 1].

    Args:
        weights: attention [heads, T + 1, frames]; row i is looked with while token i is written,
            the last row while the end is.
    """
    from librosa.sequence import dtw
    from scipy.ndimage import median_filter

    seen = weights / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-9)
    spread = np.maximum(seen.std(axis=1, keepdims=True), 1e-9)
    smooth = median_filter((seen - seen.mean(axis=1, keepdims=True)) / spread, (1, 1, _WIDTH))
    row, frame = dtw(C=-smooth.mean(axis=0))[1][::-1].T
    return np.asarray(frame[np.diff(row, prepend=-1) > 0])


def pieces(
    tokens: Sequence[int], decode: Callable[[Sequence[int]], str], spaced: bool
) -> list[tuple[str, int, int]]:
    """Words of tokens, each with its first token and the one after its last.

    Punctuation goes with the word that it touches.

    Args:
        decode: text of some tokens.
        spaced: whether the language parts words by spaces; else every character is one.
    """
    found: list[tuple[str, int, int]] = []
    first = 0
    for stop in range(1, len(tokens) + 1):
        text = decode(tokens[first:stop])
        if _BROKEN in text and stop < len(tokens) and stop - first < 4:
            continue
        joins = not (text.startswith(" ") if spaced else _speaks(text))
        if found and joins:
            before, start, _ = found.pop()
            found.append((before + text, start, stop))
        else:
            found.append((text, first, stop))
        first = stop
    return [one for one in found if _speaks(one[0])]


def one_line(text: str) -> str:
    """Text on one line, without characters that do not print."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable() or c in _JOINERS)


def _speaks(text: str) -> bool:
    """Whether anything in it is said: a letter or a digit."""
    return any(map(str.isalnum, text))
