"""What differs from one family of audio language models to the next, and nothing else.

A family loads the listening and reading part of a checkpoint and says where its parts are. A new
family is one more class here and one more entry in `FAMILIES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from routerlab.errors import UserError
from routerlab.lalm.tower import tower_features


class Family(ABC):
    """The seam: everything else in `routerlab.lalm` is the same for all families.

    Attributes:
        model_types: of config.json.
        around: text before and after each clip's marks; `{n}` is the clip's number from 1.
        whole_window: whether the tower wants the front end's full window, whatever the clip.
    """

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    around: ClassVar[tuple[str, str]]
    whole_window: ClassVar[bool]

    @abstractmethod
    def load(self, folder: Path, dtype: torch.dtype, **how: Any) -> nn.Module:
        """The model in eval mode on the CPU, without parts that neither hear nor read.

        Args:
            how: more arguments of `from_pretrained`; they may name another device.
        """

    @abstractmethod
    def tower(self, model: Any, mel: Tensor, frames: Tensor) -> Tensor:
        """Features of B clips, one after the other: [sum of slots, D].

        Args:
            model: what `load` gave.
            mel: [B, bins, F], padded on the right.
            frames: int64 [B], how many of F are the clip's.
        """

    @abstractmethod
    def decoder(self, model: Any) -> Any:
        """The text model: inputs_embeds, attention_mask, position_ids, cache -> hidden."""

    @abstractmethod
    def head(self, model: Any) -> Any:
        """Hidden -> logits over the vocabulary."""


def slots(frames: int) -> int:
    """Positions that a clip of so many 10-ms frames takes in the prompt: 25 a second.

    Both families have a convolution of stride 2, then pooling by 2.

    >>> slots(300), slots(4)
    (75, 1)
    """
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


class QwenOmniThinker(Family):
    """Qwen2.5-Omni's thinker, alone or inside a full Omni checkpoint (weights under `thinker.`)."""

    name = "Qwen2.5-Omni"
    model_types = ("qwen2_5_omni_thinker", "qwen2_5_omni")
    around = ("", "")
    whole_window = False

    def load(self, folder: Path, dtype: torch.dtype, **how: Any) -> nn.Module:
        """The thinker; talker weights are not read, the vision tower is let go."""
        from transformers import Qwen2_5OmniThinkerForConditionalGeneration

        model = _read(Qwen2_5OmniThinkerForConditionalGeneration, folder, dtype, **how)
        del model.model.visual
        return model  # type: ignore[no-any-return]

    def tower(self, model: Any, mel: Tensor, frames: Tensor) -> Tensor:
        """All chunks of all clips at once."""
        return tower_features(model.model.audio_tower, mel, frames)

    def decoder(self, model: Any) -> Any:
        """`Qwen2_5OmniThinkerTextModel`; it takes two-dimensional positions for text and sound."""
        return model.model.language_model

    def head(self, model: Any) -> Any:
        """`lm_head`, tied to the embeddings where the checkpoint ties them."""
        return model.lm_head


class Qwen2Audio(Family):
    """Qwen2-Audio: a Whisper-like tower over a window of 30 s, a projector, a Qwen2 text model."""

    name = "Qwen2-Audio"
    model_types = ("qwen2_audio",)
    around = ("Audio {n}: ", "\n")
    whole_window = True

    def load(self, folder: Path, dtype: torch.dtype, **how: Any) -> nn.Module:
        """The whole model: it has no other parts."""
        from transformers import Qwen2AudioForConditionalGeneration

        model: nn.Module = _read(Qwen2AudioForConditionalGeneration, folder, dtype, **how)
        return model

    def tower(self, model: Any, mel: Tensor, frames: Tensor) -> Tensor:
        """Each clip in its own window, what lies beyond it masked; then the projector."""
        length = mel.shape[2] // 2
        inside = torch.arange(length, device=mel.device) < ((frames - 1) // 2 + 1)[:, None]
        mask = inside[:, None, None].expand(-1, -1, length, -1)
        hidden = model.model.audio_tower(mel, attention_mask=mask).last_hidden_state
        counts = torch.tensor([slots(n) for n in frames.tolist()], device=mel.device)
        kept = torch.arange(hidden.shape[1], device=mel.device) < counts[:, None]
        features: Tensor = model.model.multi_modal_projector(hidden[kept])
        return features

    def decoder(self, model: Any) -> Any:
        """A `Qwen2Model`."""
        return model.model.language_model

    def head(self, model: Any) -> Any:
        """`lm_head`."""
        return model.lm_head


FAMILIES: tuple[Family, ...] = (QwenOmniThinker(), Qwen2Audio())


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


def _read(kind: Any, folder: Path, dtype: torch.dtype, **how: Any) -> Any:
    """`from_pretrained` without network, code or pickles; nothing may be missing or made up.

    Raises:
        UserError: weights that the checkpoint has not, or sliding-window attention.
    """
    model, told = kind.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation="sdpa",
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        **how,
    )
    # Vision is let go, so a checkpoint may come without it.
    if lost := sorted(key for key in told["missing_keys"] if ".visual." not in key):
        raise UserError(
            f"lalm: {str(folder)!r} lacks {len(lost)} weights ({lost[0]}, ...), which would be "
            "random. Give a whole checkpoint, under its family's own names and not quantized."
        )
    layers = set(model.config.get_text_config().layer_types or ())
    if not layers <= {"full_attention"}:
        raise UserError(
            f"lalm: {str(folder)!r} has layers of type {', '.join(sorted(layers))}. Allowed: "
            "full_attention. Set use_sliding_window to false in its config.json."
        )
    return model.eval()
