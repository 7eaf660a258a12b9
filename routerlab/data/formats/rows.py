"""The rows of a JSON array or of JSON lines, each with its line; what is broken is listed.

Text in, plain objects out: what a row means is in `fields`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from routerlab.data.formats.forms import LEAKS
from routerlab.errors import UserError

Row: TypeAlias = tuple[int, Any]
"""The line on which a row starts, counted from 1, and the row."""

_FILLER = " \t\r\n,"


def parse_rows(path: Path) -> tuple[list[Row], list[str]]:
    """The rows that can be read and, one line each, what cannot.

    A broken row of JSON lines is passed over and the next one read; nothing behind a break in an
    array can be. Keys that give answers away (`LEAKS`) are gone from every row.

    Raises:
        UserError: no such file, or it is not text.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Give a JSON or JSON-lines file of questions.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    rows: list[Row] = []
    problems: list[str] = []
    for line, value in _values(text):
        if isinstance(value, json.JSONDecodeError):
            problems.append(f"{path}:{line}: not JSON: {value.msg}")
        else:
            rows.append((line, _without_leaks(value)))
    return rows, problems


def _without_leaks(value: Any) -> Any:
    if not isinstance(value, dict) or LEAKS.isdisjoint(value):
        return value
    return {key: item for key, item in value.items() if key not in LEAKS}


def _values(text: str) -> Iterator[Row]:
    """Walk values one by one (`json.loads` of the whole would lose the lines); errors too."""
    decoder = json.JSONDecoder()
    array = text.lstrip().startswith("[")
    at = _after(text, text.index("[") + 1 if array else 0)
    line, seen = 1 + text.count("\n", 0, at), at
    while at < len(text) and not (array and text[at] == "]"):
        line, seen = line + text.count("\n", seen, at), at
        try:
            value, end = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            yield _broken(error, text, at, line)
            if array:
                return
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
        else:
            yield line, value
        at = _after(text, end)
    if array and at >= len(text):
        cut = json.JSONDecodeError("the array is not closed: the file ends early", text, at)
        yield 1 + text.count("\n"), cut


def _broken(error: Exception, text: str, at: int, line: int) -> Row:
    if isinstance(error, json.JSONDecodeError):
        # Where a value is cut off, the decoder may point far behind the row that is broken.
        return max(line, error.lineno), error
    return line, json.JSONDecodeError("nested too deeply", text, at)


def _after(text: str, at: int) -> int:
    while at < len(text) and text[at] in _FILLER:
        at += 1
    return at
