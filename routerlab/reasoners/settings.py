"""The words that a local reasoner's settings may be, and what is said of others. Loads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from routerlab.errors import ProblemList
from routerlab.reasoners.prompts import WORDINGS

Protocol: TypeAlias = Literal["likelihood", "generate"]
Length: TypeAlias = Literal["mean", "sum"]
Hearing: TypeAlias = Literal["on", "off"]
WordingName: TypeAlias = Literal["plain", "text", "letters"]
Saving: TypeAlias = Literal["tower", "prefix", "branches", "buckets"]

ALLOWED = {
    "protocol": ("likelihood", "generate"),
    "length": ("mean", "sum"),
    "dtype": ("float32", "bfloat16"),
    "audio": ("on", "off"),
    "wording": tuple(WORDINGS),
    "quantize": ("none", "4bit"),
    "without": ("tower", "prefix", "branches", "buckets"),
}


def checked(
    given: Sequence[tuple[str, str]], sizes: Mapping[str, int], max_seconds: float | None
) -> None:
    """Refuse what is not allowed, all of it at once.

    Args:
        given: (setting, word), a setting as often as it has words.
        sizes: settings that must be 1 or more.

    Raises:
        ProblemList: one line a mistake.
    """
    problems = list(_problems(given, sizes))
    if max_seconds is not None and max_seconds <= 0:
        problems.append(f"reasoner: max_seconds is {max_seconds}. Allowed: above 0, or null.")
    if problems:
        raise ProblemList(problems)


def _problems(given: Sequence[tuple[str, str]], sizes: Mapping[str, int]) -> Iterator[str]:
    for name, value in given:
        if value not in ALLOWED[name]:
            yield f"reasoner: {name} is {value!r}. Allowed: {', '.join(ALLOWED[name])}."
    for name, size in sizes.items():
        if size < 1:
            yield f"reasoner: {name} is {size}. Allowed: 1 or more."
