"""Question files in, `Question` records out; every problem of every row at once, with its line.

Reads text; of sounds at most the headers. Formats are told apart and read in `formats`: MMAU, MMAR,
MMAU-Pro's multiple choice, MMSU, AVQA as R1-AQA writes it, and routerlab's own. Fields that give
answers away have no place in a `Question`, so they cannot reach a prompt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routerlab.audio import header_problem
from routerlab.data.formats.fields import RowReader
from routerlab.data.formats.forms import Form, find_form
from routerlab.data.formats.rows import Row, parse_rows
from routerlab.data.releases import file_digest, questions_digest, release_of
from routerlab.errors import ProblemList, Problems, UserError
from routerlab.types import Question


@dataclass(frozen=True)
class QuestionFile:
    """A question file that has been read and found right.

    Attributes:
        rows: the file's own rows, without keys that give answers away.
        left_out: reason -> rows that are no multiple-choice question about one clip.
    """

    path: Path
    form: Form
    questions: tuple[Question, ...]
    rows: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of the file's bytes."""
        return file_digest(self.path)

    @property
    def digest(self) -> str:
        """Of the questions alone, whatever file they stand in."""
        return questions_digest(self.questions)

    @property
    def release(self) -> str:
        """The published file that this is, "" if it is none that is known."""
        return release_of(self.questions)


def read_file(
    path: str | Path,
    form: str = "auto",
    *,
    audio_root: str | Path | None = None,
    need_audio: bool = True,
    open_audio: bool = False,
) -> QuestionFile:
    """Read one question file whole.

    Args:
        form: a key of `FORMS`, or "auto" to tell by the keys of the first row.
        audio_root: what relative sound paths are relative to; the file's own folder if None.
        need_audio: whether a missing sound file is a problem.
        open_audio: whether one that is no sound, by its header, is a problem too.

    Raises:
        ProblemList: with every problem of the file, each with its line.
    """
    file = Path(path)
    rows, broken = parse_rows(file)
    if not rows:
        none = f"{file}: holds no questions. Give a JSON array or JSON lines."
        raise ProblemList(broken or [none])
    try:
        found = find_form(form, file, rows[0][1])
    except UserError as error:
        raise ProblemList([*broken, str(error)]) from None
    problem = header_problem if open_audio else _missing if need_audio else _nothing
    reader = RowReader(file, found, rows, Path(audio_root or file.parent), problem)
    questions = reader.questions()
    if broken or reader.problems:
        raise ProblemList(sorted([*broken, *reader.problems], key=lambda it: _line(it, file)))
    if not questions:
        raise UserError(f"{file}: no row is a multiple-choice question: {dict(reader.left_out)}.")
    return QuestionFile(
        file, found, tuple(questions), tuple(row for _, row in rows), dict(reader.left_out)
    )


def _missing(sound: Path) -> str:
    return "" if sound.is_file() else f"no such sound file: {sound}"


def _nothing(sound: Path) -> str:
    return ""


def _line(problem: str, file: Path) -> int:
    """The line that a problem of a file names."""
    return int(problem.removeprefix(f"{file}:").partition(":")[0])


def read_questions(
    path: str | Path,
    form: str = "auto",
    *,
    audio_root: str | Path | None = None,
    need_audio: bool = True,
) -> list[Question]:
    """The questions of one file; arguments and errors are those of `read_file`."""
    return list(read_file(path, form, audio_root=audio_root, need_audio=need_audio).questions)


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
    problems = Problems()
    for name, path in files.items():
        with problems.gathered():
            splits[name] = read_questions(path, form, audio_root=audio_root)
    problems.refuse()
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


def read_rows(path: Path) -> list[Row]:
    """The objects of a JSON array or of JSON lines, each with the line on which it starts.

    Raises:
        UserError: when there is no such file, or it is not JSON.
    """
    rows, problems = parse_rows(path)
    if problems:
        raise ProblemList(problems)
    return rows
