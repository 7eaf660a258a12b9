"""Published models by their configuration, without their weights: parameters and bytes.

The models are built on torch's `meta` device by their own classes, so parameters are counted and
not looked up. What follows from them is arithmetic, not measurement.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from routerlab.lalm.families import Family, Qwen2Audio, QwenOmniThinker
from routerlab.lalm.room import position_bytes
from routerlab.policy.adapter import targets

_ROPE = {"rope_type": "default", "rope_theta": 1_000_000.0}
# Never run, so as small as it may be.
_VISION = {
    "depth": 1, "fullatt_block_indexes": [0], "hidden_size": 16, "intermediate_size": 16,
    "num_heads": 2, "out_hidden_size": 16,
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """A model that can be built from its configuration.

    Attributes:
        name: what the command line calls it.
        family: where its parts are.
        text: settings of the text model that differ from the configuration class's.
        audio: settings of the audio tower that differ.
        window: seconds that its front end takes.
        bins: of its log-mel front end.
    """

    name: str
    family: Family
    text: dict[str, Any]
    audio: dict[str, Any]
    window: int
    bins: int = 128

    def build(self, device: torch.device, dtype: torch.dtype) -> Any:
        """What is loaded of the model, with random weights where it is to run; on "meta" none."""
        model = self.whole(device, dtype)
        if isinstance(self.family, QwenOmniThinker):
            del model.model.visual
        model.requires_grad_(False)
        return model.eval()

    def whole(self, device: torch.device, dtype: torch.dtype) -> Any:
        """The model as its class has it, a sliver of vision included."""
        import transformers

        omni = isinstance(self.family, QwenOmniThinker)
        kind = "Qwen2_5OmniThinker" if omni else "Qwen2Audio"
        config_class = getattr(transformers, f"{kind}Config")
        model_class = getattr(transformers, f"{kind}ForConditionalGeneration")
        more = {"vision_config": _VISION} if omni else {}
        config = config_class(text_config=self.text, audio_config=self.audio, **more)
        with device:
            return model_class._from_config(config, dtype=dtype, attn_implementation="sdpa")


def _omni(name: str, text: dict[str, Any], sections: list[int], **audio: Any) -> Size:
    rope = {**_ROPE, "mrope_section": sections}
    return Size(name, QwenOmniThinker(), {**text, "rope_parameters": rope}, audio, 300)


SIZES = {
    size.name: size
    for size in (
        # The configuration class's own defaults.
        _omni("7b", {}, [16, 24, 24]),
        _omni(
            "3b",
            {
                "hidden_size": 2_048, "intermediate_size": 11_008, "num_hidden_layers": 36,
                "num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 151_936,
            },
            [16, 24, 24],
            output_dim=2_048,
        ),
        Size(
            "qwen2audio",
            Qwen2Audio(),
            {"model_type": "qwen2", "intermediate_size": 11_008, "vocab_size": 156_032},
            {"model_type": "qwen2_audio_encoder"},
            30,
        ),
        # To try the whole benchmark anywhere.
        _omni(
            "tiny",
            {
                "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 1_024,
            },
            [2, 3, 3],
            d_model=32, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=48,
            output_dim=32,
        ),
    )
}  # fmt: skip
PUBLISHED = ("3b", "7b", "qwen2audio")


@dataclass(frozen=True)
class Parts:
    """Parameters of a model by part, and what follows from its configuration.

    Attributes:
        layers: of the text model.
        words: embeddings.
        head: 0 where it is the embeddings.
        tower: of the audio tower and its projector.
        lora: of an adapter of rank 8 on every linear layer of the text model.
        position: bytes of one position's keys and values, at 2 bytes a number.
        width: of the text model.
        always: seconds that the tower runs over whatever the clip; 0 where it follows the clip.
    """

    layers: int
    words: int
    head: int
    tower: int
    lora: int
    position: int
    width: int
    always: float

    @property
    def total(self) -> int:
        """All that is loaded."""
        return self.layers + self.words + self.head + self.tower

    def operations(self, tower_seconds: float, calls: float, tokens: float, reads: float) -> float:
        """Two operations a parameter and position; attention's own products are left out.

        Args:
            tower_seconds: of sound, in each of `calls` of the tower.
            tokens: through the layers.
            reads: positions that the head is applied to.
        """
        # The tower's layers run at 50 positions a second.
        heard = 50 * max(self.always, tower_seconds) * calls
        head = self.head or self.words
        return 2 * (self.layers * tokens + head * reads + self.tower * heard)


@lru_cache
def parts(name: str) -> Parts:
    """The parts of one of `SIZES`."""
    size = SIZES[name]
    return parts_of(size.family, size.build(torch.device("meta"), torch.bfloat16))


def parts_of(family: Family, model: Any) -> Parts:
    """The parts of a model that is built."""
    decoder, config = family.decoder(model), model.config.get_text_config()
    words, head = model.get_input_embeddings(), family.head(model)
    tower = [model.model.audio_tower, getattr(model.model, "multi_modal_projector", None)]
    everywhere = re.compile(targets(range(len(decoder.layers))))
    adapted = [m for name, m in model.named_modules() if everywhere.fullmatch(name)]
    return Parts(
        layers=_count(decoder.layers) + _count(decoder.norm),
        words=_count(words),
        head=0 if head.weight is words.weight else _count(head),
        tower=sum(_count(part) for part in tower if part is not None),
        lora=sum(8 * (m.in_features + m.out_features) for m in adapted),
        position=position_bytes(config, 2),
        width=config.hidden_size,
        always=30.0 if family.whole_window else 0.0,
    )


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
