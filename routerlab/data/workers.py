"""Worker processes for making data, which end with the process that they work for.

Ctrl-C reaches every process of a terminal's job. Workers do not hear it: the first process does,
and ends them.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, resource_tracker
from typing import Any, TypeVar

Made = TypeVar("Made")


def in_workers(
    work: Callable[..., Made], jobs: Iterable[tuple[Any, ...]], count: int
) -> Iterator[Made]:
    """What `work` gives for each job's arguments, in order, from `count` fresh processes.

    Where it fails or is left early, no job under way is waited for.
    """
    others = set(active_children())
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        try:
            with _unheard():
                asked = [pool.submit(work, *job) for job in jobs]
            for one in asked:
                yield one.result()
        except BaseException:
            for worker in set(active_children()) - others:
                worker.terminate()
            raise


@contextmanager
def _unheard() -> Iterator[None]:
    """Hold Ctrl-C back; processes started inside never hear it, not even while they import."""
    # Starting this helper process would unblock the signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
