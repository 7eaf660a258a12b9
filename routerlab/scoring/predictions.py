"""A benchmark's prediction file as rows to be scored: whose key, which words, what is missing.

The benchmarks' own scripts pass over a row without the key, which makes the accuracy of the others
look like that of all. Here such a row is there, and wrong, and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routerlab.data.readers import QuestionFile, read_file, read_rows
from routerlab.data.writers import PREDICTION_KEYS
from routerlab.errors import UserError
from routerlab.types import Question

LIKELY_KEYS = ("model_output", "answer_prediction", "model_prediction", "response", "prediction")
"""Keys under which people keep predictions; for the hint when the right one is not there."""


@dataclass(frozen=True)
class Prediction:
    """One row to be scored.

    Attributes:
        text: what the benchmark's script reads; None where the row lacks the key.
        raw: what the model wrote, if that is kept beside it ("" if it wrote nothing); else `text`.
    """

    question: Question
    text: str | None
    raw: str


@dataclass(frozen=True)
class PredictionFile:
    """A prediction file, read whole.

    Attributes:
        key: where the predictions stood.
        release: the published questions that these are, "" if they are none that is known.
    """

    path: Path
    key: str
    predictions: tuple[Prediction, ...]
    release: str

    @property
    def missing(self) -> int:
        """Rows without a prediction, which the benchmark's own script would not count."""
        return sum(it.text is None for it in self.predictions)


def read_predictions(
    path: str | Path, benchmark: str, *, key: str = "", questions: str | Path | None = None
) -> PredictionFile:
    """Read a prediction file.

    Args:
        benchmark: a key of `PREDICTION_KEYS`; it names the key of the prediction.
        key: where the predictions stand, if not there.
        questions: the benchmark's own question file, if the prediction file holds ids and
            predictions alone; then every question of it is scored.

    Raises:
        ProblemList: everything that is wrong with a row.
        UserError: no row has the key.
    """
    file, found = Path(path), key or PREDICTION_KEYS[benchmark]
    asked = read_file(file if questions is None else questions, need_audio=False)
    rows = _by_id(file, asked) if questions is not None else _own_rows(asked)
    if not any(found in row for row in rows.values()):
        raise UserError(_no_key(file, found, benchmark, list(rows.values())))
    predictions = tuple(_prediction(q, rows.get(q.id, {}), found) for q in asked.questions)
    return PredictionFile(file, found, predictions, asked.release)


def _own_rows(asked: QuestionFile) -> dict[str, Mapping[str, Any]]:
    kept = [row for row in asked.rows if not asked.form.left_out(row)]
    return {q.id: row for q, row in zip(asked.questions, kept, strict=True)}


def _by_id(file: Path, asked: QuestionFile) -> dict[str, Mapping[str, Any]]:
    rows = [row for _, row in read_rows(file) if isinstance(row, dict)]
    by_id = {str(row.get("id")): row for row in rows}
    if len(by_id) < len(rows):
        raise UserError(f"{file}: {len(rows) - len(by_id)} ids stand twice. Give each id once.")
    strangers = by_id.keys() - {q.id for q in asked.questions}
    if strangers:
        raise UserError(
            f"{file}: {len(strangers)} ids are not in {asked.path}, {min(strangers)!r} for one. "
            "Give the question file that was answered."
        )
    return dict(by_id)


def _prediction(question: Question, row: Mapping[str, Any], key: str) -> Prediction:
    value = row.get(key)
    text = None if key not in row else "" if value is None else str(value)
    # Under `likelihood` nothing was written: an option "A" that was chosen is then no letter.
    raw = row.get(f"{key}_raw")
    return Prediction(question, text, raw if isinstance(raw, str) else text or "")


def _no_key(file: Path, key: str, benchmark: str, rows: Sequence[Mapping[str, Any]]) -> str:
    there = [name for name in LIKELY_KEYS if any(name in row for row in rows)]
    hint = f" They have {there[0]!r}: rename it, or add --key {there[0]}." if there else ""
    return f"{file}: no row has {key!r}, the key that {benchmark.upper()}'s script reads.{hint}"
