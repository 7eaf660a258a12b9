"""What a run costs: seconds by part, and the memory of the whole process tree.

Memory is sampled: a thread adds up the resident size of this process and all its descendants a few
times a second. Pages that processes share are counted once for each, so the figure is an upper
bound; a peak between two samples is missed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

EVERY_SECONDS = 0.25


class Stopwatch:
    """Seconds by part of the run."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the block to a part."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start

    @property
    def total(self) -> float:
        """Seconds since the watch was started."""
        return time.monotonic() - self._start


class PeakMemory:
    """Samples the process tree's memory while its block runs."""

    def __init__(self) -> None:
        self.bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def mb(self) -> float:
        """The highest sample so far, in MiB."""
        return round(self.bytes / 2**20, 1)

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            self._sample()

    def _sample(self) -> None:
        me = psutil.Process()
        self.bytes = max(self.bytes, sum(map(_resident, [me, *_descendants(me)])))


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it ended between being listed and being looked at
        return 0
