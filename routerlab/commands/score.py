"""`routerlab score FILE --benchmark mmau|mmar`: the official tables of a prediction file, no torch.

What a row earns is decided in `scoring`; here it is only read, laid out and written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from routerlab.commands.parsing import Parser
from routerlab.data.writers import write_json
from routerlab.report.grid import Grid, percent
from routerlab.scoring.predictions import PredictionFile, read_predictions
from routerlab.scoring.score import GROUPS, RULES, Scores, Tally, score


def main(words: Sequence[str]) -> int:
    """Run `routerlab score`."""
    args = _parser().parse_args(words)
    file = read_predictions(args.file, args.benchmark, key=args.key, questions=args.questions)
    scores = score(file.predictions, args.benchmark)
    for grid in grids(file, scores, args.benchmark):
        print(grid.markdown() if args.markdown else grid.plain(), end="\n\n")
    for note in notes(file, scores, args.benchmark):
        print(note)
    if args.json:
        write_json(args.json, _written(file, scores, args.benchmark))
        print(f"written: {args.json}")
    return 0


def grids(file: PredictionFile, scores: Scores, benchmark: str) -> Iterator[Grid]:
    """The total, then a table for each of the benchmark's groups."""
    shown = RULES if scores.letters else tuple(rule for rule in RULES if rule != "letter")
    named = {"all": scores.total}
    yield _grid(f"{benchmark.upper()}: {file.release or file.path.name}", "", named, shown)
    for title, groups in scores.groups.items():
        yield _grid(f"by {title}", title, groups, shown)


def notes(file: PredictionFile, scores: Scores, benchmark: str) -> Iterator[str]:
    """What a reader of the figures should know, one line each."""
    rows = scores.total.rows
    if scores.missing:
        without = percent(scores.official_without_missing, 2)
        yield (
            f"no prediction: {scores.missing} of {rows} rows have no {file.key!r}. They are wrong "
            f"here; {benchmark.upper()}'s script passes over them and would print {without} %."
        )
    yield f"unparsed: {scores.unparsed} of {rows} rows name no option, or several (wrong)."
    yield (
        f"ambiguous: on {scores.ambiguous} rows the official rule takes a wrong option too; "
        f"{scores.lenient} rows are right by it and not strictly."
    )
    if not scores.letters:
        yield "letter: no row was answered with one, so there is no such score."
    if not file.release:
        yield "release: these are not the questions of a published file that routerlab knows."


def _grid(title: str, head: str, groups: Mapping[str, Tally], rules: Sequence[str]) -> Grid:
    lines = [
        [name or "–", str(it.rows), *(percent(it.share(rule), 2) for rule in rules)]
        for name, it in groups.items()
    ]
    return Grid(title, (head, "questions", *(f"{rule} %" for rule in rules)), lines)


def _written(file: PredictionFile, scores: Scores, benchmark: str) -> dict[str, Any]:
    about = {"benchmark": benchmark, "file": str(file.path), "key": file.key}
    return about | {"release": file.release, **scores.as_json()}


def _parser() -> Parser:
    parser = Parser(
        prog="routerlab score",
        description="Official, strict and letter score of a benchmark's prediction file.",
    )
    parser.add_argument("file", metavar="FILE", help="JSON or JSON lines with predictions")
    parser.add_argument("--benchmark", required=True, choices=sorted(GROUPS))
    parser.add_argument(
        "--questions",
        metavar="FILE",
        help="the question file, if FILE has only ids and predictions",
    )
    parser.add_argument("--key", default="", help="where the predictions stand, if not where usual")
    parser.add_argument("--json", metavar="OUT", help="write every count there, too")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    return parser
