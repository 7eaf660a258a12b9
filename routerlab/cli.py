"""`routerlab`: sorts the command line, checks what it can, and hands over; free of torch.

Training commands go to `routerlab.lightning_cli` once their recipe has been found and read;
the others live in `routerlab.commands`. A user's mistake is one line on stderr and exit code 2;
so is Ctrl-C, with exit code 130.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence

from routerlab import __version__
from routerlab.commands.arguments import sort_words
from routerlab.commands.ask import parse_question
from routerlab.commands.plan import make_plan
from routerlab.commands.recipes import packaged_recipes
from routerlab.commands.runs import rank
from routerlab.commands.stopping import STOPPED, farewell, interrupted, leave_to_first_rank
from routerlab.errors import UserError, unknown

TRAINING = ("fit", "validate", "test", "predict", "survey")
OTHERS = ("ask", "tools", "data", "score", "summary", "compare", "doctor", "report")

HELP = """\
routerlab: learn when a frozen audio language model should call a tool.

  routerlab fit RECIPE [key=value ...]        survey, train, test; results in runs/RECIPE/NUMBER
  routerlab fit RECIPE --ckpt_path last       go on with the newest unfinished run
  routerlab test [RECIPE|RUN] [key=value ...] test a trained run (without a word: the newest)
  routerlab validate|predict [RECIPE|RUN]     the same for validation and predictions
  routerlab survey RECIPE [key=value ...]     what routing could gain, before any training
  routerlab survey --from direct=F --from TOOL=F ...  the same of prediction files: no model
  routerlab ask --audio F --question Q --choice A --choice B [--run DIR]
  routerlab tools list [--json] | run NAME AUDIO | check CLASS_PATH
  routerlab data make synthaqa|speechaqa DIR [--train N --val N --test N --ood N] [--seed S]
  routerlab data predictable [-n N] [--seed S] refit the best action per latent cell
  routerlab data check|info FILE|DIR          what is wrong with question files; what they hold
  routerlab data convert IN OUT --to jsonl|mmau|r1aqa
  routerlab score FILE --benchmark mmau|mmar  the official tables of a prediction file
  routerlab summary RUN...                    mean over seeds, paired intervals
  routerlab compare RUN RUN... [--format F]   paired bootstrap, McNemar, Holm: a table for a paper
  routerlab report RUN [--audio embed|beside] one HTML page: verdict, plots, every question heard
  routerlab doctor [RECIPE...] [--json]       what this machine offers, which recipes fit it

  --trust PACKAGE|./file.py   let a recipe name classes from there (repeat for more)
  --print_config              print the resolved recipe and stop
  --help, --version           `routerlab fit RECIPE --help` lists every key of a recipe

Recipes that come along: {recipes}."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    leave_to_first_rank()
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        # `routerlab tools list | head`: nobody reads on, and Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except BaseException as error:
        if not interrupted(error):
            raise
        # Lightning no longer hears it by now; whoever presses it again means it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if rank() == 0:
            print(farewell(words, error), file=sys.stderr)
        return STOPPED


def _dispatch(words: list[str]) -> int:
    command = words[0] if words else "--help"
    if command in ("--help", "-h", "help"):
        print(HELP.format(recipes=", ".join(packaged_recipes())))
        return 0
    if command == "--version":
        print(f"routerlab {__version__}")
        return 0
    from routerlab.tools import compiled

    # Before anything imports librosa, and with it numba.
    compiled.use_folder()
    if command == "ask":
        return _ask(words[1:])
    if command in OTHERS or (command == "survey" and _of_files(words)):
        module = importlib.import_module(f"routerlab.commands.{command}")
        code: int = module.main(words[1:])
        return code
    if command not in TRAINING:
        raise UserError(unknown("routerlab: no command", command, (*TRAINING, *OTHERS)))
    request = sort_words(command, words[1:])
    if request.asks_help and not request.recipes:
        return _dispatch(["--help"])
    plan = make_plan(request)
    # Only now: Lightning and torch take seconds to import.
    from routerlab.lightning_cli import run

    run(plan)
    return 0


def _of_files(words: list[str]) -> bool:
    """Whether a survey is of prediction files, which needs no model."""
    return any(word.partition("=")[0] == "--from" for word in words)


def _ask(words: list[str]) -> int:
    question = parse_question(words)
    from routerlab.asking import ask

    ask(question)
    return 0


if __name__ == "__main__":
    sys.exit(main())
