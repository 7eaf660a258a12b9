"""`routerlab compare RUN RUN…`: finished runs side by side; the figures are `report.versus`'s."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from routerlab.commands.parsing import Parser
from routerlab.data.writers import write_json
from routerlab.report.formats import FORMATS
from routerlab.report.versus import differences, pairs_grid, read_systems, versus_grid


def main(words: Sequence[str]) -> int:
    """Run `routerlab compare`."""
    args = _parser().parse_args(words)
    policies = [name for name in args.policy.split(",") if name]
    systems = read_systems(args.runs, policies, args.split)
    found = differences(systems, args.all_pairs)
    grids = [versus_grid(systems, found, args.split)]
    if args.all_pairs and len(systems) > 2:
        grids.append(pairs_grid(found))
    print("\n\n".join(FORMATS[args.format](grid) for grid in grids))
    if args.json:
        write_json(args.json, {"split": args.split, "differences": [asdict(d) for d in found]})
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="routerlab compare",
        description="Finished runs on the same questions: paired bootstrap, McNemar, Holm.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's folder, NAME=RUN, or NAME=RUN,RUN (seeds of one system)",
    )
    parser.add_argument("--policy", default="routed", help="or several: routed,text,direct")
    parser.add_argument("--split", default="test", help="test (default) or ood")
    parser.add_argument("--format", default="text", choices=list(FORMATS))
    parser.add_argument("--all-pairs", action="store_true", help="not only against the first")
    parser.add_argument("--json", metavar="OUT", help="write the differences there, too")
    return parser
