"""Runs tools in other processes, so that none can hang, crash, flood or fatten the main one.

A tool that breaks its limit becomes an `Observation` with an `error`; its process and everything
that process started are killed, a new one takes over, and the job's other tools go on. It stops at
one machine, and it is no sandbox: a tool runs with the user's rights.
"""

from __future__ import annotations

import os
import queue
import secrets
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from routerlab.errors import ProblemList
from routerlab.tools.dispatch import Dispatcher
from routerlab.tools.jobs import Job, Limits
from routerlab.tools.local import LocalTools
from routerlab.tools.specs import ToolSpec, build_tool, check_specs, instance_card
from routerlab.trust import TrustedImports
from routerlab.types import Clip, Observation, ToolCard

Asked: TypeAlias = tuple[Clip, tuple[str, ...]] | tuple[Clip, tuple[str, ...], tuple[str, ...]]
"""A clip, the tools' names and, where one of them sees them, the question's options."""


class ToolPool:
    """Worker processes for a recipe's tools. Use as a context manager, or `close()` it.

    Building one imports the tools and reads their cards; processes start with the first job (or
    `start()`), so a pool whose answers are all cached costs nothing.

    Args:
        specs: the recipe's tools.
        trusted: packages and files whose code may run (see `routerlab.trust`).
        workers: processes; 0 for one a core.
        timeout_s: limit of one call of one tool. Importing and `setup()` are outside it.
        memory_mb: how far one process with its children may grow beyond what its tools hold after
            `setup()`; then it is ended. A spec may set both for its tool.

    Attributes:
        cards: one a tool, in the recipe's order, under the instances' names.
        versions: name -> version, part of a cache key.
        calls: tool calls made so far, failed ones included.

    Raises:
        ProblemList: every problem of the specs at once.
    """

    def __init__(
        self,
        specs: Sequence[ToolSpec],
        *,
        trusted: Sequence[str] = (),
        workers: int = 0,
        timeout_s: float = 20.0,
        memory_mb: int = 2048,
    ) -> None:
        trust = TrustedImports(trusted)
        trust.import_all()
        problems = check_specs(specs)
        if problems:
            raise ProblemList(problems)
        tools = [build_tool(spec, trust) for spec in specs]
        self.cards: tuple[ToolCard, ...] = tuple(map(instance_card, tools, specs))
        self.versions = {tool.name: tool.version for tool in tools}
        limits = Limits(timeout_s=timeout_s, memory_mb=memory_mb)
        mark = secrets.token_hex(16)
        batches = {tool.name: tool.batch_size for tool in tools}
        self._dispatcher = Dispatcher(
            [spec for spec in specs if spec.isolation == "process"],
            self.versions,
            trust.trusted,
            workers or cores(),
            limits,
            mark,
            batches=batches,
            local=LocalTools(specs, tools, timeout_s),
        )
        self._busy = threading.Lock()
        self._finalizer = weakref.finalize(self, self._dispatcher.close)

    @property
    def calls(self) -> int:
        """Tool calls made so far."""
        return self._dispatcher.calls

    def start(self, workers: int = 0) -> None:
        """Start processes now, without waiting for them: they warm up beside other work."""
        if self._busy.acquire(blocking=False):
            try:
                self._dispatcher.start(workers or self._dispatcher.size)
            finally:
                self._busy.release()

    def observe_many(self, jobs: Iterable[Asked]) -> Iterator[tuple[int, list[Observation]]]:
        """(job's index, one Observation per asked name), as jobs finish.

        Jobs are taken and run ahead of the consumer, by a thread of the pool: an iterable that
        loads its clips is read only as fast as they are worked on. One call at a time.

        Raises:
            InfrastructureError: no worker can be started at all.
        """
        with self._busy:
            yield from self._observe(jobs)

    def observe(
        self, clip: Clip, names: Sequence[str] = (), choices: Sequence[str] = ()
    ) -> list[Observation]:
        """The observations of one clip: of the named tools, or of all."""
        asked = tuple(names) or tuple(card.name for card in self.cards)
        jobs = [(clip, asked, tuple(choices))]
        return next(observations for _, observations in self.observe_many(jobs))

    def close(self) -> None:
        """End every process of the pool, and all that they started."""
        self._finalizer()

    def __enter__(self) -> ToolPool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _observe(self, jobs: Iterable[Asked]) -> Iterator[tuple[int, list[Observation]]]:
        results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        stop = threading.Event()
        todo = (Job(i, job[0], self._known(job[1]), *job[2:]) for i, job in enumerate(jobs))
        thread = threading.Thread(
            target=self._dispatcher.run, args=(todo, results.put, stop), daemon=True
        )
        thread.start()
        try:
            while (result := results.get()) is not None:
                if isinstance(result, BaseException):
                    raise result
                yield result
        finally:
            stop.set()
            thread.join()

    def _known(self, names: Sequence[str]) -> tuple[str, ...]:
        strange = [name for name in names if name not in self.versions]
        if strange:
            raise KeyError(f"no tool {strange[0]!r} in this pool")
        return tuple(names)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
