"""Ctrl-C: what is said of a stopped command, and how to go on with it; one line, exit code 130.

What has been written is kept by those who write it; here it is only told. Free of torch.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Sequence

from routerlab.commands.runs import RUN_FOLDER_VARIABLE, Run, newest_unfinished, rank
from routerlab.errors import UserError

STOPPED = 128 + signal.SIGINT
"""The exit code, as shells have it."""

_AGAIN = {
    "survey": "What was answered is kept: run the same command again.",
    "predict": "What was answered is kept: run the same command again.",
    "data": "Run the same command again: it begins anew.",
}


class Stopped(KeyboardInterrupt):
    """A training command was interrupted when it had its run's folder."""

    def __init__(self, run: Run) -> None:
        self.run = run
        super().__init__(str(run.folder))


def interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C is at the root of it.

    Lightning makes a SystemExit of it, and an import that it falls into an ImportError.

    >>> try:
    ...     raise KeyboardInterrupt
    ... except KeyboardInterrupt:
    ...     try:
    ...         raise SystemExit(1)
    ...     except SystemExit as error:
    ...         interrupted(error), interrupted(SystemExit(1))
    (True, False)
    """
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, KeyboardInterrupt):
            return True
        link = link.__cause__ or link.__context__
    return False


def leave_to_first_rank() -> None:
    """Do not hear Ctrl-C in a rank that another has launched: the first one ends it.

    It would leave the first waiting for its part of an exchange. Ranks that something else started
    are that one's to end.
    """
    outside = any(os.environ.get(name) for name in ("RANK", "SLURM_PROCID"))
    if rank() > 0 and RUN_FOLDER_VARIABLE in os.environ and not outside:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def farewell(words: Sequence[str], error: BaseException) -> str:
    """One line for a stopped command.

    Args:
        words: the command line.
        error: what it ended with.
    """
    command = words[0]
    if command != "fit":
        return f"routerlab: stopped. {_AGAIN.get(command, 'Run the same command again.')}"
    if not isinstance(error, Stopped):
        return "routerlab: stopped before the run had begun. Run the same command again."
    if checkpoint := _to_go_on_from(error.run):
        return f"routerlab: stopped. Go on with: {_going_on(words, checkpoint)}"
    return "routerlab: stopped before its first checkpoint. Run the same command again."


def _to_go_on_from(run: Run) -> str:
    """What `--ckpt_path` must be to go on with this very run; "" if nothing would."""
    try:
        newest = newest_unfinished(run.folder.parent.name)
        if newest.folder.resolve() == run.folder.resolve():
            return "last"
    except UserError:
        pass
    return str(run.checkpoint() or "")


def _going_on(words: Sequence[str], checkpoint: str) -> str:
    """The command line with another checkpoint to begin from.

    >>> _going_on(["fit", "a.yaml", "--ckpt_path", "x.ckpt", "model.lr=0.1"], "last")
    'routerlab fit a.yaml model.lr=0.1 --ckpt_path last'
    """
    kept, rest = [], list(words)
    while rest:
        name, equals, _ = (word := rest.pop(0)).partition("=")
        if name.lstrip("-") != "ckpt_path":
            kept.append(word)
        elif not equals:
            del rest[:1]
    return shlex.join(["routerlab", *kept, "--ckpt_path", checkpoint])
