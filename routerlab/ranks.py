"""The processes of one job: what each did is told to all, and none waits for one that failed.

Exchanges are collectives of torch.distributed, so all ranks make the same ones in the same order. A
rank that does not answer is waited for as long as the process group's timeout (the strategy's).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed

from routerlab.errors import UserError

Part = TypeVar("Part")

GRACE_S = 5.0
"""How long the first rank gives the others to end by themselves."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of the job; alone by default."""

    rank: int = 0
    world: int = 1

    @classmethod
    def of(cls, trainer: Any) -> Ranks:
        """The ranks of a Trainer; alone without one."""
        return cls() if trainer is None else cls(trainer.global_rank, trainer.world_size)

    def together(self, work: Callable[[], Part]) -> list[Part]:
        """What every rank's work came to, in the order of ranks.

        Raises:
            UserError: on every rank, with the line of the first that failed. A bug keeps its
                traceback on the rank that met it.
        """
        if self.world == 1:
            return [work()]
        part, failure = None, None
        try:
            part = work()
        except Exception as error:
            failure = error
        told = self._exchanged((part, failure and _line(failure, self.rank)))
        if failure is not None and not isinstance(failure, UserError):
            raise failure
        for _, line in told:
            if line:
                raise UserError(line) from failure
        return [given for given, _ in told]

    def agreed(self, what: str, work: Callable[[], Part]) -> Part:
        """What every rank's work came to, when it is the same everywhere.

        Raises:
            UserError: on every rank, when it is not, or one failed.
        """
        first, *others = self.together(work)
        for rank, other in enumerate(others, 1):
            if other != first:
                raise UserError(
                    f"{what}: rank {rank} has {other}, rank 0 has {first}. Give every rank the "
                    "same files and the same versions."
                )
        return first

    def _exchanged(self, mine: Any) -> list[Any]:
        told: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(told, mine)
        return told


def end_others(launcher: Any, grace_s: float = GRACE_S) -> None:
    """End the ranks that a failing first rank has launched: one that hangs would outlive it.

    Args:
        launcher: a strategy's; one that launched nothing is left alone.
    """
    launched: list[subprocess.Popen[bytes]] = list(getattr(launcher, "procs", ()))
    if not launched:
        return
    # Lightning watches this very list, and would kill this process before it has said why.
    launcher.procs.clear()
    for process in launched:
        try:
            process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            process.kill()


def _line(error: Exception, rank: int) -> str:
    if isinstance(error, UserError):
        return str(error)
    return f"rank {rank} stopped: {type(error).__name__}: {error}. What it met stands in its log."
