"""The two architectures that are built small: what differs between them, and nothing else.

An architecture is transformers' own class with its own configuration; the tokenizer, the schooling
and the export are the same for both. Loading what comes out is `routerlab.lalm`'s affair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from routerlab.lalm.families import Family, Qwen2Audio, QwenOmniThinker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor

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

WINDOW_SECONDS = 4
"""What a small Qwen2-Audio hears at once; the real one's window is 30 s."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of the model; the defaults give about 1.5 million parameters.

    Attributes:
        text_rope: how a head's rotary frequencies are shared among (time, height, width); sums to
            half the head's width. Omni only.
        chunk_frames: log-mel frames (10 ms) that the audio tower attends over at once. Omni only.
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


class Architecture(ABC):
    """The seam of what can be built and trained from nothing.

    Attributes:
        name: in a recipe.
        family: how it is loaded and prompted afterwards.
    """

    name: ClassVar[str]
    family: ClassVar[Family]

    @abstractmethod
    def model_class(self) -> Any:
        """transformers' class."""

    @abstractmethod
    def config(self, sizes: Sizes, tokenizer: PreTrainedTokenizerFast) -> Any:
        """Its configuration at the given sizes, token ids from the tokenizer."""

    @abstractmethod
    def features(self, model: Any, mels: Tensor, frames: Tensor) -> Tensor:
        """Audio embeddings of B clips one after the other, [sum of slots, D], with gradients.

        Args:
            mels: [B, T, bins], zero-padded; frames: long [B], none longer than the tower hears.
        """

    def extractor(self, sizes: Sizes) -> WhisperFeatureExtractor:
        """The log-mel front end, with fewer bins than the real one's."""
        return _extractor(sizes)

    def unused(self, model: Any) -> Any:
        """A part that is never used, so that weight decay and DDP leave it alone; or None."""
        return None

    def positions(self, position: Tensor) -> Tensor:
        """[B, L] -> as the text model takes them."""
        return position


class OmniThinker(Architecture):
    """A small Qwen2.5-Omni thinker."""

    name = "qwen2_5_omni"
    family = QwenOmniThinker()

    def model_class(self) -> Any:
        """The thinker alone."""
        from transformers import Qwen2_5OmniThinkerForConditionalGeneration

        return Qwen2_5OmniThinkerForConditionalGeneration

    def config(self, sizes: Sizes, tokenizer: PreTrainedTokenizerFast) -> Any:
        """Text, audio, and the least vision tower that the architecture allows."""
        from transformers import Qwen2_5OmniThinkerConfig

        (user,) = tokenizer.encode("user", add_special_tokens=False)
        ids = _ids(tokenizer)
        text = _text_config(sizes, tokenizer)
        text["rope_parameters"]["mrope_section"] = list(sizes.text_rope)
        text["tie_word_embeddings"] = True
        config = Qwen2_5OmniThinkerConfig(
            text_config=text,
            audio_config={
                **_audio_config(sizes),
                "n_window": sizes.chunk_frames // 2,
                "max_source_positions": 1500,
                "output_dim": sizes.text_width,
            },
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

    def features(self, model: Any, mels: Tensor, frames: Tensor) -> Tensor:
        """As at inference, with gradients."""
        return self.family.tower(model, mels.transpose(1, 2), frames)

    def unused(self, model: Any) -> Any:
        """The vision tower."""
        return model.model.visual

    def positions(self, position: Tensor) -> Tensor:
        """Time, height and width are the same for text and sound."""
        return position.expand(3, -1, -1)


class Qwen2AudioLike(Architecture):
    """A small Qwen2-Audio: a Whisper-like tower over a fixed window, a projector, a Qwen2 text."""

    name = "qwen2_audio"
    family = Qwen2Audio()

    def model_class(self) -> Any:
        """The whole model."""
        from transformers import Qwen2AudioForConditionalGeneration

        return Qwen2AudioForConditionalGeneration

    def config(self, sizes: Sizes, tokenizer: PreTrainedTokenizerFast) -> Any:
        """Text and audio."""
        from transformers import Qwen2AudioConfig

        return Qwen2AudioConfig(
            text_config={"model_type": "qwen2", **_text_config(sizes, tokenizer)},
            audio_config={
                **_audio_config(sizes),
                "max_source_positions": WINDOW_SECONDS * 50,
            },
            audio_token_index=_ids(tokenizer)["<|AUDIO|>"],
        )

    def extractor(self, sizes: Sizes) -> WhisperFeatureExtractor:
        """The same front end over the short window."""
        return _extractor(sizes, chunk_length=WINDOW_SECONDS)

    def features(self, model: Any, mels: Tensor, frames: Tensor) -> Tensor:
        """The family's own way, every clip padded to the window with what silence gives there."""
        window = WINDOW_SECONDS * 100
        mels = mels.to(model.get_input_embeddings().weight.dtype)
        padded = torch.nn.functional.pad(mels, (0, 0, 0, window - mels.shape[1]))
        beyond = torch.arange(window, device=mels.device) >= frames[:, None]
        # Whisper's front end clamps at 8 below the loudest and divides by 4.
        silence = mels.amax(dim=(1, 2)) - 2.0
        padded = torch.where(beyond[..., None], silence[:, None, None], padded)
        return self.family.tower(model, padded.transpose(1, 2), frames)


ARCHITECTURES: dict[str, Architecture] = {a.name: a for a in (OmniThinker(), Qwen2AudioLike())}


def _ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    vocabulary = tokenizer.get_vocab()
    return {token: vocabulary[token] for token in SPECIAL_TOKENS}


def _text_config(sizes: Sizes, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    ids = _ids(tokenizer)
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": sizes.text_width,
        "intermediate_size": sizes.text_ffn,
        "num_hidden_layers": sizes.text_layers,
        "num_attention_heads": sizes.text_heads,
        "num_key_value_heads": sizes.text_heads,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        "pad_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
    }


def _audio_config(sizes: Sizes) -> dict[str, Any]:
    return {
        "num_mel_bins": sizes.mel_bins,
        "d_model": sizes.audio_width,
        "encoder_layers": sizes.audio_layers,
        "encoder_attention_heads": sizes.audio_heads,
        "encoder_ffn_dim": sizes.audio_ffn,
    }


def _extractor(sizes: Sizes, **how: Any) -> WhisperFeatureExtractor:
    from transformers import WhisperFeatureExtractor

    return WhisperFeatureExtractor(  # type: ignore[no-untyped-call]
        feature_size=sizes.mel_bins, sampling_rate=16_000, hop_length=160, n_fft=400,
        return_attention_mask=True, **how,
    )  # fmt: skip
