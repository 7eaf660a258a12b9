"""`routerlab data check|info|convert`: what is wrong with question files, what they hold, copies.

Files are read by `data.readers`; a file with anything wrong is refused whole, by every verb.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from routerlab.answers import ambiguous, strict_match
from routerlab.data.formats.forms import FORMS
from routerlab.data.formats.records import ROWS, relative_to
from routerlab.data.hub import fetch, is_hub
from routerlab.data.overlap import overlap_problems
from routerlab.data.readers import QuestionFile, read_file
from routerlab.data.sources import find_splits
from routerlab.data.writers import write_json, write_lines
from routerlab.errors import ProblemList, Problems, UserError
from routerlab.types import Question


def add_verbs(verbs: Any) -> None:
    """Add the three verbs to the subparsers of `routerlab data`."""
    check = verbs.add_parser("check", help="list every problem of question files")
    check.add_argument("source", metavar="FILE|DIR")
    check.add_argument("--against", metavar="FILE", help="a test file that FILE must not overlap")
    check.set_defaults(do=_check)
    info = verbs.add_parser("info", help="say what question files hold")
    info.add_argument("source", metavar="FILE|DIR")
    info.set_defaults(do=_info)
    convert = verbs.add_parser("convert", help="write a question file in another format")
    convert.add_argument("source", metavar="IN", help="a file, or hub:OWNER/NAME@COMMIT:SPLIT")
    convert.add_argument("out", metavar="OUT")
    convert.add_argument("--to", required=True, choices=sorted(ROWS))
    convert.set_defaults(do=_convert)
    for parser in (check, info, convert):
        parser.add_argument("--form", default="auto", choices=["auto", *FORMS], help="its format")
        parser.add_argument("--audio-root", metavar="DIR", help="where relative sounds are")
        parser.add_argument("--no-audio", action="store_true", help="sounds need not be there")


def _check(args: argparse.Namespace) -> int:
    given = {split: str(path) for split, path in _files(args.source).items()}
    if args.against:
        if len(given) > 1:
            raise UserError(f"data check: --against needs one file, and {args.source} holds more.")
        given = {"train": next(iter(given.values())), "test": args.against}
    files = _read_all(given, args, open_audio=not args.no_audio)
    found = overlap_problems({split: file.questions for split, file in files.items()})
    if found:
        raise ProblemList(found)
    for file in files.values():
        print(f"{file.path}: {_summary(file)}, nothing wrong.")
    return 0


def _info(args: argparse.Namespace) -> int:
    files = _read_all(_files(args.source), args)
    for split, file in files.items():
        print(f"{file.path} ({split})" if len(files) > 1 else file.path)
        for name, value in _facts(file):
            print(f"  {name:<15}{value}")
    return 0


def _convert(args: argparse.Namespace) -> int:
    out = Path(args.out)
    source = args.source
    if is_hub(source):
        source = str(fetch(source, out.parent) / "test.jsonl")
    if Path(source).resolve() == out.resolve():
        raise UserError(f"data convert: {out} would be replaced by itself. Give another OUT.")
    file = _read(source, args)
    row = ROWS[args.to]
    rows = [row(q, relative_to(out.parent, q.audio)) for q in file.questions]
    if args.to == "mmau" and out.suffix != ".jsonl":
        write_json(out, rows)
    else:
        write_lines(out, rows)
    print(f"{out}: {len(rows)} questions, of {_summary(file)}")
    return 0


def _files(source: str) -> dict[str, Path]:
    """The files of a folder by split, or the one file."""
    return find_splits(source)


def _read_all(
    given: Mapping[str, Any], args: argparse.Namespace, *, open_audio: bool = False
) -> dict[str, QuestionFile]:
    """Every file, or the problems of all of them."""
    files: dict[str, QuestionFile] = {}
    problems = Problems()
    for split, path in given.items():
        with problems.gathered():
            files[split] = _read(path, args, open_audio=open_audio)
    problems.refuse()
    return files


def _read(path: str | Path, args: argparse.Namespace, *, open_audio: bool = False) -> QuestionFile:
    return read_file(
        path,
        args.form,
        audio_root=args.audio_root,
        need_audio=not args.no_audio,
        open_audio=open_audio,
    )


def _summary(file: QuestionFile) -> str:
    left = "".join(f", {n} left out ({why})" for why, n in file.left_out.items())
    return f"{len(file.questions)} questions in the format of {file.form.title}{left}"


def _facts(file: QuestionFile) -> Iterator[tuple[str, str]]:
    questions = file.questions
    yield "format", f"{file.form.name} ({file.form.title})"
    yield "release", file.release or "none that routerlab knows"
    yield "sha256", file.sha256
    yield "questions", str(len(questions))
    for why, count in file.left_out.items():
        yield "left out", f"{count} ({why})"
    yield "sounds", str(len({q.audio for q in questions}))
    yield "choices", _counted(str(len(q.choices)) for q in questions)
    yield "gold's place", _counted("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[q.gold] for q in questions)
    for name in ("task", "category", "sub_category", "difficulty"):
        if any(getattr(q, name) for q in questions):
            yield name.replace("_", "-"), _counted(getattr(q, name) or "–" for q in questions)
    yield "repeated", f"{_count(questions, _repeats)} questions with an option that stands twice"
    yield (
        "ambiguous",
        (
            f"{_count(questions, lambda q: ambiguous(q.answer, q.choices))} questions on which the "
            "official rule takes a wrong option too"
        ),
    )


def _count(questions: Iterable[Question], holds: Any) -> int:
    return sum(bool(holds(q)) for q in questions)


def _repeats(question: Question) -> bool:
    choices = question.choices
    return any(strict_match(a, b) for i, a in enumerate(choices) for b in choices[i + 1 :])


def _counted(values: Iterable[str], most: int = 12) -> str:
    counts = Counter(values)
    shown = [f"{name} × {n}" for name, n in counts.most_common(most)]
    more = f", and {len(counts) - most} more" if len(counts) > most else ""
    return ", ".join(shown) + more
