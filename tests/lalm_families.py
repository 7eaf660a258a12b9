"""Tiny random models of each family, with their own processors, special tokens and chat formats.

Real configuration classes and processor classes at small sizes; nothing is trained. What a plain
call of such a model says is computed here too, in the way its model card shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tiny import CORPUS, SIZES, tiny_folder
from torch import Tensor
from transformers import (
    AutoProcessor,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)

from routerlab.embedded.build import train_tokenizer
from routerlab.types import Clip

OMNI, QWEN2_AUDIO = "Qwen2.5-Omni", "Qwen2-Audio"
FAMILIES = (OMNI, QWEN2_AUDIO)

SECONDS = {OMNI: 8.0, QWEN2_AUDIO: 4.0}
"""What each tiny encoder can take; the published ones take 300 and 30."""

# As in the published Omni checkpoints, less images and videos.
OMNI_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}<|im_end|>\n{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'audio' or 'audio' in content or 'audio_url' in content %}"
    "<|audio_bos|><|AUDIO|><|audio_eos|>{% elif 'text' in content %}{{ content['text'] }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def family_folder(folder: Path, family: str, *, seed: int = 0) -> str:
    """Write a tiny model of a family as `from_pretrained` folder and return its path."""
    return {OMNI: _omni, QWEN2_AUDIO: _qwen2_audio}[family](folder, seed)


def _front_end(family: str) -> WhisperFeatureExtractor:
    return WhisperFeatureExtractor(
        feature_size=SIZES.mel_bins,
        chunk_length=int(SECONDS[family]),
        return_attention_mask=True,
    )


def _omni(folder: Path, seed: int) -> str:
    tiny_folder(folder, seed=seed)
    Qwen2_5OmniProcessor(
        image_processor=Qwen2VLImageProcessor(),
        video_processor=Qwen2VLVideoProcessor(),
        feature_extractor=_front_end(OMNI),
        tokenizer=train_tokenizer(CORPUS, SIZES.pieces),
        chat_template=OMNI_TEMPLATE,
    ).save_pretrained(folder)
    (folder / "preprocessor_config.json").unlink(missing_ok=True)
    _front_end(OMNI).save_pretrained(folder)
    return str(folder)


def _qwen2_audio(folder: Path, seed: int) -> str:
    tokenizer = train_tokenizer(CORPUS, SIZES.pieces)
    text = {
        "model_type": "qwen2", "vocab_size": len(tokenizer), "hidden_size": 32,
        "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": 2048, "pad_token_id": 0,
    }  # fmt: skip
    audio = {
        "model_type": "qwen2_audio_encoder", "num_mel_bins": SIZES.mel_bins, "d_model": 32,
        "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 48,
        "max_source_positions": int(50 * SECONDS[QWEN2_AUDIO]),
    }  # fmt: skip
    slot = tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    config = Qwen2AudioConfig(text_config=text, audio_config=audio, audio_token_index=slot)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        Qwen2AudioForConditionalGeneration(config).save_pretrained(folder)
    Qwen2AudioProcessor(_front_end(QWEN2_AUDIO), tokenizer).save_pretrained(folder)
    return str(folder)


class Plain:
    """A model of a family as its card shows it: processor, one call, nothing shared or batched."""

    def __init__(self, folder: str, family: str, dtype: torch.dtype = torch.float32) -> None:
        kind: Any = {
            OMNI: Qwen2_5OmniThinkerForConditionalGeneration,
            QWEN2_AUDIO: Qwen2AudioForConditionalGeneration,
        }[family]
        self.model = kind.from_pretrained(folder, dtype=dtype).eval()
        self.processor = AutoProcessor.from_pretrained(folder)

    def text(self, said: str, system: str | None = None) -> str:
        """The chat template's own text of one clip and what is said of it."""
        content = [{"type": "audio", "audio": "clip.wav"}, {"type": "text", "text": said}]
        turns: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if system is not None:
            turns.insert(0, {"role": "system", "content": system})
        return str(
            self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        )

    def inputs(self, text: str, clip: Clip) -> dict[str, Tensor]:
        """What the processor makes of a text and a clip."""
        given = self.processor(
            text=[text], audio=[clip.samples], sampling_rate=16_000, return_tensors="pt"
        )
        return {name: tensor for name, tensor in given.items()}

    @torch.no_grad()
    def logits(self, text: str, clip: Clip, more: Sequence[int] = ()) -> Tensor:
        """Of one whole row, [L, vocabulary], with ids put after the text's own."""
        given = self.inputs(text, clip)
        ids = torch.cat([given["input_ids"], torch.tensor([list(more)], dtype=torch.long)], dim=1)
        given |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        return self.model(**given).logits[0]  # type: ignore[no-any-return]

    def log_prob(self, text: str, clip: Clip, option: Sequence[int]) -> float:
        """Sum of log-probabilities of ids that follow a text."""
        logits = self.logits(text, clip, option)[-len(option) - 1 : -1].float()
        return float(logits.log_softmax(-1)[range(len(option)), list(option)].sum())
