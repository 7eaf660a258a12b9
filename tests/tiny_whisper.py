"""A small random Whisper of real classes, saved as a hub download lies: two seconds a window."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel

LANGUAGES = ("en", "zh", "de", "fr")
END = "<|endoftext|>"
CONTROL = (
    "<|startoftranscript|>",
    *(f"<|{code}|>" for code in LANGUAGES),
    *("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"),
    *("<|nospeech|>", "<|notimestamps|>"),
)
MARKS = tuple(f"<|{at / 50:.2f}|>" for at in range(101))
WINDOW_S = 2


def save(folder: str, says: str = "", *, aligned: bool = True, english: bool = False) -> str:
    """Random weights; or, with `says`, a model that always writes this token."""
    torch.manual_seed(4)
    tokenizer = _tokenizer()
    ids = tokenizer.get_vocab()
    network = transformers.WhisperForConditionalGeneration(_config(ids)).eval()
    if says:
        norm, rows = network.model.decoder.layer_norm, network.model.decoder.embed_tokens.weight
        with torch.no_grad():
            norm.weight.zero_()
            norm.bias.fill_(1.0)
            rows.zero_()
            rows[ids[says]] = 2.0
    network.generation_config = _generation(ids, aligned, english)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=WINDOW_S).save_pretrained(
        folder
    )
    return folder


def _tokenizer() -> Any:
    """Bytes without merges, then the control tokens in Whisper's order."""
    vocab = {word: at for at, word in enumerate([*sorted(ByteLevel.alphabet()), END])}
    made = transformers.WhisperTokenizer(vocab=vocab, merges=[])
    made.add_special_tokens({"additional_special_tokens": list(CONTROL)})
    made.add_tokens(list(MARKS))
    return made


def _config(ids: dict[str, int]) -> Any:
    return transformers.WhisperConfig(
        vocab_size=len(ids),
        num_mel_bins=16,
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=50 * WINDOW_S,
        max_target_positions=40,
        init_std=0.6,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), ids[END]),
    )


def _generation(ids: dict[str, int], aligned: bool, english: bool) -> Any:
    """As Whisper's: control tokens are barred, an end at once too; here all but ASCII as well."""
    mute = [at for word, at in ids.items() if len(word) == 1 and not "!" <= word <= "~"]
    mute.remove(ids["Ġ"])
    how: dict[str, Any] = {"is_multilingual": not english}
    if not english:
        how["lang_to_id"] = {f"<|{code}|>": ids[f"<|{code}|>"] for code in LANGUAGES}
        how["task_to_id"] = {task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")}
    if aligned:
        how["alignment_heads"] = [[0, 1], [1, 0]]
    return transformers.GenerationConfig(
        suppress_tokens=sorted([*mute, *(ids[word] for word in (*CONTROL, *MARKS))]),
        begin_suppress_tokens=[ids["Ġ"], ids[END]],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        no_timestamps_token_id=ids["<|notimestamps|>"],
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), ids[END]),
        **how,
    )
