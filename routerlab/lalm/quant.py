"""A base held in four bits by bitsandbytes: what to ask `from_pretrained` for, or why it cannot be.

Only the linear parts of the text model are narrowed. The audio tower, its projector and the head
stay as they are: they are a tenth of the weights and the first that suffer.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

import torch

from routerlab.errors import UserError

Quantize: TypeAlias = Literal["none", "4bit"]

KEPT_WIDE = (".*audio_tower", ".*visual", ".*multi_modal_projector", ".*lm_head")
"""Parts of a model that are never narrowed; patterns that transformers matches from the start of a
name."""


def four_bit(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of `from_pretrained` for NF4 weights, computed with in `dtype`, on a GPU.

    Raises:
        UserError: no bitsandbytes, or no CUDA device.
    """
    for line in missing("4bit", device):
        raise UserError(f"lalm: {line}")
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(KEPT_WIDE),
    )
    return {"quantization_config": config, "device_map": {"": device}}


def missing(quantize: str, device: torch.device) -> list[str]:
    """What a setting needs and this machine or process has not, a line each; [] if nothing."""
    if quantize == "none":
        return []
    if quantize != "4bit":
        return [f"quantize: {quantize!r}. Allowed: none, 4bit."]
    lines = []
    if device.type != "cuda" or not torch.cuda.is_available():
        lines.append(
            f"quantize: 4bit on {device.type}. Allowed: a CUDA device. Leave quantize out; "
            "dtype: bfloat16 halves the memory anywhere."
        )
    if find_spec("bitsandbytes") is None:
        lines.append(
            "quantize: 4bit needs bitsandbytes, which is not installed. Run: "
            'pip install "routerlab[quant]"'
        )
    return lines
