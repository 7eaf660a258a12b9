"""`routerlab data gather`: question files of several sets as a folder's train and val.

Files are read, and refused whole, as everywhere; nothing is copied but questions: sounds stay where
they are, and are named by their path from the folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from routerlab.audio import header_problem
from routerlab.data.formats.records import own_row, relative_to
from routerlab.data.gathering import merged, split_by_sound, without
from routerlab.data.readers import QuestionFile, read_file
from routerlab.data.writers import write_lines
from routerlab.errors import Problems, UserError
from routerlab.types import Question


def add_verb(verbs: Any) -> None:
    """Add the verb to the subparsers of `routerlab data`."""
    gather = verbs.add_parser("gather", help="make train and val of several question files")
    gather.add_argument("folder", metavar="DIR", help="gets train.jsonl and val.jsonl")
    gather.add_argument("files", metavar="FILE", nargs="+", help="question files, in any format")
    gather.add_argument("--val", type=int, default=300, metavar="N", help="default 300")
    gather.add_argument("--seed", type=int, default=0, metavar="S", help="of who is in val")
    gather.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="FILE",
        help="a test file: what it asks, or asks about, is left out",
    )
    gather.add_argument(
        "--skip-missing",
        action="store_true",
        help="leave questions out whose sound is not there or is none",
    )
    gather.set_defaults(do=_gather)


def _gather(args: argparse.Namespace) -> int:
    if args.val < 0:
        raise UserError(f"data gather: --val is {args.val}. Allowed: 0 or more questions.")
    files = _read([*args.files, *args.without], need_audio=not args.skip_missing)
    sets, tests = files[: len(args.files)], files[len(args.files) :]
    asked = merged([(file.form.name, file.questions) for file in sets])
    questions = _heard(asked) if args.skip_missing else asked
    judged = {str(file.path): file.questions for file in tests}
    kept, dropped = without(questions, judged)
    train, val = split_by_sound(kept, args.val, args.seed)
    if not train:
        raise UserError(
            f"data gather: of {len(questions)} questions with a sound {dropped} are in a test and "
            f"{len(val)} in val, which leaves none to train on. Give more files or a smaller --val."
        )
    folder = Path(args.folder)
    for name, part in (("train", train), ("val", val)):
        if part:
            write_lines(folder / f"{name}.jsonl", [_row(q, folder) for q in part])
            print(f"{folder / name}.jsonl: {len(part)} questions")
    if missing := len(asked) - len(questions):
        print(f"left out: {missing} questions whose sound is not there or is none")
    if tests:
        print(f"left out: {dropped} questions that a test asks, or asks about")
    return 0


def _heard(asked: list[Question]) -> list[Question]:
    """Those whose sound is there and is one."""
    good = {audio for audio in {q.audio for q in asked} if not header_problem(audio)}
    return [q for q in asked if q.audio in good]


def _row(question: Question, folder: Path) -> dict[str, Any]:
    return own_row(question, relative_to(folder, question.audio))


def _read(paths: list[str], *, need_audio: bool) -> list[QuestionFile]:
    """Every file, or the problems of all of them."""
    files: list[QuestionFile] = []
    problems = Problems()
    for path in paths:
        with problems.gathered():
            files.append(read_file(path, need_audio=need_audio, open_audio=need_audio))
    problems.refuse()
    return files
