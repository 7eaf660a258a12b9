"""One row of a question file as a `Question`, or a note of everything that is wrong with it.

Reads values only; what may be wrong with a file of sound is asked of a function.
"""

from __future__ import annotations

import ast
import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from routerlab.answers import strict_match
from routerlab.data.formats.forms import Form
from routerlab.data.formats.rows import Row
from routerlab.types import Question


class RowReader:
    """Turns rows into questions and gathers what is wrong with them.

    Args:
        audio_root: what relative sound paths are relative to.
        audio_problem: what is wrong with a sound file, "" if nothing; asked once a file.

    Attributes:
        problems: one line each, with file and line.
        left_out: reason -> number of rows that are no multiple-choice question about one clip.
    """

    def __init__(
        self,
        file: Path,
        form: Form,
        rows: Sequence[Row],
        audio_root: Path,
        audio_problem: Callable[[Path], str],
    ) -> None:
        self.file = file
        self.form = form
        self.rows = rows
        self.audio_root = audio_root
        self.audio_problem = audio_problem
        self.problems: list[str] = []
        self.left_out: Counter[str] = Counter()
        self._lines: dict[str, int] = {}
        self._sounds: dict[Path, str] = {}
        self._id_from_audio = form.id_from_audio and not any(
            isinstance(row, dict) and "id" in row for _, row in rows
        )

    def questions(self) -> list[Question]:
        """The questions of all rows that have nothing wrong."""
        made = (self._question(line, row) for line, row in self.rows)
        return [question for question in made if question is not None]

    def _question(self, line: int, row: Any) -> Question | None:
        before = len(self.problems)
        if not isinstance(row, dict):
            self._note(line, f"a row is an object, not {type(row).__name__}")
            return None
        if reason := self.form.left_out(row):
            self.left_out[reason] += 1
            return None
        audio = self._audio(line, row)
        ident = self._ident(line, row)
        text = self._text(line, row, self.form.question)
        choices = self._choices(line, row)
        answer = self._answer(line, row, choices)
        if len(self.problems) > before:
            return None
        return Question(
            id=ident,
            audio=audio,
            question=text,
            choices=choices,
            answer=answer,
            task=_group(row.get(self.form.task)),
            category=_group(row.get(self.form.category)),
            sub_category=_group(_first(row, self.form.sub_category)),
            difficulty=_group(row.get("difficulty")),
            split=_group(row.get("split")),
            wording=_group(row.get("wording")),
        )

    def _note(self, line: int, problem: str) -> None:
        self.problems.append(f"{self.file}:{line}: {problem}")

    def _missing(self, line: int, row: Mapping[str, Any], key: str) -> None:
        folded = {str(name).lower(): name for name in row}
        near = difflib.get_close_matches(key.lower(), folded, n=1)
        hint = f"; the row has {folded[near[0]]!r}" if near else ""
        self._note(line, f"the key {key!r} of {self.form.title} is missing{hint}")

    def _text(self, line: int, row: Mapping[str, Any], key: str) -> str:
        if key not in row:
            self._missing(line, row, key)
            return ""
        value = row[key]
        if not isinstance(value, str) or not value.strip():
            self._note(line, f"{key!r} must be a text that is not empty, not {_short(value)}")
            return ""
        return value

    def _ident(self, line: int, row: Mapping[str, Any]) -> str:
        if self._id_from_audio:
            value: Any = Path(str(_first(row, self.form.audio) or "")).stem
            if not value:
                return ""  # the missing sound has been noted
        elif "id" not in row:
            self._missing(line, row, "id")
            return ""
        else:
            value = row["id"]
        if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
            self._note(line, f"'id' must be a text or a number, not {_short(value)}")
            return ""
        ident = str(value)
        if ident in self._lines:
            self._note(line, f"the id {ident!r} stands on line {self._lines[ident]} already")
        self._lines.setdefault(ident, line)
        return ident

    def _audio(self, line: int, row: Mapping[str, Any]) -> str:
        key = next((key for key in self.form.audio if key in row), self.form.audio[0])
        value = row.get(key)
        if isinstance(value, list) and len(value) == 1:
            row = {**row, key: value[0]}
        name = self._text(line, row, key)
        if not name:
            return ""
        path = self.audio_root / name
        if path not in self._sounds:
            self._sounds[path] = self.audio_problem(path)
        if self._sounds[path]:
            self._note(line, self._sounds[path])
        return str(path)

    def _choices(self, line: int, row: Mapping[str, Any]) -> tuple[str, ...]:
        keys = self.form.choices
        if not any(key in row for key in keys):
            self._missing(line, row, keys[0])
            return ()
        if len(keys) == 1:
            name, value = keys[0], row[keys[0]]
        else:  # an option a key: what is not there is no option
            name, value = "choices", [row[k] for k in keys if row.get(k) not in (None, "")]
        value = as_list(value)
        if not isinstance(value, list | tuple) or not all(isinstance(c, str) for c in value):
            self._note(line, f"{name!r} must be a list of texts, not {_short(value)}")
            return ()
        if len(value) < 2:
            self._note(line, f"at least two choices are needed, not {len(value)}")
        return tuple(value)

    def _answer(self, line: int, row: Mapping[str, Any], choices: Sequence[str]) -> str:
        key = self.form.answer
        if key not in row:
            self._missing(line, row, key)
            return ""
        value = row[key]
        if self.form.answer_is_index:
            if type(value) is int and 0 <= value < len(choices):
                return choices[value]
            if choices:
                self._note(line, f"{key!r} must be an index into the choices, not {_short(value)}")
            return ""
        if not isinstance(value, str) or (choices and value not in choices):
            # White space apart, it is the same option: one row of MMAR has "2040" for "2040 ".
            same = [c for c in choices if isinstance(value, str) and strict_match(value, c)]
            if same:
                return same[0]
            shown = _short(list(choices), 200)
            self._note(line, f"the answer {_short(value)} is not among the choices {shown}")
            return ""
        return value


def _first(row: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((row[key] for key in keys if key in row), None)


def as_list(value: Any) -> Any:
    """What a text of a Python list holds, as MMAR's JSON lines write options; else the value.

    >>> as_list("['a', 'b']"), as_list("a, b"), as_list(["a"])
    (['a', 'b'], 'a, b', ['a'])
    """
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def _group(value: Any) -> str:
    """A grouping label as text; 13 rows of MMAU hold a list of one."""
    if isinstance(value, list):
        return " / ".join(str(item) for item in value)
    return "" if value is None else str(value)


def _short(value: Any, most: int = 80) -> str:
    """A value as a message may show it.

    >>> _short("x" * 100, 8)
    "'xxxxxx…"
    """
    shown = repr(value)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
