"""Files that leave the program: written whole or not at all, and the benchmarks' prediction files.

Nothing is scored here. An official file carries the bare option text under the key that the
benchmark's own script reads, with the raw output kept beside it, and never drops a row: those
scripts skip rows without the key, which would inflate the accuracy.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from routerlab.data.formats.fields import as_list
from routerlab.data.formats.forms import find_form
from routerlab.data.formats.records import mmau_row, relative_to
from routerlab.data.readers import read_file, read_rows
from routerlab.types import Answer

PREDICTION_KEYS = {
    "mmau": "model_output",
    "mmar": "answer_prediction",
    "mmau_pro": "model_output",
    "mmsu": "response",
}
"""Benchmark -> the key its scoring script reads (MMAU's README names another one)."""


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` so that a reader finds the old file or the new one, never a part."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def write_json(path: str | Path, value: Any) -> Path:
    """Write indented JSON; NaN and infinities, which JSON has not, become null."""
    return write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


def write_lines(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write JSON lines, one row a line."""
    return write_text(path, "".join(json.dumps(plain(r), ensure_ascii=False) + "\n" for r in rows))


def plain(value: Any) -> Any:
    """The same value in JSON's types: numpy scalars and arrays unwrapped, NaN as None.

    >>> plain({"a": (1, float("nan")), 2: "b"})
    {'a': [1, None], '2': 'b'}
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_predictions(
    path: str | Path,
    manifest: str | Path,
    answers: Mapping[str, Answer],
    benchmark: str = "auto",
) -> Path:
    """Write the official prediction file: the manifest's rows, each with its answer.

    MMAU's and MMAR's rows keep their other keys, but options are a real list: MMAR's script would
    take a list that is written as a text letter by letter. Files of other formats are written in
    MMAU's, which has most of what they hold.

    Args:
        manifest: the question file; its rows and their order are kept.
        answers: question id -> answer; a row without one gets "" (wrong, never skipped).
        benchmark: a key of `PREDICTION_KEYS`, or "auto" to tell by the manifest's keys.
    """
    rows = [row for _, row in read_rows(Path(manifest))]
    if benchmark == "auto":
        benchmark, rows = _official_rows(Path(manifest), rows)
    key = PREDICTION_KEYS[benchmark]
    written = []
    for row in rows:
        answer = answers.get(_id(row), Answer(None, "", read="unparsed"))
        said = _letter(answer.text, row) if benchmark == "mmsu" else answer.text
        row = {**row, "choices": as_list(row["choices"])} if "choices" in row else row
        written.append({**row, key: said, f"{key}_raw": answer.raw, "read": answer.read})
    if str(path).endswith(".jsonl"):
        return write_lines(path, written)
    return write_json(path, written)


def _official_rows(manifest: Path, rows: list[Any]) -> tuple[str, list[Any]]:
    """The benchmark that a file is of, and its rows; MMAU's rows for a file of none."""
    form = find_form("auto", manifest, rows[0])
    if form.name in PREDICTION_KEYS:
        return form.name, rows
    asked = read_file(manifest, need_audio=False).questions
    return "mmau", [mmau_row(q, relative_to(manifest.parent, q.audio)) for q in asked]


def _id(row: Mapping[str, Any]) -> str:
    """MMAU's first file has no ids: its questions are named by their sound."""
    return str(row["id"]) if "id" in row else Path(str(row["audio_id"])).stem


def _letter(text: str, row: Mapping[str, Any]) -> str:
    """MMSU's script reads the first letter of what was said, so that is what is said."""
    keys = ("choice_a", "choice_b", "choice_c", "choice_d")
    return next((key[-1].upper() for key in keys if text and row.get(key) == text), "")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
