"""Finding a recipe and reading it safely, before anything it names is imported.

A recipe is plain YAML: no tags, no key twice, no value taken from the environment (it would be
written into the run folder), and only class paths whose package is allowed. What the keys *mean*
is left to the parser in `routerlab.lightning_cli`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from routerlab.errors import ProblemList, UserError, unknown

PACKAGED = Path(__file__).resolve().parents[1] / "recipes"
RESOLVED = "recipe.yaml"
"""The resolved recipe's name inside a run folder."""

_FROM_ENVIRONMENT = re.compile(r"\$\{\s*oc\.(env|decode)\b")


def packaged_recipes() -> list[str]:
    """Names of the recipes that come with routerlab."""
    return sorted(path.stem for path in PACKAGED.glob("*.yaml"))


def find_recipe(given: str) -> Path:
    """The file meant by a path, a run folder or the bare name of a packaged recipe.

    Raises:
        UserError: there is no such file and no packaged recipe of that name.
    """
    path = Path(given)
    with suppress(OSError):  # a text too long for a name is no file
        if path.is_file():
            return path
        if (path / RESOLVED).is_file():
            return path / RESOLVED
        packaged = PACKAGED / f"{path.name.removesuffix('.yaml').removesuffix('.yml')}.yaml"
        if packaged.is_file() and path.parent in (Path(), Path("recipes")):
            return packaged
        if path.is_dir():
            raise UserError(
                f"recipe: {given!r} is a folder without {RESOLVED}. Give a recipe's file, a run "
                f"folder or one of: {', '.join(packaged_recipes())}."
            )
    near = unknown("recipe: no file or packaged recipe", given, packaged_recipes())
    raise UserError(f"{near} Give the path of a YAML file or one of these names.")


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe as plain data; every problem of its YAML at once.

    Raises:
        ProblemList: tags, repeated keys or values from the environment, each with its line.
        UserError: the file is no YAML mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        problems = [f"{path}:{line}: {what}" for line, what in _yaml_problems(text)]
        if problems:
            raise ProblemList(problems)
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: not a readable YAML file: {_one_line(error)}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a recipe is a mapping (trainer, model, data …), this is not.")
    return tree


def class_paths(tree: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every (key, dotted class path) named anywhere in a recipe.

    >>> list(class_paths({"data": {"tools": [{"class_path": "mine.Hum"}]}}))
    [('data.tools.0.class_path', 'mine.Hum')]
    """
    if isinstance(tree, dict):
        for key, value in tree.items():
            here = f"{where}.{key}" if where else str(key)
            if key == "class_path" and isinstance(value, str) and "." in value:
                yield here, value
            yield from class_paths(value, here)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from class_paths(value, f"{where}.{index}")


def refuse_untrusted(tree: Any, allowed: Sequence[str], source: str) -> list[str]:
    """One line for each class path outside the allowed packages; nothing is imported."""
    return [
        f"{source}: {where} names {path!r}, which is outside the trusted packages "
        f"({', '.join(allowed)}). If you trust that code, add --trust {path.split('.')[0]}."
        for where, path in class_paths(tree)
        if not any(path == name or path.startswith(f"{name}.") for name in allowed)
    ]


def _yaml_problems(text: str) -> Iterator[tuple[int, str]]:
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if isinstance(token, yaml.TagToken):
            tag = "".join(part or "" for part in token.value)
            yield token.start_mark.line + 1, f"YAML tag {tag!r} refused: write plain values."
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    for line, key in _repeated_keys(root, set()):
        yield line, f"key {key!r} stands twice in one mapping: keep one."
    for number, line_text in enumerate(text.splitlines(), 1):
        if found := _FROM_ENVIRONMENT.search(line_text.split("#")[0]):
            yield (
                number,
                (
                    f"{found.group()}…}} refused: its value would be written into the run folder. "
                    "Give the name of the variable where a setting asks for one."
                ),
            )


def _repeated_keys(node: yaml.Node | None, visited: set[int]) -> Iterator[tuple[int, str]]:
    if node is None or id(node) in visited:
        return
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, key.value
            seen.add(key.value if isinstance(key.value, str) else repr(key.value))
            yield from _repeated_keys(value, visited)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value, visited)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
