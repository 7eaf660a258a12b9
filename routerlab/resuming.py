"""Rows of JSON lines that a stopped command goes on with: kept by id and by what they came from.

A row is written the moment it is there, into a file beside the one that it will become. A later
run keeps a row if its `made_from` still holds; a row of other settings, an error, or a line that
was torn when the process died is made again. Only strings and digests are known here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from routerlab.data.writers import plain, write_lines

Row: TypeAlias = Mapping[str, Any]

MADE_FROM = "made_from"


def digest(*facts: Any) -> str:
    """16 hex digits over facts that can be written as JSON.

    >>> digest({"a": 1}) == digest({"a": 1}) != digest({"a": 2})
    True
    """
    text = json.dumps(plain(facts), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def go_on(
    target: Path,
    wanted: Mapping[str, str],
    make: Callable[[Sequence[str]], Iterable[Row]],
    *,
    keep: Callable[[Row], bool] = lambda row: True,
) -> tuple[int, int]:
    """Write a row for every id to `target`, making only those that are not there yet.

    Args:
        wanted: id -> what its row is made from, in the order of the file.
        make: ids that are missing -> their rows, one by one, in any order; each has its `id`.
        keep: which of the rows already there are good enough.

    Returns:
        (rows kept, rows made).
    """
    under_way = target.with_name(f".{target.name}.under_way")
    rows = {
        row["id"]: row
        for row in [*_whole_lines(target), *_whole_lines(under_way)]
        if row.get(MADE_FROM) == wanted.get(row["id"]) and keep(row)
    }
    kept = len(rows)
    missing = [ident for ident in wanted if ident not in rows]
    # What was kept is put there first, so that a second interruption loses nothing either.
    write_lines(under_way, rows.values())
    with under_way.open("a", encoding="utf-8") as file:
        for row in make(missing) if missing else ():
            rows[row["id"]] = {**row, MADE_FROM: wanted[row["id"]]}
            file.write(json.dumps(plain(rows[row["id"]]), ensure_ascii=False) + "\n")
            file.flush()
    write_lines(target, (rows[ident] for ident in wanted))
    under_way.unlink()
    return kept, len(missing)


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file that may not be there, or whose last line may be torn."""
    if not path.is_file():
        return
    # Not `splitlines`: a text may hold other marks that Python takes for the end of a line.
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("id"), str):
            yield row
