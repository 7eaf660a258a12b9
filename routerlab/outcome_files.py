"""Outcome tables from files that a user already has: one prediction file an action, or our export.

    direct=a.json  pitch=b.jsonl  pitch=b2.jsonl  all_outputs=c.json

Official formats and plain lines of id and prediction are read; no model, no tool, no torch. A name
given again is a replicate with permuted options. Everything that does not fit together is listed
before anything is computed. Scores and figures are made elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from routerlab.answers import letter_match, official_match, read_answer, strict_match
from routerlab.data.formats.forms import FORMS
from routerlab.data.readers import read_file, read_rows
from routerlab.data.writers import PREDICTION_KEYS
from routerlab.errors import ProblemList, Problems, UserError, unknown
from routerlab.scoring.predictions import LIKELY_KEYS
from routerlab.types import ALL_OUTPUTS, DIRECT, Answer, Outcome, OutcomeTable, Question

NO_PREDICTION = "no prediction in the file"

Right: TypeAlias = Callable[[str, str, Sequence[str]], bool]

RULES: Mapping[str, Right] = {
    "strict": lambda said, gold, choices: strict_match(read_answer(said, choices).text, gold),
    "official": official_match,
    "letter": letter_match,
}
"""(what was written, gold option, options) -> right; `--scorer` names one."""


@dataclass(frozen=True)
class Outcomes:
    """Tables read from files.

    Attributes:
        replicates: the same questions again; whole, or of direct alone.
        together: whether the answer with every output is right [N], None if not given.
        missing: action -> questions without a prediction.
        unparsed: action -> predictions that name no option, or several.
    """

    table: OutcomeTable
    replicates: tuple[OutcomeTable, ...] = ()
    together: NDArray[np.bool_] | None = None
    missing: Mapping[str, int] = field(default_factory=dict)
    unparsed: Mapping[str, int] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """What a reader of the figures should know."""
        counted = {
            "without a prediction (a tool counts as failed, direct as wrong)": self.missing,
            "that name no option, or several (wrong)": self.unparsed,
        }
        return [
            f"rows {text}: {', '.join(f'{name} {n}' for name, n in found.items())}."
            for text, found in counted.items()
            if found
        ]


@dataclass(frozen=True)
class _File:
    """One file's predictions: question id -> (text, log-probabilities)."""

    action: str
    path: Path
    said: Mapping[str, tuple[str | None, tuple[float, ...]]]
    questions: tuple[Question, ...] = ()

    @cached_property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """Question id -> options in this file's order; {} if it holds no questions."""
        return {q.id: q.choices for q in self.questions}


def read_outcomes(
    given: Sequence[str],
    *,
    questions: str | Path | None = None,
    key: str = "",
    scorer: str = "strict",
) -> Outcomes:
    """The tables that `NAME=FILE` words make, or one exported table's file.

    Args:
        questions: the question file, if prediction files hold ids and predictions alone.
        key: where the predictions stand, if not where usual.
        scorer: what counts as right: strict, official or letter.

    Raises:
        ProblemList: everything that is wrong with the files or between them.
        UserError: no `direct`, or a word that is no NAME=FILE.
    """
    if scorer not in RULES:
        raise UserError(unknown("--scorer: no scorer", scorer, RULES))
    right = RULES[scorer]
    words = [_split(word) for word in given]
    _check_names([name for name, _ in words])
    asked = () if questions is None else read_file(questions, need_audio=False).questions
    files, problems = _read_all(words, tuple(asked), key)
    if problems:
        raise ProblemList(problems)
    base = tuple(asked) or next(f.questions for f in files if f.action == DIRECT)
    problems = [line for file in files for line in _misfits(file, base)]
    problems += _uneven(files)
    if problems:
        raise ProblemList(problems)
    return _assembled(files, base, right)


# -- reading ----------------------------------------------------------------------------------


def _split(word: str) -> tuple[str, Path]:
    name, equals, path = word.partition("=")
    if not equals or not name or not path:
        raise UserError(f"--from: {word!r} is no NAME=FILE. Write direct=a.json, pitch=b.json, ….")
    return name, Path(path)


def _check_names(names: Sequence[str]) -> None:
    if DIRECT not in names:
        raise UserError(
            f"--from: no {DIRECT}=FILE among {', '.join(names)}. What a tool gains is counted "
            "against the answers without one."
        )
    if set(names) <= {DIRECT, ALL_OUTPUTS}:
        raise UserError("--from: no tool's file. Give at least one: --from pitch=b.json.")


def _read_all(
    words: Sequence[tuple[str, Path]], asked: tuple[Question, ...], key: str
) -> tuple[list[_File], list[str]]:
    files: list[_File] = []
    problems = Problems()
    for name, path in words:
        with problems.gathered():
            files.append(_read(name, path, asked, key))
    return files, problems


def _read(name: str, path: Path, asked: tuple[Question, ...], key: str) -> _File:
    own: tuple[Question, ...] = ()
    rows: list[Any] = [row for _, row in read_rows(path)]
    if asked or not _holds_questions(rows):
        if name == DIRECT and not asked:
            raise UserError(
                f"{path}: holds no questions, only predictions. Add --questions FILE, the "
                "benchmark's own question file."
            )
        ids = [str(_of(row, "id", "")) for row in rows]
        twice = [i for i, n in Counter(ids).items() if n > 1]
        if twice:
            raise UserError(f"{path}: the id {twice[0]!r} stands twice. Give each question once.")
    else:
        file = read_file(path, need_audio=False)
        rows = [row for row in file.rows if not file.form.left_out(row)]
        own, ids = file.questions, [q.id for q in file.questions]
    found = _key(path, rows, key)
    said = {i: _said(row, found) for i, row in zip(ids, rows, strict=True)}
    return _File(name, path, said, own)


def _holds_questions(rows: Sequence[Any]) -> bool:
    first = rows[0] if rows and isinstance(rows[0], dict) else {}
    return any(form.question in first and form.choices[0] in first for form in FORMS.values())


def _key(path: Path, rows: Sequence[Any], given: str) -> str:
    usual = (given,) if given else tuple(dict.fromkeys([*PREDICTION_KEYS.values(), *LIKELY_KEYS]))
    for key in usual:
        if any(isinstance(row, dict) and key in row for row in rows):
            return key
    raise UserError(
        f"{path}: no row has a prediction under {', '.join(map(repr, usual))}. Name the key: "
        "--key KEY."
    )


def _said(row: Any, key: str) -> tuple[str | None, tuple[float, ...]]:
    value = _of(row, key, None)
    scores = _of(row, "log_probs", None) or ()
    text = None if not isinstance(row, dict) or key not in row else str(value or "")
    return text, tuple(float(s) for s in scores)


def _of(row: Any, key: str, otherwise: Any) -> Any:
    return row.get(key, otherwise) if isinstance(row, dict) else otherwise


# -- fitting together -------------------------------------------------------------------------


def _misfits(file: _File, base: tuple[Question, ...]) -> list[str]:
    known, where = {q.id: q for q in base}, f"{file.action}={file.path}"
    problems = []
    strangers = file.said.keys() - known.keys()
    if strangers:
        problems.append(
            f"{where}: {len(strangers)} ids are not among the {len(base)} questions of direct, "
            f"{min(strangers)!r} for one."
        )
    for question in file.questions:
        own = known.get(question.id)
        if own is not None and not _same(own, question):
            problems.append(
                f"{where}: question {question.id!r} has another text, answer or options than in "
                "direct's file."
            )
    if len(problems) > 20:
        problems = [*problems[:20], f"{where}: and {len(problems) - 20} more like these."]
    return problems


def _same(one: Question, other: Question) -> bool:
    """The same question; a replicate may show its options in another order."""
    return (one.question, one.answer, sorted(one.choices)) == (
        other.question,
        other.answer,
        sorted(other.choices),
    )


def _uneven(files: Sequence[_File]) -> list[str]:
    counted = Counter(f.action for f in files)
    tools = {counted[a] for a in counted if a not in (DIRECT, ALL_OUTPUTS)}
    if len(tools) == 1 and counted[DIRECT] >= min(tools) and counted[ALL_OUTPUTS] < 2:
        return []
    return [
        f"--from: {', '.join(f'{n} files of {a}' for a, n in counted.items())}. A name given again "
        "is a replicate: give every tool as often as direct, or only direct more often."
    ]


def _assembled(files: Sequence[_File], base: tuple[Question, ...], right: Right) -> Outcomes:
    turns: Counter[str] = Counter()
    cells: dict[int, dict[tuple[str, str], Outcome]] = {}
    for file in files:
        replicate = turns[file.action]
        turns[file.action] += 1
        made = cells.setdefault(replicate, {})
        made.update({(q.id, file.action): _outcome(file, q, right, replicate) for q in base})
    actions = tuple(dict.fromkeys([DIRECT, *(f.action for f in files if f.action != ALL_OUTPUTS)]))
    table = OutcomeTable.of(base, actions, cells[0])
    again = []
    for replicate in range(1, len(cells)):
        there = tuple(a for a in actions if (base[0].id, a) in cells[replicate])
        again.append(OutcomeTable.of(base, there, cells[replicate]))
    together = None
    if turns[ALL_OUTPUTS]:
        last = [cells[0][q.id, ALL_OUTPUTS] for q in base]
        together = np.array([c.correct for c in last], dtype=bool)
    first = [c for c in cells[0].values()]
    return Outcomes(
        table,
        tuple(again),
        together,
        Counter(c.action for c in first if c.error == NO_PREDICTION),
        Counter(c.action for c in first if c.answer and c.answer.choice is None and not c.error),
    )


def _outcome(file: _File, question: Question, right: Right, replicate: int) -> Outcome:
    text, scores = file.said.get(question.id, (None, ()))
    if text is None and file.action != DIRECT:
        return Outcome(question.id, file.action, "tool_error", False, error=NO_PREDICTION)
    # A replicate shows its options in its own order, by which a letter is to be read.
    shown = file.choices.get(question.id, question.choices)
    answer = read_answer(text or "", shown)
    place = None if answer.choice is None else question.choices.index(answer.text)
    known = scores if len(scores) == len(shown) and shown == question.choices else ()
    return Outcome(
        question.id,
        file.action,
        "ok",
        right(text or "", question.answer, shown),
        Answer(place, answer.text, answer.raw, known, answer.read),
        replicate=replicate,
        error="" if text is not None else NO_PREDICTION,
    )
