"""What differs from one family of audio language models to the next, and nothing else.

A family loads the listening and reading part of a checkpoint and says where its parts are. A new
family is one more class here and one more entry in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from routerlab.errors import UserError


class Family(Protocol):
    """The seam: everything else in `routerlab.lalm` is the same for all families."""

    name: str
    model_types: tuple[str, ...]

    def load(self, folder: Path, dtype: torch.dtype) -> nn.Module:
        """The model in eval mode on the CPU, without parts that neither hear nor read."""
        ...

    def slots(self, frames: int) -> int:
        """How many positions a clip of so many log-mel frames takes in the prompt."""
        ...

    def tower(self, model: nn.Module, mel: Tensor, frames: Tensor) -> Tensor:
        """Features of B clips, one after the other: [sum of slots, D].

        Args:
            model: what `load` gave.
            mel: [B, bins, F], padded on the right.
            frames: int64 [B], how many of F are the clip's.
        """
        ...

    def decoder(self, model: nn.Module) -> nn.Module:
        """The text model: inputs_embeds, attention_mask, position_ids, cache -> hidden."""
        ...

    def head(self, model: nn.Module) -> nn.Module:
        """Hidden -> logits over the vocabulary."""
        ...


class QwenOmniThinker:
    """Qwen2.5-Omni's thinker, alone or inside a full Omni checkpoint (weights under `thinker.`)."""

    name = "Qwen2.5-Omni"
    model_types = ("qwen2_5_omni_thinker", "qwen2_5_omni")

    def load(self, folder: Path, dtype: torch.dtype) -> nn.Module:
        """The thinker; talker weights are not read, the vision tower is let go."""
        from transformers import Qwen2_5OmniThinkerForConditionalGeneration as Thinker

        model: Any = Thinker.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
        )
        del model.model.visual
        return model.eval()  # type: ignore[no-any-return]

    def slots(self, frames: int) -> int:
        """A convolution of stride 2, then pooling by 2: 25 positions a second."""
        return ((frames - 1) // 2 + 1 - 2) // 2 + 1

    def tower(self, model: nn.Module, mel: Tensor, frames: Tensor) -> Tensor:
        """The tower wants the real frames of all clips in one row."""
        real = torch.arange(mel.shape[2], device=mel.device) < frames[:, None]
        row = mel.transpose(1, 2)[real].T
        features: Tensor = model.model.audio_tower(row, feature_lens=frames).last_hidden_state  # type: ignore[union-attr, operator]
        return features

    def decoder(self, model: nn.Module) -> nn.Module:
        """`Qwen2_5OmniThinkerTextModel`; it takes two-dimensional positions for text and sound."""
        return model.model.language_model  # type: ignore[union-attr, return-value]

    def head(self, model: nn.Module) -> nn.Module:
        """`lm_head`, tied to the embeddings where the checkpoint ties them."""
        return model.lm_head  # type: ignore[return-value]


FAMILIES: tuple[Family, ...] = (QwenOmniThinker(),)


def family_of(config: Mapping[str, Any], given: str) -> Family:
    """The family that a config.json names; UserError says what was found and what is known."""
    found = config.get("model_type")
    for family in FAMILIES:
        if found in family.model_types:
            return family
    known = "; ".join(f"{f.name} ({', '.join(f.model_types)})" for f in FAMILIES)
    raise UserError(
        f"lalm: {given!r} is of model type {found!r}. Known families: {known}. "
        "Give a checkpoint of one of these, or add a Family in routerlab/lalm/families.py."
    )
