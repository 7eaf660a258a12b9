"""Outcome tables as tidy files: a row a cell, in JSON lines or Parquet, and back again.

What a data frame needs to go on with: question, action, replicate, answer, whether it is right, and
what the tool said. Written whole or not at all. Parquet needs the extra `parquet`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routerlab.data.readers import read_rows
from routerlab.data.writers import plain, write_lines
from routerlab.errors import UserError
from routerlab.types import (
    ALL_OUTPUTS,
    DIRECT,
    Answer,
    Observation,
    Outcome,
    OutcomeTable,
    Question,
)

SUFFIXES = (".jsonl", ".parquet")
_OF_QUESTION = ("question", "choices", "task", "category", "sub_category", "difficulty", "audio")


def write_table(
    path: str | Path, table: OutcomeTable, replicates: Sequence[OutcomeTable] = ()
) -> Path:
    """Write every cell of a table and of its replicates; the suffix says in which format.

    Raises:
        UserError: another suffix, or Parquet without pyarrow.
    """
    target = Path(path)
    check_suffix(target)
    rows = [row for it in (table, *replicates) for row in _rows(it)]
    if target.suffix == ".jsonl":
        return write_lines(target, rows)
    return _write_parquet(target, [plain(row) for row in rows])


def read_table(path: str | Path) -> tuple[OutcomeTable, tuple[OutcomeTable, ...], Any]:
    """What `write_table` wrote: the table, its replicates, and "all outputs" [N] or None.

    Raises:
        UserError: no such file, or one that is no exported table.
    """
    source = Path(path)
    check_suffix(source)
    rows = [row for _, row in read_rows(source)] if source.suffix == ".jsonl" else _parquet(source)
    try:
        by_id = {name: _question(row) for name, row in {row["id"]: row for row in rows}.items()}
        cells = [(by_id[row["id"]], _outcome(row)) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{source}: is no exported outcome table ({error!r} in a row). Such a file comes from "
            "routerlab survey … --export FILE."
        ) from None
    questions = tuple(by_id.values())
    turns = sorted({outcome.replicate for _, outcome in cells})
    tables = [_table(questions, [o for _, o in cells if o.replicate == t], source) for t in turns]
    if not tables or tables[0].actions[0] != DIRECT:
        raise UserError(f"{source}: has no cells of {DIRECT!r}, against which tools are counted.")
    first = tables[0]
    asked = [first.cells.get((q.id, ALL_OUTPUTS)) for q in questions]
    together = None if None in asked else np.array([c is not None and c.correct for c in asked])
    return first, tuple(tables[1:]), together


def check_suffix(path: Path) -> None:
    """Refuse what is neither JSON lines nor Parquet, and Parquet without pyarrow.

    Raises:
        UserError: in one line.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: an outcome table is a .jsonl or a .parquet file.")
    if path.suffix == ".parquet":
        _arrow()


def _rows(table: OutcomeTable) -> Iterator[dict[str, Any]]:
    for question in table.questions:
        asked = {name: getattr(question, name) for name in _OF_QUESTION}
        for action in (*table.actions, ALL_OUTPUTS):
            cell = table.cells.get((question.id, action))
            if cell is not None:
                yield {"id": question.id, **_cell(cell), "gold": question.answer, **asked}


def _cell(cell: Outcome) -> dict[str, Any]:
    answer, seen = cell.answer or Answer(None, "", read=""), cell.observation
    return {
        "action": cell.action,
        "replicate": cell.replicate,
        "state": cell.state,
        "correct": cell.correct,
        "answer": answer.text,
        "choice": answer.choice,
        "raw": answer.raw,
        "read": answer.read,
        "log_probs": list(answer.log_probs),
        "observation": "" if seen is None else seen.text,
        "values": "" if seen is None else json.dumps(plain(dict(seen.values))),
        "tool_version": "" if seen is None else seen.version,
        "error": cell.error,
        "seconds": cell.seconds,
        "cut_seconds": cell.cut_seconds,
    }


def _question(row: Mapping[str, Any]) -> Question:
    known = {name: row[name] for name in _OF_QUESTION}
    choices = tuple(row["choices"])
    return Question(id=row["id"], answer=row["gold"], **{**known, "choices": choices})


def _outcome(row: Mapping[str, Any]) -> Outcome:
    answer = None
    if row["read"]:
        choice = None if row["choice"] is None else int(row["choice"])
        scores = tuple(row["log_probs"])
        answer = Answer(choice, row["answer"], row["raw"], scores, row["read"])
    seen = None
    if row["tool_version"]:
        values = json.loads(row["values"])
        seen = Observation(row["action"], values, row["observation"], row["tool_version"])
    return Outcome(
        question_id=row["id"],
        action=row["action"],
        state=row["state"],
        correct=bool(row["correct"]),
        answer=answer,
        observation=seen,
        replicate=int(row["replicate"]),
        seconds=float(row["seconds"]),
        error=row["error"],
        cut_seconds=float(row["cut_seconds"]),
    )


def _table(
    questions: tuple[Question, ...], outcomes: Sequence[Outcome], source: Path
) -> OutcomeTable:
    cells = {(o.question_id, o.action): o for o in outcomes}
    actions = tuple(dict.fromkeys(o.action for o in outcomes if o.action != ALL_OUTPUTS))
    lost = [(q.id, a) for q in questions for a in actions if (q.id, a) not in cells]
    if lost:
        raise UserError(
            f"{source}: {len(lost)} cells are missing, {lost[0][1]!r} of question {lost[0][0]!r} "
            "for one. Export the table again."
        )
    return OutcomeTable.of(questions, actions, cells)


def _arrow() -> Any:
    """pyarrow's Parquet module; an extra, since nothing else needs it."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            'Parquet needs pyarrow: pip install "routerlab[parquet]", or name a .jsonl file.'
        ) from None
    return parquet


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = _arrow().read_table(path).to_pylist()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read as Parquet: {said}") from None
    return rows


def _write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    parquet = _arrow()
    import pyarrow

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as beside:
        half = Path(beside) / path.name
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), half)
        half.replace(path)
    return path
