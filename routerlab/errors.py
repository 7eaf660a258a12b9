"""Errors by audience: a user's mistake, a failure of the world outside, or (everything else) a bug.

A `UserError` reaches the terminal as its message alone, one line a problem, with exit code 2.
An `InfrastructureError` is recorded beside its question and is never an answer or a reward.
Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


class UserError(ValueError):
    """What was given, what is allowed and what to do. Shown without a traceback, exit code 2."""


class ProblemList(UserError):
    """Several user errors found in one pass, shown one a line so that all can be mended at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Problems(list[str]):
    """User errors gathered over several steps, so that all are told at once.

    >>> problems = Problems()
    >>> with problems.gathered():
    ...     raise UserError("no such file")
    >>> problems
    ['no such file']
    """

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Keep what a step is refused for, and go on."""
        try:
            yield
        except ProblemList as error:
            self.extend(error.problems)
        except UserError as error:
            self.append(str(error))

    def refuse(self) -> None:
        """Raise one ProblemList if there were any."""
        if self:
            raise ProblemList(self)


class AudioError(UserError):
    """A sound file that cannot be used; the message names the file."""


class InfrastructureError(RuntimeError):
    """A failure outside the model's judgement: a time-out, a crash, a refused request."""


class ToolError(InfrastructureError):
    """A tool that raised, hung, died or answered outside its schema.

    Attributes:
        kind: one of "timeout", "memory", "crash", "exception", "schema", "refused".
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class ReasonerError(InfrastructureError):
    """The reasoner could not be asked, or did not answer in time.

    Attributes:
        final: it was asked as often as makes sense; ask again in another run, not in this one.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        self.final = final
        super().__init__(message)


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """One line for a name that is not known, with the nearest spelling.

    >>> unknown("tools: no tool", "pitchh", ["tempo", "pitch"])
    "tools: no tool named 'pitchh'. Known: pitch, tempo. Did you mean 'pitch'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{what} named {given!r}. Known: {', '.join(names)}.{hint}"
