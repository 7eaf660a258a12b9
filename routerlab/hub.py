"""Models' files in the hub's own cache, fetched only where they are not all there. No torch.

A commit never changes, so one that is here whole needs no network: machines that compute often have
none, and the hub's client tries for minutes before it believes that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from routerlab.errors import UserError

_COMMIT = re.compile(r"[0-9a-f]{40}")


@lru_cache(maxsize=64)
def snapshot(
    name: str, revision: str | None, wanted: tuple[str, ...], unwanted: tuple[str, ...] = ()
) -> Path:
    """The folder of a model's files.

    Args:
        name: "owner/name".
        revision: a commit, which is looked for on this machine first, or a branch or tag.
        wanted, unwanted: patterns of the files to fetch.

    Raises:
        UserError: it is not here and cannot be fetched; begins with the name.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if _COMMIT.fullmatch(revision or "") and (here := cached(name, revision)):
        return here
    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(wanted),
                ignore_patterns=list(unwanted) or None,
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        at = f" at revision {revision!r}" if revision else ""
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(
            f"{name!r}{at} is no folder here and cannot be had from the hub ({reason}). Give a "
            "folder or a hub id 'owner/name'; check the name, the revision and the network."
        ) from error


def cached(name: str, revision: str | None) -> Path | None:
    """The folder in the hub's cache if a model's files are all there; asks no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
    return folder if _whole(folder) else None


def missing_shards(folder: Path) -> list[str]:
    """Files of weights that an index in the folder names and that are not there."""
    named: set[str] = set()
    for index in folder.glob("*.safetensors.index.json"):
        named |= set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return sorted(name for name in named if not (folder / name).is_file())


def _whole(folder: Path) -> bool:
    """Whether a download got to its end, by the files that come last or are named by others."""
    settings = [("config.json",), ("preprocessor_config.json", "processor_config.json")]
    if (folder / "tokenizer_config.json").is_file():
        settings.append(("tokenizer.json", "vocab.json"))
    return all(_any(folder, names) for names in settings) and _weights(folder)


def _any(folder: Path, names: Sequence[str]) -> bool:
    return any((folder / name).is_file() for name in names)


def _weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) and not missing_shards(folder)
