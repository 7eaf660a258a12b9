"""The model of a benchmark: one that can be loaded, or one of true size with random weights.

Random weights answer nonsense at the speed, and in the memory, of trained ones. Tokenizer and chat
format are those of the embedded model, since none but its own ships: a text has somewhat more
tokens than with a published tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
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
    with _seeded(device):
        model = size.build(device, getattr(torch, dtype))
    tokenizer, extractor = _front(size)
    return LALM(model, tokenizer, extractor, size.family, locate(EMBEDDED))


def save_random(name: str, folder: Path, dtype: DType, device: torch.device) -> None:
    """Write one of `RANDOM` as a download lies on disk, so that recipes can be tried on it.

    Raises:
        UserError: it is none of these, the folder has something in it, or there is no such device.
    """
    if name not in RANDOM:
        raise UserError(f"--save: --lalm {name}. Allowed: {', '.join(RANDOM)}.")
    size = SIZES[name.removesuffix(_RANDOM)]
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"--save: {str(folder)!r} is there already. Give a new or empty folder.")
    with _seeded(present(device)):
        model = size.whole(device, getattr(torch, dtype))
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for part in (model, *_front(size)):
            part.save_pretrained(half)
        half.chmod(0o755)
        half.replace(folder)
    finally:
        rmtree(half, ignore_errors=True)


@contextmanager
def _seeded(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


def _front(size: Size) -> tuple[Any, Any]:
    """Tokenizer and front end."""
    from transformers import AutoTokenizer, WhisperFeatureExtractor

    front_end: Any = WhisperFeatureExtractor
    tokenizer = AutoTokenizer.from_pretrained(locate(EMBEDDED), local_files_only=True)
    return tokenizer, front_end(feature_size=size.bins, chunk_length=size.window)
