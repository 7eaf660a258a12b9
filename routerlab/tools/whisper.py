"""Whisper as the tools use it: what language a stretch of sound is in, and what is said in it.

Decoding is greedy, knows nothing of earlier stretches, and stops where the model repeats itself.
It stops at one stretch of at most the model's window; whether anybody speaks is asked before.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routerlab.errors import UserError, unknown
from routerlab.tools.hub_models import RATE, HubModel
from routerlab.tools.signal import Floats
from routerlab.tools.word_times import pieces, token_edges

UNSURE = math.exp(-1)
"""Below this mean probability of a token, Whisper's authors take its words as failed."""

_FRAME_S = 0.02
"""Of the encoder's output."""

_UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
_ENGLISH_VOCABULARY = 51_864
_LOOP_TOKENS, _LOOP_TIMES = 16, 4
_JOINERS = "\u200c\u200d"  # part of the spelling in Persian, Hindi and others


@dataclass(frozen=True)
class Word:
    """A word, when it is said (seconds from its stretch's start), and its mean probability."""

    text: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True)
class Written:
    """What is said in one stretch.

    Attributes:
        text: one line.
        words: with times; empty where the checkpoint names no heads that follow the sound.
        language: its code.
        confidence: geometric mean of the tokens' probabilities.
        silent: the model's own probability that nobody speaks.
        cut: whether it ended in a repetition or at the most tokens, and was cut there.
    """

    text: str
    words: tuple[Word, ...]
    language: str
    confidence: float
    silent: float
    cut: bool


@dataclass(frozen=True)
class _Row:
    """Tokens of one stretch with their probabilities' logarithms, and how they ended."""

    tokens: list[int]
    logs: list[float]
    silent: float
    cut: bool


class Whisper:
    """Any Whisper checkpoint.

    Args:
        source: where its files are.

    Attributes:
        window_s: the longest stretch it hears.
        codes: languages it knows; ("en",) of an English-only one.

    Raises:
        UserError: the files are no Whisper.
    """

    def __init__(self, source: HubModel) -> None:
        self._source = source
        self._features = source.part("WhisperFeatureExtractor")
        self._tokenizer = source.part("WhisperTokenizer")
        self._network = source.network("WhisperForConditionalGeneration")
        self._settings = self._network.generation_config
        self._read_tokens(source.name)
        self.window_s = float(self._features.chunk_length)
        config = self._network.config
        self._most = config.max_target_positions // 2
        heads = getattr(self._settings, "alignment_heads", None) or []
        # A distilled checkpoint may name heads of layers that it has no more.
        there = [at < config.decoder_layers for at, _ in heads]
        self._heads = heads if all(there) else []
        always = self._settings.suppress_tokens or []
        first = self._settings.begin_suppress_tokens or []
        self._barred = self._bias(always), self._bias([*always, *first])

    @property
    def many_languages(self) -> bool:
        """Whether it knows more than English."""
        return len(self.codes) > 1

    def hear(self, parts: Sequence[Floats]) -> Any:
        """Encoder output [stretches, frames, D] of samples at 16 kHz."""
        given = self._features(list(parts), sampling_rate=RATE, return_tensors="pt")
        features = given["input_features"].to(self._network.device, self._network.dtype)
        return self._network.model.encoder(features)[0]

    def languages(self, sound: Any) -> tuple[Floats, Floats]:
        """Probabilities of `codes` [stretches, codes], and that nobody speaks [stretches]."""
        logits, _ = self._step([[self._start]] * len(sound), sound, None)
        only = logits[:, 0, self._language_ids].softmax(-1).cpu().numpy()
        return only, self._silences(logits).cpu().numpy()

    def write(self, sound: Any, lengths_s: Sequence[float], codes: Sequence[str]) -> list[Written]:
        """What is said in each stretch.

        Args:
            sound: encoder output.
            lengths_s: of each stretch: words are looked for no later.
            codes: language of each.
        """
        prompts = [self._prompt(code) for code in codes]
        rows = self._greedy(sound, prompts)
        looks = self._looks(sound, prompts, rows)
        return [self._written(*one) for one in zip(rows, looks, lengths_s, codes, strict=True)]

    def _read_tokens(self, name: str) -> None:
        """Ids of the control tokens, by their names in the vocabulary."""
        size = self._network.config.vocab_size
        ids = {text: at for text, at in self._tokenizer.get_vocab().items() if at < size}
        try:
            self._end, self._start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
            self._untimed = ids["<|notimestamps|>"]
        except KeyError as err:
            raise UserError(f"tools: {name!r} has no token {err}: it is no Whisper.") from err
        self._nobody = ids.get("<|nospeech|>", ids.get("<|nocaptions|>"))
        several = getattr(self._settings, "is_multilingual", size != _ENGLISH_VOCABULARY)
        known = [code for code in language_names() if f"<|{code}|>" in ids]
        self._task = ids.get("<|transcribe|>")
        self.codes = tuple(known) if several and self._task is not None else ("en",)
        self._language_ids = [ids[f"<|{code}|>"] for code in known]

    def _prompt(self, code: str) -> list[int]:
        if not self.many_languages:
            return [self._start, self._untimed]
        language = self._language_ids[self.codes.index(code)]
        return [self._start, language, int(self._task or 0), self._untimed]

    def _bias(self, barred: Sequence[int]) -> Any:
        """Added to logits [V]: minus infinity where a token may not come."""
        size = self._network.config.vocab_size
        bias = np.zeros(size, np.float32)
        bias[[at for at in barred if 0 <= at < size]] = -np.inf
        return self._source.tensor(bias)

    def _step(self, ids: Any, sound: Any, cache: Any) -> tuple[Any, Any]:
        """Float32 logits [B, tokens, V] and the cache; by place, as its name changed in 5.24."""
        out = self._network.model.decoder(self._ids(ids), None, sound, cache, use_cache=True)
        return self._network.proj_out(out[0]).float(), out[1]

    def _ids(self, rows: Any) -> Any:
        return self._source.tensor(np.array(rows)) if isinstance(rows, list) else rows

    def _silences(self, logits: Any) -> Any:
        """Probability [B] of nobody speaking, told at the first token."""
        first = logits[:, 0].softmax(-1)
        return first[:, self._nobody] if self._nobody is not None else 0 * first[:, 0]

    def _greedy(self, sound: Any, prompts: list[list[int]]) -> list[_Row]:
        """The likeliest token each time, until all have ended."""
        logits, cache = self._step(prompts, sound, None)
        silent = self._silences(logits).tolist()
        tokens: list[list[int]] = [[] for _ in prompts]
        logs: list[list[float]] = [[] for _ in prompts]
        running = set(range(len(prompts)))
        for at in range(self._most):
            likely = (logits[:, -1] + self._barred[at == 0]).log_softmax(-1).max(-1)
            best, log = likely.indices.tolist(), likely.values.tolist()
            for row in sorted(running):
                tokens[row].append(best[row])
                logs[row].append(log[row])
                if tokens[row][-1] == self._end or loop_length(tokens[row]):
                    running.remove(row)
            if not running:
                break
            logits, cache = self._step(likely.indices[:, None], sound, cache)
        return [self._ended(*one) for one in zip(tokens, logs, silent, strict=True)]

    def _ended(self, tokens: list[int], logs: list[float], silent: float) -> _Row:
        """Without the end; of a repetition, one time stays."""
        if tokens[-1] == self._end:
            return _Row(tokens[:-1], logs, silent, cut=False)
        length = loop_length(tokens)
        kept = len(tokens)
        while length and kept > length and tokens[kept - length - 1] == tokens[kept - 1]:
            kept -= 1
        return _Row(tokens[:kept], logs, silent, cut=True)

    def _looks(self, sound: Any, prompts: list[list[int]], rows: list[_Row]) -> list[Any]:
        """Attention [heads, tokens + 1, frames] of each stretch; None without alignment heads."""
        if not self._heads:
            return [None] * len(rows)
        longest = max(len(row.tokens) for row in rows)
        given = [
            [*prompt, *row.tokens, *[self._end] * (longest - len(row.tokens))]
            for prompt, row in zip(prompts, rows, strict=True)
        ]
        usual = self._network.config._attn_implementation
        self._network.set_attn_implementation("eager")  # the only one that tells where it looks
        try:
            out = self._network.model.decoder(
                self._ids(given), None, sound, use_cache=False, output_attentions=True
            )
        finally:
            self._network.set_attn_implementation(usual)
        first = len(prompts[0]) - 1
        seen = [out.cross_attentions[layer][:, head] for layer, head in self._heads]
        looks = np.stack([one.float().cpu().numpy() for one in seen], axis=1)
        return [
            look[:, first : first + len(row.tokens) + 1]
            for look, row in zip(looks, rows, strict=True)
        ]

    def _written(self, row: _Row, look: Any, length_s: float, code: str) -> Written:
        text = self._text(row.tokens)
        words: tuple[Word, ...] = ()
        if look is not None and text:
            words = self._words(row, look[..., : max(round(length_s / _FRAME_S), 2)], code)
        confidence = math.exp(sum(row.logs) / len(row.logs))
        return Written(one_line(text), words, code, confidence, row.silent, row.cut)

    def _words(self, row: _Row, look: Floats, code: str) -> tuple[Word, ...]:
        edges = token_edges(look) * _FRAME_S
        found = pieces(row.tokens, self._text, code not in _UNSPACED)
        return tuple(
            Word(
                one_line(piece.text),
                float(edges[piece.first]),
                float(edges[piece.stop]),
                math.exp(sum(row.logs[piece.first : piece.stop]) / (piece.stop - piece.first)),
            )
            for piece in found
        )

    def _text(self, tokens: Sequence[int]) -> str:
        """Plain text: control tokens and time marks come after the end's id, and are left out."""
        plain = [token for token in tokens if token < self._end]
        return str(
            self._tokenizer.decode(
                plain, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )


def language_names() -> dict[str, str]:
    """Whisper's languages: code -> English name, as "en" -> "english"."""
    module = importlib.import_module("transformers.models.whisper.tokenization_whisper")
    names: dict[str, str] = module.LANGUAGES
    return names


def language_code(given: str, known: Sequence[str]) -> str:
    """The code of a language given as its code or its English name.

    Raises:
        UserError: the checkpoint does not know it.
    """
    names = language_names()
    code = {name: code for code, name in names.items()}.get(given.lower(), given.lower())
    if code in known:
        return code
    allowed = ["auto", *(known if len(given) < 4 else map(names.__getitem__, known))]
    raise UserError(unknown("tools: this model knows no language", given, allowed))


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


def one_line(text: str) -> str:
    """Text on one line, without characters that do not print."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable() or c in _JOINERS)
