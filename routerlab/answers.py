"""Reading an option out of a model's words, and comparing it with the gold option. Pure.

Three matches, never mixed up: `official_match` is the benchmarks' own rule (token sets),
`strict_match` is what rewards and our accuracy use (the very option), `letter_match` reads a
letter. What cannot be read stays unread: nothing here guesses, and an unread answer is wrong.
Negations ("not the drum") are beyond it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from routerlab.types import Answer

_TAG = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
_CUE = re.compile(
    r"^(?:the\s+)?(?:correct\s+|right\s+|best\s+)?(?:answer|option|choice)(?:\s+is)?\s*:?\s+",
    re.IGNORECASE,
)
# "B", "(B)", "B.", "(B) text", "B: text"; never "A man" (an article) or "A:maj/5" (a chord).
_LETTER = re.compile(r"^(?:\(([A-Z])\)|([A-Z])(?:[.):](?=\s|$)|$))[.:,]?\s*(.*)$", re.I | re.DOTALL)
# An option inside a sentence must not be part of a larger word, note name or number:
# "C" is not in "C#4", "3 dB" not in "-3 dB", "2" not in "2.5".
_BEFORE, _AFTER = r"(?<![\w#♯♭−-])(?<!\d\.)", r"(?![\w#♯♭])(?!\.\d)"


def official_match(prediction: str, answer: str, choices: Sequence[str]) -> bool:
    """The scorer that MMAU and MMAR publish, for results comparable with theirs.

    Right if every word of the gold option is in the prediction and no word that belongs only to
    other options is. Sets of words: order and signs are lost, which is the benchmarks' rule and
    no good reward.

    >>> official_match("The answer is Man.", "Man", ["Man", "Woman"])
    True
    >>> official_match("high then low", "low then high", ["low then high", "high then high"])
    True
    >>> official_match("Man or Woman", "Man", ["Man", "Woman"])
    False
    """
    said, gold = _words(prediction), _words(answer)
    other_options = [words for words in map(_words, choices) if words != gold]
    forbidden = frozenset().union(*other_options) - gold
    return bool(said) and gold <= said and not said & forbidden


def ambiguous(answer: str, choices: Sequence[str]) -> bool:
    """Whether the official rule takes another option for right as well: the row cannot be wrong.

    >>> ambiguous("low then high", ["low then high", "high then low"])
    True
    >>> ambiguous("Man", ["Man", "Woman"])
    False
    """
    others = [choice for choice in choices if not strict_match(choice, answer)]
    return any(official_match(other, answer, choices) for other in others)


def strict_match(prediction: str, answer: str) -> bool:
    """The very option: equal but for white space and Unicode form. Case counts ("CM7", "Cm7").

    >>> strict_match(" C#  major ", "C# major"), strict_match("C major", "C# major")
    (True, False)
    >>> strict_match("", "")
    False
    """
    said = _plain(prediction)
    return bool(said) and said == _plain(answer)


def letter_match(prediction: str, answer: str, choices: Sequence[str]) -> bool:
    """A letter, with or without its option's text, that points at the gold option.

    >>> letter_match("(B) Woman", "Woman", ["Man", "Woman"])
    True
    >>> letter_match("(B) Man", "Woman", ["Man", "Woman"])  # letter and text disagree
    False
    """
    index = read_letter(prediction, choices)
    return index is not None and strict_match(choices[index], answer)


def read_letter(text: str, choices: Sequence[str]) -> int | None:
    """The place of the option that a text names by its letter; None if it names none.

    >>> read_letter("B.", ["Man", "Woman"]), read_letter("Woman", ["Man", "Woman"])
    (1, None)
    """
    return _by_letter(_plain(text), choices)


def read_answer(text: str, choices: Sequence[str]) -> Answer:
    """Which option a free text means: exact, `<answer>` tag, letter, or contained just once.

    A tag is the model's declared answer: what stands outside it is not searched. A repeated
    option is read as its first place.

    >>> read_answer("woman", ["Man", "Woman"]).read
    'exact'
    >>> read_answer("It rises. <answer>(B)</answer>", ["falls", "rises"])
    Answer(choice=1, text='rises', raw='It rises. <answer>(B)</answer>', log_probs=(), read='tag')
    >>> read_answer("I hear C# major here", ["C", "C# major"]).text
    'C# major'
    >>> read_answer("a man or a woman", ["man", "woman"]).choice is None
    True
    """
    tags = _TAG.findall(text)
    index, how = _read_plain(_plain(tags[-1] if tags else text), choices)
    if index is None:
        return Answer(None, "", raw=text, read="unparsed")
    return Answer(index, choices[index], raw=text, read="tag" if tags else how)


def _read_plain(text: str, choices: Sequence[str]) -> tuple[int | None, str]:
    bare = _CUE.sub("", text, count=1)
    for candidate in dict.fromkeys((text, text.rstrip("."), bare, bare.rstrip("."))):
        if (index := _by_text(candidate, choices)) is not None:
            return index, "exact"
    if _LETTER.match(bare):  # its letter decides, or contradicts its own text
        return _by_letter(bare, choices), "letter"
    return _by_containment(text, choices), "contained"


def _by_text(text: str, choices: Sequence[str]) -> int | None:
    """The option that `text` is; case is ignored where that leaves one option."""
    options = [_plain(choice) for choice in choices]
    if text in options:
        return options.index(text)
    folded = {option: option.casefold() for option in options}
    same = [option for option, low in folded.items() if low == text.casefold()]
    return options.index(same[0]) if len(same) == 1 else None


def _by_letter(text: str, choices: Sequence[str]) -> int | None:
    found = _LETTER.match(text)
    if not found:
        return None
    index = ord((found[1] or found[2]).upper()) - ord("A")
    if index >= len(choices):
        return None
    # "(A) Woman" where Woman is B says two things at once: not read.
    named = _by_text(found[3].rstrip("."), choices)
    agrees = named is None or strict_match(choices[named], choices[index])
    return index if agrees else None


def _by_containment(text: str, choices: Sequence[str]) -> int | None:
    """The only option whose text stands in `text`, as whole words, in either case."""
    options = [_plain(choice) for choice in choices]
    for flags in (0, re.IGNORECASE):
        found = _contained(text, set(options), flags)
        if found:
            return options.index(found.pop()) if len(found) == 1 else None
    return None


def _contained(text: str, options: set[str], flags: int) -> set[str]:
    """Options standing in the text; one inside a longer one ("C" in "C# major") does not count."""
    folded = text.casefold()
    spans = [
        (*hit.span(), option)
        for option in options
        # Most options are not there at all, and a pattern costs more than a look.
        if option and option.casefold() in folded
        for hit in re.finditer(_BEFORE + re.escape(option) + _AFTER, text, flags)
    ]
    return {
        option
        for start, end, option in spans
        if not any(s <= start and end <= e and (e - s) > (end - start) for s, e, _ in spans)
    }


@lru_cache(maxsize=1 << 16)
def _words(text: str) -> frozenset[str]:
    """Options are asked about again and again: for every prediction, and by every rule."""
    return frozenset(re.findall(r"\b\w+\b", text.lower()))


@lru_cache(maxsize=1 << 16)
def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
