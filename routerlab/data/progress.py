"""One progress bar for work that comes in several parts; plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance: TypeAlias = Callable[[int, str], None]
"""(how much of the whole is done, what is being done)"""

EVERY_SECONDS = 5.0
"""How often a plain line is printed at most."""


@contextmanager
def progress(total: int, console: Console | None = None) -> Iterator[Advance]:
    """Show how much of `total` is done while the block runs."""
    out = console or Console()
    with _bar(total, out) if out.is_terminal else _lines(total, out) as advance:
        yield advance


@contextmanager
def _bar(total: int, console: Console) -> Iterator[Advance]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as shown:
        task = shown.add_task("", total=total)

        def advance(done: int, what: str) -> None:
            shown.update(task, completed=done, description=what)

        yield advance


@contextmanager
def _lines(total: int, console: Console) -> Iterator[Advance]:
    began = last = time.monotonic()

    def advance(done: int, what: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= EVERY_SECONDS:
            last = now
            left = _left(now - began, done, total)
            console.print(f"{what}: {done} of {total}{left}", highlight=False)

    yield advance


def in_sum(advance: Advance | None) -> Callable[[int, int, str], None]:
    """For work that reports (done, total, what) part by part: the sum over the parts so far."""
    before = 0

    def report(done: int, total: int, what: str) -> None:
        nonlocal before
        if advance is not None:
            advance(before + done, what)
        before += total if done == total else 0

    return report


def _left(seconds: float, done: int, total: int) -> str:
    """About how long the rest takes at the rate so far; "" where nothing is done or left.

    >>> _left(30, 10, 40), _left(30, 300, 90_000), _left(30, 0, 9)
    (', about 90 s left', ', about 150 min left', '')
    """
    if not 0 < done < total:
        return ""
    rest = seconds * (total - done) / done
    return f", about {rest:.0f} s left" if rest < 120 else f", about {rest / 60:.0f} min left"
