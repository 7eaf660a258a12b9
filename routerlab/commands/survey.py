"""`routerlab survey --from NAME=FILE …`: the survey of answers that are there already; no torch.

`routerlab survey RECIPE`, which asks a model, is in `routerlab.experiment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from routerlab.commands.parsing import Parser
from routerlab.data.writers import write_json
from routerlab.errors import UserError
from routerlab.outcome_files import RULES, read_outcomes
from routerlab.report.outlook import Evidence, outlook
from routerlab.report.sampling import limited
from routerlab.report.survey_tables import survey_grids, survey_text
from routerlab.report.verdict import verdict
from routerlab.table_files import SUFFIXES, check_suffix, read_table, write_table


def main(words: Sequence[str]) -> int:
    """Run `routerlab survey --from …`."""
    args = _parser().parse_args(words)
    given = [word for group in args.files for word in group]
    if args.export:
        check_suffix(Path(args.export))
    evidence = _evidence(given, args.questions, args.key, args.scorer)
    if args.export:
        write_table(args.export, evidence.table, evidence.replicates)
    part = limited(evidence, args.limit, args.seed)
    figures = outlook(part)
    if args.markdown:
        print("\n".join(f"- {line}" for line in verdict(figures)), end="\n\n")
        print("\n\n".join(grid.markdown() for grid in survey_grids(figures, "Survey", part.notes)))
    else:
        print(survey_text(figures, "Survey", part.notes))
    if args.json:
        write_json(args.json, figures | {"verdict": verdict(figures)})
    return 0


def _evidence(given: Sequence[str], questions: str | None, key: str, scorer: str) -> Evidence:
    """From one exported table, or from a prediction file an action."""
    if len(given) == 1 and given[0].endswith(SUFFIXES) and "=" not in given[0]:
        if questions or key or scorer != "strict":
            raise UserError(
                "--from: an exported table holds questions and what is right. Leave --questions, "
                "--key and --scorer out."
            )
        table, replicates, together = read_table(given[0])
        return Evidence(table, replicates, together)
    read = read_outcomes(given, questions=questions, key=key, scorer=scorer)
    return Evidence(read.table, read.replicates, read.together, notes=read.notes())


def _parser() -> Parser:
    parser = Parser(
        prog="routerlab survey",
        description=(
            "What routing could gain, from prediction files that are there already: "
            "--from direct=a.json --from pitch=b.jsonl. A name given again is a replicate with "
            "permuted options; all_outputs=FILE is every output at once. Or one exported table. "
            "With a recipe instead of --from, the model is asked."
        ),
    )
    parser.add_argument(
        "--from", dest="files", nargs="+", action="append", required=True, metavar="NAME=FILE"
    )
    parser.add_argument("--questions", metavar="FILE", help="if files hold ids and answers alone")
    parser.add_argument("--key", default="", help="where predictions stand, if not where usual")
    parser.add_argument("--scorer", default="strict", choices=list(RULES))
    parser.add_argument("--limit", type=int, metavar="N", help="a random part of the questions")
    parser.add_argument("--seed", type=int, default=0, help="of that part")
    parser.add_argument("--export", metavar="OUT", help="the table, as .jsonl or .parquet")
    parser.add_argument("--json", metavar="OUT", help="write every figure there, too")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    return parser
