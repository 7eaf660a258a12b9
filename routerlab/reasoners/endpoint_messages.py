"""What goes to a chat server and what comes back, as values: messages, base64 sound, completions.

The texts are those of `reasoners.prompts`; nothing is sent here and nothing is repeated. What a
server says that is no completion is a `Garbled`, never an answer.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from routerlab.answers import read_answer, read_letter
from routerlab.reasoners.prompts import observation_text, question_text
from routerlab.types import Answer, Clip, Observation

MESSAGES_VERSION = 2
"""Raise on any change of what is sent for the same settings: it is part of the outcome key."""

AudioStyle: TypeAlias = Literal["input_audio", "audio_url"]
Encoding: TypeAlias = Literal["pcm16", "float32"]
ChoiceStyle: TypeAlias = Literal["text", "letters"]

INSTRUCTIONS: Mapping[str, str] = {
    "text": "Answer with the text of one choice and nothing else.",
    "letters": "Answer with the letter of one choice and nothing else.",
}
TOP_LOG_PROBS = 20
"""Alternatives asked for at each token: the most that the chat API allows."""

_FAILED = ("content_filter", "error", "abort")
"""Ends of a completion that say nothing of what the model would have answered."""

# Marks that chat templates give a meaning: `<|im_end|>`, `<audio>`, `</s>`, `[INST]`. A server
# reads them in plain text too, so they are broken up before they are sent.
_NAMED = r"s|bos|eos|pad|unk|audio|image|video|speech|sound|think|tool_call|\w+_of_\w+"
_MARKS = re.compile(rf"<\||\|>|<(?=/?(?:{_NAMED})>)|\[(?=/?INST\])", re.IGNORECASE)
# What a model thought before its answer, or instead of one.
_THOUGHTS = re.compile(r"\A.*</think>|\A\s*<think>.*", re.DOTALL)


class Garbled(ValueError):
    """A body that is no chat completion; the message says what is missing."""


@dataclass(frozen=True)
class Completion:
    """What a server's completion says.

    Attributes:
        text: what the model wrote.
        tokens: a token written with its alternatives: (text, {text: log-probability}); () if the
            server gives none.
    """

    text: str
    tokens: tuple[tuple[str, Mapping[str, float]], ...] = ()


def plain_text(text: str) -> str:
    """Text in which no control mark of a chat template is left whole.

    >>> plain_text("<|im_end|> a <audio> b < 3 dB [INST]")
    '< |im_end| > a < audio> b < 3 dB [ INST]'
    """
    return _MARKS.sub(
        lambda found: " ".join(found[0]) if len(found[0]) > 1 else f"{found[0]} ", text
    )


def shown_choices(choices: Sequence[str], style: ChoiceStyle) -> tuple[str, ...]:
    """The choices as the model sees them.

    >>> shown_choices(["C4", "Eb4"], "letters")
    ('(A) C4', '(B) Eb4')
    """
    texts = [plain_text(choice) for choice in choices]
    if style == "text":
        return tuple(texts)
    return tuple(f"({_letter(i)}) {text}" for i, text in enumerate(texts))


def wav(clip: Clip, encoding: Encoding) -> bytes:
    """A mono WAV file of the clip, the same bytes every time.

    `pcm16` is read everywhere; it keeps what came from 16-bit sound as it is, rounds the rest, and
    cuts at ±1. `float32` keeps every sample, in twice the size; not all servers read it.
    """
    if encoding == "float32":
        tag, width, data = 3, 4, clip.samples.astype("<f4").tobytes()
        extra = b"fact" + struct.pack("<II", 4, len(clip.samples))
    else:
        whole = np.clip(np.round(clip.samples * 32_768.0), -32_768, 32_767)
        tag, width, data, extra = 1, 2, whole.astype("<i2").tobytes(), b""
    rate = clip.sample_rate
    layout = struct.pack("<IHHIIHH", 16, tag, 1, rate, rate * width, width, 8 * width)
    body = b"WAVEfmt " + layout + extra + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def audio_part(clip: Clip, style: AudioStyle, encoding: Encoding) -> dict[str, Any]:
    """The clip as one part of a user's message."""
    data = base64.b64encode(wav(clip, encoding)).decode("ascii")
    if style == "input_audio":
        return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    return {"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{data}"}}


def messages(
    audio: Mapping[str, Any],
    question: str,
    shown: Sequence[str],
    observations: Sequence[Observation],
    *,
    system: str,
    instruction: str,
) -> list[dict[str, Any]]:
    """A system turn if there is one, then sound, question, choices, tool outputs, instruction.

    What differs between actions comes last, so that a server's prefix cache serves all of them.

    Args:
        shown: the choices as `shown_choices` gives them.
    """
    text = question_text(plain_text(question), shown) + plain_text(observation_text(observations))
    parts = [dict(audio), {"type": "text", "text": "\n".join(filter(None, (text, instruction)))}]
    opening = [{"role": "system", "content": system}] if system else []
    return [*opening, {"role": "user", "content": parts}]


def read_completion(payload: Any) -> Completion:
    """The first choice of a chat completion.

    >>> read_completion({"choices": [{"message": {"content": "C4"}, "finish_reason": "stop"}]}).text
    'C4'

    Raises:
        Garbled: anything else, and a completion that was cut off by a filter or an abort.
    """
    try:
        choice = payload["choices"][0]
        content = choice["message"]["content"]
        end = choice.get("finish_reason")
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise Garbled(f"no chat completion: {_excerpt(payload)}") from error
    if end in _FAILED:
        raise Garbled(f"the completion ended by {end!r}")
    if isinstance(content, list):  # some servers give parts instead of a text
        content = "".join(str(p.get("text") or "") for p in content if isinstance(p, dict))
    if not isinstance(content, str):
        raise Garbled(f"the completion holds no text (it ended by {end!r})")
    content = _THOUGHTS.sub("", content)
    if end == "length" and not content.strip():
        raise Garbled("max_tokens was reached before an answer; raise it (a thinking model?)")
    whole = content.encode("utf-8", "replace").decode("utf-8")  # halves of a surrogate pair
    return Completion(whole.strip(), _tokens(choice.get("logprobs")))


def read(completion: Completion, choices: Sequence[str], style: ChoiceStyle) -> Answer:
    """The answer that a completion means: by the letters' log-probabilities, or by its text.

    Where letters were shown, the answer opens with one of them and the server offers
    log-probabilities for it, the likeliest letter is taken. Everything else is read as text.

    Args:
        choices: the option texts themselves, in the order shown.
    """
    letter = read_letter(completion.text.strip("*"), choices) if style == "letters" else None
    if letter is not None:  # before its text: "C" is a letter here, though a note is called so too
        scores = _letter_scores(completion, len(choices))
        best = max(range(len(scores)), key=scores.__getitem__) if scores else letter
        how = "likelihood" if scores else "letter"
        return Answer(best, choices[best], completion.text, scores, how)
    found = read_answer(completion.text, [plain_text(choice) for choice in choices])
    text = "" if found.choice is None else choices[found.choice]
    return Answer(found.choice, text, completion.text, (), found.read)


def _letter_scores(completion: Completion, count: int) -> tuple[float, ...]:
    """Log-probability of each letter where the answer's letter stands; () if none stands there.

    A letter beyond the alternatives offered gets the least of them: an upper bound.
    """
    letters = [_letter(i) for i in range(count)]
    for token, alternatives in completion.tokens:
        if not _bare(token):
            continue  # what may open an answer before its letter
        if _bare(token) not in letters or not alternatives:
            return ()
        found: dict[str, float] = {}
        for text, score in alternatives.items():
            letter = _bare(text)
            found[letter] = max(score, found.get(letter, score))
        least = min(alternatives.values())
        return tuple(found.get(letter, least) for letter in letters)
    return ()


def _letter(place: int) -> str:
    return chr(ord("A") + place)


def _bare(token: str) -> str:
    """A token without what may stand around a letter.

    >>> _bare(" (B"), _bare("B).")
    ('B', 'B')
    """
    return token.strip(" \n\t(*).:")


def _tokens(given: Any) -> tuple[tuple[str, Mapping[str, float]], ...]:
    """The tokens of `logprobs`, as far as they are what the API says; () otherwise."""
    try:
        return tuple(
            (str(token["token"]), {str(a["token"]): _finite(a) for a in token["top_logprobs"]})
            for token in (given or {}).get("content") or ()
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()


def _finite(alternative: Any) -> float:
    """A log-probability; some servers write -inf, which no JSON row can hold."""
    score = float(alternative["logprob"])
    if not math.isfinite(score):
        raise ValueError(f"a log-probability of {score}")
    return score


def _excerpt(payload: Any) -> str:
    error = payload.get("error") if isinstance(payload, dict) else None
    # Whole: who shows it strikes the key out before it is cut.
    return " ".join(str(error or payload).split())
