"""The words of `routerlab ask`, checked without torch; the answer comes from `routerlab.asking`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from routerlab.commands.arguments import Request
from routerlab.commands.parsing import Parser
from routerlab.commands.plan import Plan, make_plan
from routerlab.errors import ProblemList


@dataclass(frozen=True)
class Asked:
    """One question to a trained run.

    Attributes:
        plan: the run's recipe and checkpoint, to be built and not run.
        as_json: print one JSON object instead of text.
    """

    plan: Plan
    audio: str
    question: str
    choices: tuple[str, ...]
    as_json: bool = False


def parse_question(words: Sequence[str]) -> Asked:
    """Read the words.

    Raises:
        UserError: everything that is wrong with them, or no trained run.
    """
    parser = Parser(prog="routerlab ask", description="Ask a trained run about one sound.")
    parser.add_argument("--audio", required=True, metavar="FILE")
    parser.add_argument("--question", required=True, metavar="TEXT")
    parser.add_argument("--choice", required=True, action="append", metavar="TEXT", dest="choices")
    parser.add_argument("--run", metavar="DIR", help="default: the newest run with a checkpoint")
    parser.add_argument("--trust", action="append", default=[], metavar="PACKAGE|FILE")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(words)
    choices = tuple(choice.strip() for choice in args.choices)
    problems = [
        problem
        for wrong, problem in (
            (not Path(args.audio).is_file(), f"--audio: there is no file {args.audio!r}."),
            (not args.question.strip(), "--question: is empty."),
            (len(choices) < 2, f"--choice: {len(choices)} given; give at least two."),
            (len(set(choices)) < len(choices), "--choice: two are the same."),
            (not all(choices), "--choice: one is empty."),
        )
        if wrong
    ]
    if problems:
        raise ProblemList(problems)
    recipes = [args.run] if args.run else []
    plan = make_plan(Request("", recipes=recipes, trust=args.trust))
    return Asked(plan, args.audio, args.question, choices, args.json)
