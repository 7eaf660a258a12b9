"""The model of a benchmark: one that can be loaded, or one of true size with random weights.

Random weights answer nonsense at the speed, and in the memory, of trained ones. Tokenizer and chat
format are those of the embedded model, since none but its own ships: a text has somewhat more
tokens than with a published tokenizer.
"""

from __future__ import annotations

from typing import Any

import torch

from routerlab.bench.sizes import SIZES, Size
from routerlab.errors import UserError
from routerlab.lalm.checkpoint import EMBEDDED, locate
from routerlab.lalm.device import present
from routerlab.lalm.model import LALM, DType

_RANDOM = "-random"
RANDOM = tuple(f"{name}{_RANDOM}" for name in SIZES)
"""Names of models that are built instead of loaded."""


def open_lalm(name: str, dtype: DType, device: torch.device) -> LALM:
    """Load "embedded", a folder or a hub id, or build one of `RANDOM`.

    Raises:
        UserError: no such model, or no such device.
    """
    if not name.endswith(_RANDOM):
        return LALM.load(name, dtype=dtype, device=str(device))
    if name not in RANDOM:
        raise UserError(f"lalm: {name!r}. Allowed: {', '.join(RANDOM)}, a folder or a hub id.")
    return random_lalm(SIZES[name.removesuffix(_RANDOM)], dtype, present(device))


def random_lalm(size: Size, dtype: DType, device: torch.device) -> LALM:
    """A model of this size with random weights, the same ones for the same device."""
    from transformers import AutoTokenizer, WhisperFeatureExtractor

    folder = locate(EMBEDDED)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        model = size.build(device, getattr(torch, dtype))
    front_end: Any = WhisperFeatureExtractor
    extractor = front_end(feature_size=size.bins, chunk_length=size.window)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return LALM(model, tokenizer, extractor, size.family, folder)
