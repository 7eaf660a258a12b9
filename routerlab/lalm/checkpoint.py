"""Where a model's files are and what they are, before any weight is read. Imports no torch.

A name is one of `SHIPPED`, a folder, or a hub id. Only safetensors are accepted, and code that
comes with a checkpoint is never run.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from routerlab.errors import UserError
from routerlab.hub import missing_shards, snapshot

EMBEDDED = "embedded"
"""The name of the model that ships with the package and that everything uses by default."""

SHIPPED = {EMBEDDED: "lalm", "embedded_qwen2audio": "lalm_qwen2audio"}
"""Name of a model that ships -> its folder in `routerlab.embedded`."""

# What changes an answer: weights, sizes, tokenizer, chat format, front end. Not the model card.
_RELEVANT = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "processor_config.json",
    "chat_template.jinja",
    "chat_template.json",
)
_WANTED = ("*.json", "*.safetensors", "*.txt", "*.jinja")


def locate(path: str, revision: str | None = None) -> Path:
    """The local folder of a model; a hub id is fetched (or found in the hub's own cache)."""
    shipped = files("routerlab.embedded") / SHIPPED.get(path, "")
    folder = Path(str(shipped)) if path in SHIPPED else Path(path)
    if folder.is_dir():
        return _checked(folder, path)
    if path in SHIPPED or path.startswith((".", "/", "~")) or path.count("/") != 1:
        raise UserError(
            f"lalm: no folder {path!r}. Allowed: {', '.join(SHIPPED)}, a folder with config.json "
            "and safetensors, or a hub id 'owner/name'. Check the path."
        )
    try:
        folder = snapshot(path, revision, _WANTED)
    except UserError as error:
        raise UserError(f"lalm: {error}") from error
    return _checked(folder, path)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as it stands; UserError if it is damaged, or of weights narrowed already."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"lalm: {folder / 'config.json'} is no JSON ({error}).") from error
    if not isinstance(config, dict):
        raise UserError(f"lalm: {folder / 'config.json'} holds no object. Fetch it again.")
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        if "quantization_config" in part:
            raise UserError(
                f"lalm: {str(folder)!r} is quantized already. Allowed: whole weights; "
                "quantize: 4bit narrows them as they are loaded."
            )
    return config


def seconds_limit(folder: Path) -> float:
    """Seconds of sound that the model's front end takes; Whisper's 30 where nothing is said.

    >>> seconds_limit(locate("embedded"))
    30.0
    """
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            found = json.loads((folder / name).read_text(encoding="utf-8"))
            found = found.get("feature_extractor", found)
            if "chunk_length" in found:
                return float(found["chunk_length"])
    return 30.0


def fingerprint(folder: Path) -> str:
    """SHA-256 over weights, configuration, tokenizer, chat format and front end, by content."""
    total = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), *(folder / name for name in _RELEVANT)]):
        if file.is_file():
            stat = file.stat()
            digest = _file_hash(str(file), stat.st_size, stat.st_mtime_ns)
            total.update(f"{file.name}:{digest}\n".encode())
    return total.hexdigest()


@lru_cache(maxsize=256)
def _file_hash(file: str, size: int, mtime_ns: int) -> str:
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _checked(folder: Path, given: str) -> Path:
    if not (folder / "config.json").is_file():
        raise UserError(f"lalm: {given!r} has no config.json. Give a from_pretrained folder.")
    if not any(folder.glob("*.safetensors")):
        found = sorted(f.name for f in folder.glob("*.bin")) or ["no weights"]
        raise UserError(
            f"lalm: {given!r} has no *.safetensors (found {', '.join(found)}). Allowed: "
            "safetensors only. Save the model again with save_pretrained."
        )
    if lost := missing_shards(folder):
        raise UserError(
            f"lalm: {given!r} lacks {', '.join(lost[:2])}{', ...' if lost[2:] else ''}, which its "
            "index names. Fetch the rest of it."
        )
    return folder
