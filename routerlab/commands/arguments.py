"""`routerlab fit RECIPE key=value …` as LightningCLI reads it: `fit --config=RECIPE --key=value`.

Only words are sorted here; what a key means, and whether it exists, the parser says later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from routerlab.errors import UserError

_OVERRIDE = re.compile(r"^[A-Za-z_][\w.]*\+?=")
_ALONE = ("--print_config", "--help", "-h")


@dataclass
class Request:
    """A training command's words, sorted.

    Attributes:
        recipes: as given, to be found by `find_recipe`; later ones override earlier ones.
        options: the rest, in LightningCLI's spelling.
        trust: packages and files named with `--trust`.
        ckpt_path: as given, or "".
    """

    command: str
    recipes: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    trust: list[str] = field(default_factory=list)
    ckpt_path: str = ""

    @property
    def asks_help(self) -> bool:
        """Whether help was asked for."""
        return any(word in ("--help", "-h") for word in self.options)


def sort_words(command: str, words: Sequence[str]) -> Request:
    """Sort a command's words.

    >>> sort_words("fit", ["recipes/a.yaml", "model.lr=0.1", "--trust", "mine"])
    ... # doctest: +NORMALIZE_WHITESPACE
    Request(command='fit', recipes=['recipes/a.yaml'], options=['--model.lr=0.1'],
            trust=['mine'], ckpt_path='')

    Raises:
        UserError: an option that needs a value has none.
    """
    request = Request(command)
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name in ("--trust", "--config", "-c", "--ckpt_path", "ckpt_path"):
            _take(request, name, value if equals else _next(name, rest))
        elif word.startswith("-"):
            request.options.append(word)
            if not equals and word not in _ALONE and rest and not rest[0].startswith("--"):
                request.options.append(rest.pop(0))
        elif _OVERRIDE.match(word) and not _is_file(word):
            request.options.append(f"--{word}")
        else:
            request.recipes.append(word)
    return request


def _take(request: Request, name: str, value: str) -> None:
    if name == "--trust":
        request.trust.append(value)
    elif name.endswith("ckpt_path"):
        request.ckpt_path = value
    else:
        request.recipes.append(value)


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except OSError:  # a value may be too long for the name of a file
        return False


def _next(name: str, rest: list[str]) -> str:
    if not rest or rest[0].startswith("--"):
        raise UserError(f"{name}: a value must follow. See routerlab --help.")
    return rest.pop(0)
