"""Builds an untrained tiny LALM: a real architecture, only small, and its tokenizer.

What comes out is an ordinary `from_pretrained` folder: configuration, weights, tokenizer, chat
template and feature extractor settings. Training it is `routerlab.embedded.module`'s affair.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from routerlab.embedded.architectures import (
    ARCHITECTURES,
    SPECIAL_TOKENS,
    Architecture,
    OmniThinker,
    Sizes,
)
from routerlab.errors import UserError
from routerlab.lalm.checkpoint import read_config

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
    "{% if part['type'] == 'audio' %}BEFORE<|audio_bos|><|AUDIO|><|audio_eos|>AFTER"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train_tokenizer(
    corpus: Iterable[str], pieces: int, around: tuple[str, str] = ("", "")
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with Qwen's special tokens and splitting rule.

    The labels A to Z are one piece each, also after a blank; so are the roles of the chat format.

    Args:
        around: what the chat template writes before and after a clip's marks.
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
        chat_template=_chat_template(around),
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


def _chat_template(around: tuple[str, str]) -> str:
    """ChatML; clips are numbered within a message where the family numbers them."""
    before, after = around
    number = "{% set heard = namespace(n=0) %}" if "{n}" in before else ""
    count = "{% set heard.n = heard.n + 1 %}" if number else ""
    before = count + before.replace("{n}", "{{ heard.n }}")
    return number + _CHAT_TEMPLATE.replace("BEFORE", before).replace("AFTER", after)


def build(
    folder: str | Path,
    corpus: Iterable[str],
    sizes: Sizes | None = None,
    *,
    seed: int = 0,
    architecture: Architecture | None = None,
) -> Any:
    """Write an untrained model's `from_pretrained` folder and return the model (fp32)."""
    sizes, architecture = sizes or Sizes(), architecture or OmniThinker()
    tokenizer = train_tokenizer(corpus, sizes.pieces, architecture.family.around)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = architecture.model_class()(architecture.config(sizes, tokenizer))
    tokenizer.save_pretrained(folder)
    architecture.extractor(sizes).save_pretrained(folder)
    model.save_pretrained(folder)
    return model


def resume(folder: str | Path, start: str | Path) -> tuple[Any, Architecture]:
    """Copy a trained model's folder; return the model (fp32), to go on training it, and its sort.

    Raises:
        UserError: `start` is not a folder that training wrote.
    """
    file = Path(start) / "config.json"
    kind = read_config(Path(start)).get("model_type") if file.is_file() else None
    found = [a for a in ARCHITECTURES.values() if kind in a.family.model_types]
    if not found:
        raise UserError(
            f"model.start: {str(start)!r} holds no config.json of a model that is trained here. "
            "Give the folder that an earlier training wrote, or leave it empty to start from "
            "nothing."
        )
    shutil.copytree(start, folder, dirs_exist_ok=True)
    (architecture,) = found
    model = architecture.model_class().from_pretrained(folder, dtype=torch.float32)
    return model, architecture
