"""A data set of the Hugging Face hub as a folder of question files: `hub:OWNER/NAME@COMMIT:SPLIT`.

Rows are streamed and sound is never decoded: the bytes of each clip go to a file as they are, one
clip in memory at a time. The commit must be named, since a branch may change under a finished run.
What comes out is read, and checked, like any other question file. Needs `routerlab[hub]`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routerlab.data.formats.forms import LEAKS
from routerlab.data.writers import write_lines
from routerlab.errors import UserError

PREFIX = "hub:"

_SPEC = re.compile(
    r"^hub:(?P<name>\w[\w.-]*/\w[\w.-]*)(?:/(?P<config>\w[\w.-]*))?"
    r"(?:@(?P<revision>[\w./-]+))?(?::(?P<split>[\w.\[\]%-]+))?$"
)
_COMMIT = re.compile(r"^[0-9a-f]{40}$")
_ENDINGS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3"}


@dataclass(frozen=True)
class HubSource:
    """One split of a data set at one commit."""

    name: str
    revision: str
    split: str
    config: str = ""

    @property
    def folder(self) -> str:
        """A folder's name that tells it from every other."""
        parts = (self.name.replace("/", "--"), self.config, self.split, self.revision[:12])
        return "-".join(re.sub(r"[^\w.-]", "_", part) for part in ("hub", *parts) if part)


def is_hub(source: str) -> bool:
    """Whether a source is meant to be one of the hub."""
    return source.startswith(PREFIX)


def parse_hub(source: str) -> HubSource:
    """What `hub:OWNER/NAME[/CONFIG]@COMMIT[:SPLIT]` names.

    >>> parse_hub("hub:lab/set@" + "0" * 40 + ":test_mini").split
    'test_mini'

    Raises:
        UserError: it is written otherwise, or names no commit.
    """
    found = _SPEC.match(source)
    if found is None:
        raise UserError(
            f"data: {source!r} names no data set. Write hub:OWNER/NAME[/CONFIG]@COMMIT[:SPLIT]."
        )
    if not _COMMIT.match(found["revision"] or ""):
        raise UserError(
            f"data: {source!r} names no commit ({found['revision'] or 'nothing'!r} after the @). "
            "Give the 40 digits of one, so that the questions stay what they are."
        )
    return HubSource(
        found["name"], found["revision"], found["split"] or "test", found["config"] or ""
    )


def hub_problems(source: str) -> list[str]:
    """What is wrong with a hub source, before anything is fetched."""
    problems = []
    try:
        parse_hub(source)
    except UserError as error:
        problems.append(str(error))
    if importlib.util.find_spec("datasets") is None:
        problems.append(_MISSING)
    return problems


_MISSING = (
    "data: a source of the Hugging Face hub needs the package datasets. "
    'Install it: pip install "routerlab[hub]"'
)


def fetch(source: str, data_dir: str | Path) -> Path:
    """The folder of a hub source, made if it is not there; its split is `test`.

    Raises:
        UserError: no such package, data set, commit or split.
    """
    named = parse_hub(source)
    folder = Path(data_dir) / named.folder
    if folder.is_dir():
        return folder
    rows = _stream(named)
    Path(data_dir).mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=data_dir, prefix=f".{folder.name}."))
    try:
        materialise(rows, unfinished)
        os.chmod(unfinished, 0o755)
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, with the same rows
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def materialise(rows: Iterable[Mapping[str, Any]], folder: str | Path, name: str = "test") -> Path:
    """Write rows as `NAME.jsonl`, each with its undecoded sound under `audio/`.

    A row's column of sound, `{"path": …, "bytes": …}`, becomes the file's path, under the key
    `audio`. A row without one keeps its own path. A row without an id is numbered.
    """
    root = Path(folder)
    (root / "audio").mkdir(parents=True, exist_ok=True)
    return write_lines(root / f"{name}.jsonl", _written(rows, root))


def _written(rows: Iterable[Mapping[str, Any]], root: Path) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows):
        kept = {"id": f"{number:06d}"} | {k: v for k, v in row.items() if k not in LEAKS}
        for key, value in row.items():
            if isinstance(value, Mapping) and {"path", "bytes"} <= set(value):
                del kept[key]
                kept["audio"] = _sound(value, root)
        yield kept


def _sound(column: Mapping[str, Any], root: Path) -> str:
    """The path of a clip beside the rows; clips of the same bytes share one file."""
    if column["bytes"] is None:
        return str(Path(str(column["path"])).resolve())
    content = bytes(column["bytes"])
    ending = Path(str(column["path"] or "")).suffix or _ending(content)
    name = f"{hashlib.sha256(content).hexdigest()[:24]}{ending}"
    (root / "audio" / name).write_bytes(content)
    return f"./audio/{name}"


def _ending(content: bytes) -> str:
    return next((end for start, end in _ENDINGS.items() if content.startswith(start)), ".bin")


def _stream(named: HubSource) -> Any:
    try:
        import datasets
    except ImportError:
        raise UserError(_MISSING) from None
    try:
        found = datasets.load_dataset(
            named.name,
            named.config or None,
            split=named.split,
            revision=named.revision,
            streaming=True,
        )
    except Exception as error:
        # Whatever went wrong out there, it is the source that cannot be had.
        raise UserError(
            f"data: {named.name} at {named.revision[:12]} cannot be fetched: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    return undecoded(found)


def undecoded(dataset: Any) -> Any:
    """The same data set, its columns of sound left as bytes."""
    import datasets

    for column, feature in (dataset.features or {}).items():
        if isinstance(feature, datasets.Audio):
            dataset = dataset.cast_column(column, datasets.Audio(decode=False))
    return dataset
