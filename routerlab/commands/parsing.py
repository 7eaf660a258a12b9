"""The argument parser of the small commands: its errors are one line, its help is plain."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

import yaml

from routerlab.errors import UserError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises `UserError` and never guesses an abbreviation."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        """Say what was wrong and where the usage stands, in one line."""
        raise UserError(f"{self.prog}: {message}. See: {self.prog} --help")


def settings(words: list[str], of: str) -> dict[str, Any]:
    """`key=value` words as settings, values read as YAML.

    >>> settings(["fmin=50", "label=a"], "tools run")
    {'fmin': 50, 'label': 'a'}

    Raises:
        UserError: a word without `=`, or a value that is no YAML.
    """
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise UserError(f"{of}: {word!r} is no setting. Write key=value.")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"{of}: {key}: {value!r} is no YAML value.") from error
    return found
