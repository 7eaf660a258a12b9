"""Question files in, `Question` records out: MMAU, MMAR, AVQA (as R1-AQA writes it), JSON or lines.

Reads text only; no sound is opened here. Every problem of every row is found before anything is
returned, and each names its file and line. Fields that give answers away (MMAR's `thinking`,
`cue`, `rubric`) have no place in a `Question`, so they cannot reach a prompt.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routerlab.errors import ProblemList, UserError, unknown
from routerlab.types import Question


@dataclass(frozen=True)
class Form:
    """Where a file format keeps what a `Question` holds. Answers may be an option's index."""

    audio: str
    question: str = "question"
    choices: str = "choices"
    task: str = "task"
    category: str = "category"
    answer_is_index: bool = False


FORMS: Mapping[str, Form] = {
    "mmau": Form(audio="audio_id"),
    "mmar": Form(audio="audio_path", task="modality"),
    "avqa": Form(
        audio="audio_path",
        question="question_text",
        choices="multi_choice",
        category="question_type",
        answer_is_index=True,
    ),
}


def read_questions(
    path: str | Path,
    form: str = "auto",
    *,
    audio_root: str | Path | None = None,
    need_audio: bool = True,
) -> list[Question]:
    """Read one question file.

    Args:
        form: a key of `FORMS`, or "auto" to tell by the keys of the first row.
        audio_root: what relative sound paths are relative to; the file's own folder if None.
        need_audio: whether a missing sound file is a problem.

    Raises:
        ProblemList: with every problem of the file, each with its line.
    """
    file = Path(path)
    rows = read_rows(file)
    if not rows:
        raise UserError(f"{file}: holds no questions. Give a JSON array or JSON lines.")
    reader = _Reader(file, _form(form, file, rows[0][1]), Path(audio_root or file.parent))
    questions = [reader.question(line, row, need_audio) for line, row in rows]
    if reader.problems:
        raise ProblemList(reader.problems)
    return [q for q in questions if q is not None]


def read_mmau(path: str | Path, *, audio_root: str | Path | None = None) -> list[Question]:
    """Read a file in MMAU's format (SynthAQA's too)."""
    return read_questions(path, "mmau", audio_root=audio_root)


def read_splits(
    files: Mapping[str, str | Path], form: str = "auto", *, audio_root: str | Path | None = None
) -> dict[str, list[Question]]:
    """Read several files; the problems of all of them are listed together.

    Raises:
        ProblemList: with the problems of every file.
    """
    splits: dict[str, list[Question]] = {}
    problems: list[str] = []
    for name, path in files.items():
        try:
            splits[name] = read_questions(path, form, audio_root=audio_root)
        except ProblemList as error:
            problems += error.problems
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise ProblemList(problems)
    return splits


def read_truth(path: str | Path) -> dict[str, dict[str, Any]]:
    """The latent truth beside a generated split, by question id; {} where there is none.

    Only evaluation may call this: nothing in a truth file may reach a tool, reasoner or router.
    """
    file = Path(path)
    if not file.is_file():
        return {}
    truth: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return truth


def read_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a JSON array or of JSON lines, each with the line on which it starts.

    Raises:
        UserError: when there is no such file, or it is not JSON.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Give a JSON or JSON-lines file of questions.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    try:
        return list(_objects(text))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None


def _objects(text: str) -> Iterator[tuple[int, Any]]:
    """Walk values one by one: `json.loads` of the whole would lose the lines."""
    decoder = json.JSONDecoder()
    array = text.lstrip().startswith("[")
    filler = " \t\r\n,"
    at = _after(text, text.index("[") + 1 if array else 0, filler)
    line, seen = 1, 0
    while at < len(text) and not (array and text[at] == "]"):
        line, seen = line + text.count("\n", seen, at), at
        value, end = decoder.raw_decode(text, at)
        yield line, value
        at = _after(text, end, filler)
    if array and at >= len(text):
        raise json.JSONDecodeError("the array is not closed", text, len(text))


def _after(text: str, at: int, filler: str) -> int:
    while at < len(text) and text[at] in filler:
        at += 1
    return at


def _form(name: str, file: Path, row: Any) -> Form:
    if name != "auto":
        if name not in FORMS:
            raise UserError(unknown("data: no question format", name, FORMS))
        return FORMS[name]
    keys = set(row) if isinstance(row, dict) else set()
    if "multi_choice" in keys:
        return FORMS["avqa"]
    if "audio_path" in keys:
        return FORMS["mmar"]
    if "audio_id" in keys:
        return FORMS["mmau"]
    raise UserError(
        f"{file}: unknown question format. The first row has the keys {sorted(keys)}; one of "
        "'audio_id' (MMAU), 'audio_path' (MMAR), 'multi_choice' (AVQA) is needed."
    )


class _Reader:
    """Turns rows into questions and gathers what is wrong with them."""

    def __init__(self, file: Path, form: Form, audio_root: Path) -> None:
        self.file = file
        self.form = form
        self.audio_root = audio_root
        self.problems: list[str] = []
        self._lines: dict[str, int] = {}

    def question(self, line: int, row: Any, need_audio: bool) -> Question | None:
        """The question of one row, or None after noting what is wrong with it."""
        before = len(self.problems)
        if not isinstance(row, dict):
            self._note(line, f"a row is an object, not {type(row).__name__}")
            return None
        ident = self._ident(line, row)
        audio = self._audio(line, row, need_audio)
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
            sub_category=_group(row.get("sub-category")),
            difficulty=_group(row.get("difficulty")),
            split=_group(row.get("split")),
            wording=_group(row.get("wording")),
        )

    def _note(self, line: int, problem: str) -> None:
        self.problems.append(f"{self.file}:{line}: {problem}")

    def _text(self, line: int, row: Mapping[str, Any], key: str) -> str:
        value = row.get(key)
        if not isinstance(value, str) or not value.strip():
            self._note(line, f"{key!r} must be a text that is not empty, not {value!r}")
            return ""
        return value

    def _ident(self, line: int, row: Mapping[str, Any]) -> str:
        value = row.get("id")
        if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
            self._note(line, f"'id' must be a text or a number, not {value!r}")
            return ""
        ident = str(value)
        if ident in self._lines:
            self._note(line, f"the id {ident!r} stands on line {self._lines[ident]} already")
        self._lines.setdefault(ident, line)
        return ident

    def _audio(self, line: int, row: Mapping[str, Any], need_audio: bool) -> str:
        name = self._text(line, row, self.form.audio)
        if not name:
            return ""
        path = self.audio_root / name
        if need_audio and not path.is_file():
            self._note(line, f"no such sound file: {path}")
        return str(path)

    def _choices(self, line: int, row: Mapping[str, Any]) -> tuple[str, ...]:
        value = row.get(self.form.choices)
        if isinstance(value, str):
            value = _listed(value)
        if not isinstance(value, list | tuple) or not all(isinstance(c, str) for c in value):
            self._note(line, f"{self.form.choices!r} must be a list of texts, not {value!r}")
            return ()
        if len(value) < 2:
            self._note(line, f"at least two choices are needed, not {len(value)}")
        return tuple(value)

    def _answer(self, line: int, row: Mapping[str, Any], choices: Sequence[str]) -> str:
        value = row.get("answer")
        if self.form.answer_is_index:
            if isinstance(value, int) and 0 <= value < len(choices):
                return choices[value]
            self._note(line, f"'answer' must be an index into the choices, not {value!r}")
            return ""
        if choices and value not in choices:
            self._note(line, f"the answer {value!r} is not among the choices {list(choices)}")
        return value if isinstance(value, str) else ""


def _listed(text: str) -> Any:
    """MMAR's JSON lines hold the options as the text of a Python list."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _group(value: Any) -> str:
    """A grouping label as text; 13 rows of MMAU hold a list."""
    if isinstance(value, list):
        return " / ".join(str(item) for item in value)
    return "" if value is None else str(value)
