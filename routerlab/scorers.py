"""The rules by which an answer counts as right, by name, and tables judged again by another rule.

`strict` is what rewards and our accuracy use. `official` is the benchmarks' rule, for figures that
are to be compared with published ones; as a reward it pays "C major" for "C# major".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from routerlab.answers import letter_match, official_match, strict_match
from routerlab.errors import UserError, unknown
from routerlab.types import Answer, OutcomeTable, Question

Scorer: TypeAlias = Callable[[Answer, Question], bool]


def _strict(answer: Answer, question: Question) -> bool:
    return strict_match(answer.text, question.answer)


def _official(answer: Answer, question: Question) -> bool:
    return official_match(answer.text, question.answer, question.choices)


def _letter(answer: Answer, question: Question) -> bool:
    """What a model wrote; where it wrote nothing (`likelihood`), the option it chose."""
    if not answer.raw:
        return _strict(answer, question)
    return letter_match(answer.raw, question.answer, question.choices)


SCORERS: Mapping[str, Scorer] = {"strict": _strict, "official": _official, "letter": _letter}
"""What a recipe may name as `data.scorer`."""


def find_scorer(name: str) -> Scorer:
    """The scorer of that name.

    Raises:
        UserError: there is none.
    """
    if name not in SCORERS:
        raise UserError(unknown("scorer: no scorer", name, SCORERS))
    return SCORERS[name]


def rescored(table: OutcomeTable, name: str) -> OutcomeTable:
    """The same outcomes, with what is right decided by another scorer.

    An answer that could not be read stays wrong, and an invalid cell invalid.
    """
    scorer = find_scorer(name)
    asked = {question.id: question for question in table.questions}
    cells = {
        key: replace(
            cell,
            correct=cell.state == "ok"
            and cell.answer is not None
            and cell.answer.choice is not None
            and scorer(cell.answer, asked[cell.question_id]),
        )
        for key, cell in table.cells.items()
        if cell.question_id in asked
    }
    return OutcomeTable.of(table.questions, table.actions, cells)
