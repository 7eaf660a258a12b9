"""Builds the untrained tiny LALM: a real Qwen2.5-Omni thinker, only small, and its tokenizer.

What comes out is an ordinary `from_pretrained` folder: configuration, weights, tokenizer, chat
template and feature extractor settings. Training it is `routerlab.embedded.module`'s affair.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    WhisperFeatureExtractor,
)

from routerlab.errors import UserError

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|AUDIO|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
    "<|IMAGE|>",
    "<|VIDEO|>",
    "<|vision_bos|>",
    "<|vision_eos|>",
)
"""Qwen2.5-Omni's own, in the order of their ids here (0, 1, 2 ...)."""

# Qwen2's rule (digits one by one, words with the blank before them, punctuation in runs), but a
# digit takes the blank before it along: tools' outputs are full of numbers.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Sizes:
    """The sizes of the model; the defaults give about 1.5 million parameters.

    Attributes:
        text_rope: how a head's rotary frequencies are shared among (time, height, width); sums to
            half the head's width.
        chunk_frames: log-mel frames (10 ms) that the audio tower attends over at once.
        pieces: size of the vocabulary, special tokens included.
    """

    text_width: int = 128
    text_layers: int = 4
    text_heads: int = 4
    text_ffn: int = 384
    text_rope: tuple[int, int, int] = (4, 6, 6)
    audio_width: int = 128
    audio_layers: int = 2
    audio_heads: int = 4
    audio_ffn: int = 256
    mel_bins: int = 64
    chunk_frames: int = 300
    pieces: int = 1_000


def train_tokenizer(corpus: Iterable[str], pieces: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with Qwen's special tokens and splitting rule.

    The labels A to Z are one piece each, also after a blank; so are the roles of the chat format.
    """
    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=pieces,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = list(corpus)
    # Pieces that must exist whatever the corpus holds, made frequent enough to be merged first.
    must = "".join(f" {label}" for label in ascii_uppercase) + "\nsystem\nuser\nassistant\n"
    core.train_from_iterator([*texts, *([must] * (len(texts) // 20 + 200))], trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=_CHAT_TEMPLATE,
        extra_special_tokens={
            "audio_token": "<|AUDIO|>",
            "audio_bos_token": "<|audio_bos|>",
            "audio_eos_token": "<|audio_eos|>",
            "image_token": "<|IMAGE|>",
            "video_token": "<|VIDEO|>",
            "vision_bos_token": "<|vision_bos|>",
            "vision_eos_token": "<|vision_eos|>",
        },
        clean_up_tokenization_spaces=False,
    )


def thinker_config(sizes: Sizes, tokenizer: PreTrainedTokenizerFast) -> Qwen2_5OmniThinkerConfig:
    """The Omni thinker's configuration at the given sizes, its token ids from the tokenizer."""
    (user,) = tokenizer.encode("user", add_special_tokens=False)
    vocabulary = tokenizer.get_vocab()
    ids = {token: vocabulary[token] for token in SPECIAL_TOKENS}
    config = Qwen2_5OmniThinkerConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": sizes.text_width,
            "intermediate_size": sizes.text_ffn,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.text_heads,
            "num_key_value_heads": sizes.text_heads,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": list(sizes.text_rope),
            },
            "pad_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "tie_word_embeddings": True,
        },
        audio_config={
            "num_mel_bins": sizes.mel_bins,
            "d_model": sizes.audio_width,
            "encoder_layers": sizes.audio_layers,
            "encoder_attention_heads": sizes.audio_heads,
            "encoder_ffn_dim": sizes.audio_ffn,
            "n_window": sizes.chunk_frames // 2,
            "max_source_positions": 1500,
            "output_dim": sizes.text_width,
        },
        # The architecture demands a vision tower: one block, as small as it allows.
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "patch_size": 2,
            "spatial_merge_size": 1,
            "temporal_patch_size": 1,
            "window_size": 4,
            "out_hidden_size": sizes.text_width,
            "fullatt_block_indexes": [0],
        },
        audio_token_index=ids["<|AUDIO|>"],
        image_token_index=ids["<|IMAGE|>"],
        video_token_index=ids["<|VIDEO|>"],
        audio_start_token_id=ids["<|audio_bos|>"],
        audio_end_token_id=ids["<|audio_eos|>"],
        user_token_id=user,
        tie_word_embeddings=True,
    )
    # get_rope_index reads these two, but small configurations do not get them by default.
    config.vision_start_token_id = ids["<|vision_bos|>"]
    config.vision_end_token_id = ids["<|vision_eos|>"]
    return config


def feature_extractor(sizes: Sizes) -> WhisperFeatureExtractor:
    """The log-mel front end that Qwen2.5-Omni uses, with fewer bins."""
    return WhisperFeatureExtractor(  # type: ignore[no-untyped-call]
        feature_size=sizes.mel_bins, sampling_rate=16_000, hop_length=160, n_fft=400,
        return_attention_mask=True,
    )  # fmt: skip


def build(
    folder: str | Path, corpus: Iterable[str], sizes: Sizes | None = None, *, seed: int = 0
) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """Write an untrained model's `from_pretrained` folder and return the model (fp32)."""
    sizes = sizes or Sizes()
    tokenizer = train_tokenizer(corpus, sizes.pieces)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5OmniThinkerForConditionalGeneration(thinker_config(sizes, tokenizer))
    tokenizer.save_pretrained(folder)
    feature_extractor(sizes).save_pretrained(folder)
    model.save_pretrained(folder)
    return model


def resume(folder: str | Path, start: str | Path) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """Copy a trained model's folder and return the model (fp32), to go on training it.

    Raises:
        UserError: `start` is not a folder that training wrote.
    """
    if not (Path(start) / "config.json").is_file():
        raise UserError(
            f"model.start: {str(start)!r} holds no config.json. Give the folder that an earlier "
            "training wrote, or leave it empty to start from nothing."
        )
    shutil.copytree(start, folder, dirs_exist_ok=True)
    return Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
