"""`routerlab data`: generated questions, the map of best actions, question files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from routerlab.commands.gather import add_verb
from routerlab.commands.parsing import Parser
from routerlab.commands.question_files import add_verbs
from routerlab.data.speech.make import make as make_speech
from routerlab.data.synth.make import FULL
from routerlab.data.synth.make import make as make_sounds

DEFAULT = {"train": 1500, "val": 300, "test": 1000, "ood": 500}
SPOKEN = {"train": 600, "val": 120, "test": 400, "ood": 200}


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
    kinds = making.add_subparsers(required=True, metavar="SET", parser_class=Parser)
    synth = _maker(kinds, "synthaqa", "sounds and music", DEFAULT)
    sizes = " / ".join(map(str, FULL.values()))
    synth.add_argument("--full", action="store_true", help=f"the full sizes: {sizes}")
    synth.set_defaults(do=_synthaqa)
    _maker(kinds, "speechaqa", "rendered speech", SPOKEN).set_defaults(do=_speechaqa)
    fit = verbs.add_parser("predictable", help="refit the best action per latent cell")
    fit.add_argument("-n", "--n", type=int, metavar="N", help="questions (default 4000)")
    fit.add_argument("--ood", type=int, metavar="N", help="shifted questions (default: half of N)")
    fit.add_argument("--seed", type=int, metavar="S", help="one that no recipe uses")
    fit.add_argument("--out", metavar="FILE", help="default: the map inside the package")
    fit.add_argument("--workers", type=int, metavar="N", help="0: one a core")
    fit.set_defaults(do=_predictable)
    return parser


def _maker(kinds: Any, name: str, what: str, sizes: Mapping[str, int]) -> Parser:
    """A set's own parser: WAV files and one JSON a split, MMAU's format."""
    made: Parser = kinds.add_parser(name, help=f"questions about {what}, in MMAU's format")
    made.add_argument("folder", metavar="DIR")
    for split, size in sizes.items():
        made.add_argument(f"--{split}", type=int, metavar="N", help=f"questions (default {size})")
    made.add_argument("--seed", type=int, default=0, metavar="S")
    made.add_argument("--workers", type=int, default=0, metavar="N", help="0: one a core")
    return made


def _synthaqa(args: argparse.Namespace) -> int:
    return _make(make_sounds, FULL if args.full else DEFAULT, args)


def _speechaqa(args: argparse.Namespace) -> int:
    return _make(make_speech, SPOKEN, args)


def _make(make: Any, default: Mapping[str, int], args: argparse.Namespace) -> int:
    asked = {split: given for split in default if (given := getattr(args, split)) is not None}
    files = make(args.folder, **{**default, **asked}, seed=args.seed, workers=args.workers)
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
