"""Whisper as the tools use it: what language a stretch of sound is in, and what is said in it.

transformers' `generate` writes, greedily and without knowledge of earlier stretches, and is stopped
where the model repeats itself. Its own times of tokens are not taken: it looks away from the step
that writes the first one, so that this always ends at 0.0, and warps over the padding of a batch,
so that a stretch's times would change with its neighbours'. It stops at one stretch of at most the
model's window; whether anybody speaks is asked before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routerlab.errors import UserError
from routerlab.tools.hub_models import RATE, HubModel, quiet
from routerlab.tools.language_codes import language_names
from routerlab.tools.signal import Floats
from routerlab.tools.whisper_words import Word, loop_length, one_line, timed_words, without_loop

UNSURE = math.exp(-1)
"""Below this mean probability of a token, Whisper's authors take its words as failed."""

_ENGLISH_VOCABULARY = 51_864


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
        self.window_s = float(self._features.chunk_length)
        self._set_up(self._network.generation_config)
        heads = getattr(self._network.generation_config, "alignment_heads", None) or []
        # A distilled checkpoint may name heads of layers that it has no more.
        there = [at < self._network.config.decoder_layers for at, _ in heads]
        self._heads = heads if all(there) else []

    @property
    def many_languages(self) -> bool:
        """Whether it knows more than English."""
        return len(self.codes) > 1

    def hear(self, parts: Sequence[Floats]) -> Any:
        """The encoder's output, [stretches, frames, D] in it, of samples at 16 kHz."""
        given = self._features(list(parts), sampling_rate=RATE, return_tensors="pt")
        features = given["input_features"].to(self._network.device, self._network.dtype)
        return self._network.get_encoder()(features)

    def languages(self, sound: Any) -> tuple[Floats, Floats]:
        """Probabilities of `codes` [stretches, codes], and that nobody speaks [stretches]."""
        starts = self._source.tensor(np.full((len(sound[0]), 1), self._start))
        out = self._network(encoder_outputs=sound, decoder_input_ids=starts, use_cache=False)
        logits = out.logits[:, 0].float()
        only = logits[:, self._language_ids].softmax(-1).cpu().numpy()
        silent = logits.softmax(-1)[:, self._nobody].cpu().numpy()
        return only, silent if self._nobody else 0 * silent

    def write(self, sound: Any, lengths_s: Sequence[float], codes: Sequence[str]) -> list[Written]:
        """What is said in each stretch.

        Args:
            sound: of `hear`.
            lengths_s: of each stretch: words are looked for no later.
            codes: language of each; "" for the likeliest.
        """
        shares, silent = self.languages(sound)
        known = [code or self.codes[row.argmax()] for code, row in zip(codes, shares, strict=True)]
        ids, logs = self._greedy(sound, known)
        first = ids.shape[1] - logs.shape[1]
        looks = self._looks(sound, ids, first)
        rows = zip(ids[:, first:].tolist(), logs, looks, lengths_s, known, silent, strict=True)
        return [self._written(*row) for row in rows]

    def _set_up(self, settings: Any) -> None:
        """Control tokens, by their names: old checkpoints' settings lack some, or hold a prompt."""
        size = self._network.config.vocab_size
        ids = {text: at for text, at in self._tokenizer.get_vocab().items() if at < size}
        need = ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>")
        if lacking := [name for name in need if name not in ids]:
            raise UserError(f"tools: {self._source.name!r} has no {lacking[0]}: it is no Whisper.")
        self._end, self._start, settings.no_timestamps_token_id = (ids[name] for name in need)
        settings.decoder_start_token_id = self._start
        settings.eos_token_id = settings.pad_token_id = self._end
        settings.forced_decoder_ids = self._network.config.forced_decoder_ids = None
        self._nobody = ids.get("<|nospeech|>", ids.get("<|nocaptions|>", 0))
        known = {code: ids[f"<|{code}|>"] for code in language_names() if f"<|{code}|>" in ids}
        several = getattr(settings, "is_multilingual", size != _ENGLISH_VOCABULARY)
        self.codes = tuple(known) if several and "<|transcribe|>" in ids else ("en",)
        self._language_ids = list(known.values())
        settings.is_multilingual = self.many_languages
        if self.many_languages:
            settings.lang_to_id = {f"<|{code}|>": at for code, at in known.items()}
            settings.task_to_id = {"transcribe": ids["<|transcribe|>"]}

    def _greedy(self, sound: Any, codes: Sequence[str]) -> tuple[Any, Floats]:
        """Ids [B, prompt + T], padded after an end or a loop, and log probabilities [B, T]."""
        logs: list[Floats] = []

        def keep(_ids: Any, scores: Any) -> Any:
            logs.append(scores.log_softmax(-1).amax(-1).cpu().numpy())
            return scores

        def looped(ids: Any, _scores: Any) -> Any:
            return self._source.tensor(np.array([loop_length(row) > 0 for row in ids.tolist()]))

        many = {"language": list(codes), "task": "transcribe"} if self.many_languages else {}
        with quiet():
            ids = self._network.generate(
                encoder_outputs=sound,
                max_new_tokens=self._network.config.max_target_positions // 2,
                logits_processor=[keep],  # the last one: it sees what is chosen from
                stopping_criteria=[looped],
                return_timestamps=False,
                num_beams=1,
                force_unique_generate_call=True,  # no second round after time marks
                **many,
            )
        return ids, np.stack(logs, axis=1)

    def _looks(self, sound: Any, ids: Any, first: int) -> Any:
        """Attention [B, heads, T + 1, frames] while `ids[first:]` were written; or None of each."""
        if not self._heads:
            return [None] * len(ids)
        usual = self._network.config._attn_implementation
        self._network.set_attn_implementation("eager")  # the only one that tells where it looks
        try:
            out = self._network.model(
                encoder_outputs=sound,
                decoder_input_ids=ids,
                use_cache=False,
                output_attentions=True,
            )
        finally:
            self._network.set_attn_implementation(usual)
        seen = [out.cross_attentions[layer][:, head, first - 1 :] for layer, head in self._heads]
        return np.stack([one.float().cpu().numpy() for one in seen], axis=1)

    def _written(
        self, row: list[int], logs: Floats, look: Any, length_s: float, code: str, silent: float
    ) -> Written:
        tokens = row[: row.index(self._end)] if self._end in row else row
        kept = without_loop(tokens)
        cut = self._end not in row or len(kept) < len(tokens)
        confidence = math.exp(logs[: len(tokens) + (not cut)].mean())
        words: tuple[Word, ...] = ()
        if look is not None:
            words = timed_words(kept, logs, look, length_s, self._text, code)
        return Written(one_line(self._text(kept)), words, code, confidence, float(silent), cut)

    def _text(self, tokens: Sequence[int]) -> str:
        """Plain text: control tokens and time marks come after the end's id, and are left out."""
        plain = [token for token in tokens if token < self._end]
        return str(self._tokenizer.decode(plain, clean_up_tokenization_spaces=False))
