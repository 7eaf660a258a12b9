"""Rows by id that survive a stop: what is whole and made from the same is never made again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from routerlab.resuming import go_on

WANTED = {"a": "1", "b": "1", "c": "1"}


class Work:
    """Makes rows, remembers which, and can die on the way."""

    def __init__(self, dies_at: str = "") -> None:
        self.dies_at = dies_at
        self.made: list[str] = []

    def __call__(self, idents: Sequence[str]) -> Iterator[dict[str, Any]]:
        for ident in reversed(idents):  # any order is allowed
            if ident == self.dies_at:
                raise KeyboardInterrupt
            self.made.append(ident)
            yield {"id": ident, "text": f"{ident}\u2028\n{ident}", "error": ""}


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def test_a_stopped_run_goes_on_by_id(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "rows.jsonl"
    first, second, third = Work(dies_at="a"), Work(), Work()
    with pytest.raises(KeyboardInterrupt):
        go_on(target, WANTED, first)
    assert not target.exists()
    assert go_on(target, WANTED, second) == (2, 1)
    assert (first.made, second.made) == (["c", "b"], ["a"])
    assert [row["id"] for row in read(target)] == ["a", "b", "c"]
    assert [path.name for path in target.parent.iterdir()] == ["rows.jsonl"]
    assert go_on(target, WANTED, third) == (3, 0)
    assert not third.made


def test_a_run_that_is_stopped_again_and_again_loses_nothing(tmp_path: Path) -> None:
    target = tmp_path / "rows.jsonl"
    for dies_at in "cba":
        with pytest.raises(KeyboardInterrupt):
            go_on(target, WANTED, Work(dies_at))
    last = Work()
    assert go_on(target, WANTED, last) == (2, 1)
    assert last.made == ["a"]


def test_rows_of_other_settings_errors_and_torn_lines_are_made_again(tmp_path: Path) -> None:
    target = tmp_path / "rows.jsonl"
    go_on(target, WANTED, Work())
    changed = Work()
    assert go_on(target, WANTED | {"b": "2"}, changed) == (2, 1)
    assert changed.made == ["b"]
    rows = read(target)
    rows[0]["error"] = "HTTP 429"
    lines = [json.dumps(row) for row in rows]
    target.write_text("\n".join([*lines[:2], lines[2][:-9]]))
    mended = Work()
    keep = {"keep": lambda row: not row["error"]}
    assert go_on(target, WANTED | {"b": "2"}, mended, **keep) == (1, 2)
    assert sorted(mended.made) == ["a", "c"]


def test_rows_that_are_no_longer_wanted_go(tmp_path: Path) -> None:
    target = tmp_path / "rows.jsonl"
    go_on(target, WANTED, Work())
    assert go_on(target, {"c": "1"}, Work()) == (1, 0)
    assert [row["id"] for row in read(target)] == ["c"]
