"""What a run's folder holds for its page, read and looked over; nothing is computed here.

A run that was tested has results and predictions. A survey's folder has `survey.json` alone. Files
that a run need not have (metrics, cards, recipe) are left out of the page where they are missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routerlab.errors import UserError
from routerlab.report.results import MANIFEST, METRICS, PREDICTIONS, RESULTS, SCORES, SURVEY

RECIPE, STATE = "recipe.yaml", "run.json"
_CARDS = ("adapters/last", "adapters/best")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """The files of a run, as read.

    Attributes:
        results: figures of a tested run; {} for a survey's folder.
        rows: predictions, a row a question of every split.
        right: split -> policy or `tool.NAME` -> what it earned on each question, in row order.
        survey: figures of the survey; {} where there is none.
        metrics: training figures by step, in order, one line a step and kind.
        cards: action -> what its card says.
        recipe: the resolved recipe's text.
    """

    folder: Path
    results: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    right: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    survey: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[Row] = ()
    cards: Mapping[str, Row] = field(default_factory=dict)
    recipe: str = ""

    @property
    def name(self) -> str:
        """Recipe and number: "quickstart 001"."""
        where = self.folder.resolve()
        return f"{self.state.get('recipe') or where.parent.name} {where.name}".strip()


def read_run(folder: str | Path) -> RunFiles:
    """Read a run's folder.

    Raises:
        UserError: it is no run's folder, or one of its files is damaged.
    """
    home = Path(folder)
    results, survey = _json(home / RESULTS), _json(home / SURVEY)
    if not results and not survey:
        raise UserError(
            f"report: {home} has neither {RESULTS} nor {SURVEY}. Give the folder of a finished fit "
            "or survey, such as runs/quickstart/001."
        )
    rows = list(_lines(home / PREDICTIONS, whole=True)) if results else []
    scores = _json(home / SCORES).get("splits", {})
    return RunFiles(
        folder=home,
        results=results,
        rows=rows,
        right={split: _in_order(it, rows, split) for split, it in scores.items()},
        survey=survey,
        manifest=_json(home / MANIFEST),
        state=_json(home / STATE),
        metrics=one_a_step(_lines(home / METRICS)),
        cards=_cards(home),
        recipe=_text(home / RECIPE),
    )


def one_a_step(lines: Iterable[Row]) -> list[Row]:
    """Lines of metrics in order; a run gone on with starts over where a step comes again.

    >>> [row["v"] for row in one_a_step([{"step": s, "v": v} for s, v in [(1, "a"), (2, "b"),
    ...     (3, "c"), (2, "d")]])]
    ['a', 'd']
    """
    kept: list[Row] = []
    for line in lines:
        step = line.get("step", 0)
        if kept and kept[-1].get("step", 0) > step:
            kept = [it for it in kept if it.get("step", 0) < step]
        kept.append(line)
    return kept


def _in_order(scores: Row, rows: Sequence[Row], split: str) -> dict[str, list[float]]:
    """Scores in the order of the rows; none where the two files name different questions."""
    place = {ident: i for i, ident in enumerate(scores.get("ids", ()))}
    asked = [row["id"] for row in rows if row["split"] == split]
    if any(ident not in place for ident in asked):
        return {}
    return {
        name: [earned[place[ident]] for ident in asked]
        for name, earned in scores.get("right", {}).items()
    }


def _cards(home: Path) -> dict[str, Row]:
    for place in _CARDS:
        cards = _json(home / place / "router.json").get("cards", [])
        if cards:
            return {str(card.get("name", "")): card for card in cards}
    return {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"report: {path} cannot be read: {error}") from None


def _json(path: Path) -> dict[str, Any]:
    """An object, {} where there is no file."""
    text = _text(path)
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"report: {path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"report: {path} holds no object. Was it written by routerlab?")
    return value


def _lines(path: Path, whole: bool = False) -> Iterable[Row]:
    """Rows of JSON lines; a last line torn by a kill is passed over unless the file is whole."""
    # Not `splitlines`: a text in a row may hold other signs that end a line.
    lines = _text(path).removesuffix("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if whole or number < len(lines):
                raise UserError(f"report: {path}:{number} is not JSON: {error}") from None
            return
        if not isinstance(row, dict) or (whole and not {"id", "split", "action"} <= row.keys()):
            raise UserError(f"report: {path}:{number} is no row of a run. Run routerlab test anew.")
        yield row
