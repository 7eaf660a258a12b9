"""`routerlab data`: generated questions, the map of best actions, question files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from routerlab.commands.gather import add_verb
from routerlab.commands.parsing import Parser
from routerlab.commands.question_files import add_verbs
from routerlab.data.synth.make import FULL, make

DEFAULT = {"train": 1500, "val": 300, "test": 1000, "ood": 500}


def main(words: Sequence[str]) -> int:
    """Run `routerlab data`."""
    args = _parser().parse_args(words)
    code: int = args.do(args)
    return code


def _parser() -> Parser:
    parser = Parser(prog="routerlab data", description="Make, check and convert data.")
    verbs = parser.add_subparsers(required=True, metavar="VERB", parser_class=Parser)
    add_verbs(verbs)
    add_verb(verbs)
    making = verbs.add_parser("make", help="write a generated data set")
    kinds = making.add_subparsers(required=True, metavar="synthaqa", parser_class=Parser)
    synth = kinds.add_parser("synthaqa", help="WAV files and one JSON a split, MMAU's format")
    synth.add_argument("folder", metavar="DIR")
    for split, size in DEFAULT.items():
        synth.add_argument(f"--{split}", type=int, metavar="N", help=f"questions (default {size})")
    sizes = " / ".join(map(str, FULL.values()))
    synth.add_argument("--full", action="store_true", help=f"the full sizes: {sizes}")
    synth.add_argument("--seed", type=int, default=0, metavar="S")
    synth.add_argument("--workers", type=int, default=0, metavar="N", help="0: one a core")
    synth.set_defaults(do=_synthaqa)
    fit = verbs.add_parser("predictable", help="refit the best action per latent cell")
    fit.add_argument("-n", "--n", type=int, metavar="N", help="questions (default 4000)")
    fit.add_argument("--ood", type=int, metavar="N", help="shifted questions (default: half of N)")
    fit.add_argument("--seed", type=int, metavar="S", help="one that no recipe uses")
    fit.add_argument("--out", metavar="FILE", help="default: the map inside the package")
    fit.add_argument("--workers", type=int, metavar="N", help="0: one a core")
    fit.set_defaults(do=_predictable)
    return parser


def _synthaqa(args: argparse.Namespace) -> int:
    sizes = dict(FULL if args.full else DEFAULT)
    sizes |= {split: given for split in sizes if (given := getattr(args, split)) is not None}
    files = make(args.folder, **sizes, seed=args.seed, workers=args.workers)
    for split, path in files.items():
        rows = json.loads(path.read_text(encoding="utf-8"))
        print(f"{split}: {len(rows)} questions in {path}")
    return 0


def _predictable(args: argparse.Namespace) -> int:
    # Only now: it runs the LALM, and with it comes torch.
    from routerlab.experiment import make_predictable

    names = ("n", "ood", "seed", "out", "workers")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    print(make_predictable(**given))
    return 0
