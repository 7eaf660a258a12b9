"""Which recipes a machine can run: memory, weights, tools, data and servers, each that lacks named.

What a recipe needs of memory is what its opening comment declares: "24 GB of GPU memory", "20 GB of
main memory", or "Hardware: 2 CPU cores, 3 GB". Nothing is fetched, built or loaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routerlab.data.generated import GENERATED
from routerlab.data.hub import is_hub
from routerlab.doctor import Machine, answer_of
from routerlab.doctor_torch import Finding
from routerlab.errors import UserError, unknown
from routerlab.hub import cached
from routerlab.lalm.checkpoint import SHIPPED
from routerlab.tools.listing import missing, pip_line
from routerlab.tools.registry import find_tool

_AMOUNT = r"(\d+(?:\.\d+)?) GB"
_GPU = re.compile(rf"{_AMOUNT} (?:of )?GPU memory")
_MAIN = re.compile(rf"{_AMOUNT} (?:of )?(?:main )?memory")
_HARDWARE = re.compile(rf"Hardware:[^.]*?{_AMOUNT}(?! of)\b")


@dataclass(frozen=True)
class Needs:
    """What a recipe's opening comment declares, in GB; 0 where it says nothing."""

    memory: float = 0.0
    gpu: float = 0.0

    def __str__(self) -> str:
        parts = [f"{self.gpu:g} GB of GPU memory"] if self.gpu else []
        parts += [f"{self.memory:g} GB of memory"] if self.memory else []
        return " and ".join(parts)


def declared(text: str) -> Needs:
    """The memory that a recipe's opening comment names; the largest, where it names several.

    >>> declared("# Hardware: 2 CPU cores, 3 GB. The first run")
    Needs(memory=3.0, gpu=0.0)
    >>> declared("# 26 GB of GPU memory, then 13 GB of\\n# GPU memory; 15 GB of main memory")
    Needs(memory=15.0, gpu=26.0)
    """
    head = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        head.append(line.lstrip("# "))
    words = " ".join(head)
    gpu = [float(found) for found in _GPU.findall(words)]
    main = [float(found) for found in (_MAIN.findall(words) or _HARDWARE.findall(words))]
    return Needs(max(main, default=0.0), max(gpu, default=0.0))


def fit(name: str, recipe: Mapping[str, Any], text: str, machine: Machine) -> Finding:
    """Whether the machine can run a recipe as it stands: "ok", or "fail" with all that lacks.

    Args:
        recipe: as YAML reads it.
        text: the file's own, with its opening comment.
    """
    needs = declared(text)
    lacks = list(_lacks(recipe, needs, machine))
    if not lacks:
        said = f"needs {needs}" if str(needs) else "no memory declared"
        return Finding(name, "ok", f"fits: {said}{_tight(needs, machine)}")
    todo = "\n".join(dict.fromkeys(what for _, what in lacks if what))
    return Finding(name, "fail", "; ".join(dict.fromkeys(why for why, _ in lacks)), todo)


def _lacks(recipe: Mapping[str, Any], needs: Needs, machine: Machine) -> Iterator[tuple[str, str]]:
    """(what lacks, what to do) of a recipe on a machine."""
    if machine.fails:
        yield f"wants what fails above: {', '.join(machine.fails)}", ""
    yield from _memory(needs, machine)
    yield from _weights(recipe)
    yield from _tools(recipe)
    yield from _data(recipe)
    yield from _servers(recipe)


def _memory(needs: Needs, machine: Machine) -> Iterator[tuple[str, str]]:
    _, total = machine.memory_gb
    if needs.memory > total:
        yield f"needs {needs.memory:g} GB of memory, this machine has {total:.1f}", ""
    largest = max((gpu["total_gb"] for gpu in machine.gpus), default=0.0)
    if needs.gpu > largest:
        here = f"the largest here has {largest:.0f}" if machine.gpus else "no GPU is here"
        yield f"needs {needs.gpu:g} GB of GPU memory, {here}", ""


def _tight(needs: Needs, machine: Machine) -> str:
    """A word on memory that is there, but taken."""
    free, _ = machine.memory_gb
    gpu = max((g["free_gb"] for g in machine.gpus), default=0.0)
    taken = [f"{free:.1f} GB of memory"] if needs.memory > free else []
    taken += [f"{gpu:.1f} GB of GPU memory"] if needs.gpu > gpu else []
    return f", but only {' and '.join(taken)} free now" if taken else ""


def _weights(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for node in _nodes(recipe):
        name, revision = node.get("lalm"), node.get("revision")
        # An interpolation names a setting that is looked at where it stands.
        if not isinstance(name, str) or name in SHIPPED or name.startswith("${"):
            continue
        if Path(name).is_dir():
            continue
        if name.startswith((".", "/", "~")) or name.count("/") != 1:
            yield f"no folder {name}", ""
        elif cached(name, revision) is None:
            pinned = f" --revision {revision}" if revision else ""
            yield f"no weights of {name} here", f"hf download {name}{pinned}"


def _tools(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for node in _nodes(recipe):
        for entry in node.get("tools") or ():
            name = entry.get("tool", entry.get("name")) if isinstance(entry, Mapping) else entry
            if isinstance(entry, Mapping) and "class_path" in entry:
                continue  # a user's own: `routerlab tools check` looks at it
            try:
                lacking = missing(find_tool(str(name)).card.needs)
            except UserError as error:
                yield str(error), ""
                continue
            if lacking:
                yield f"the tool {name} needs {', '.join(lacking)}", pip_line(lacking)


def _data(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for node in _nodes(recipe):
        source = node.get("source")
        if not isinstance(source, str) or source in GENERATED:
            continue
        if is_hub(source):
            if missing(["routerlab[hub]"]):
                yield f"{source} needs routerlab[hub]", pip_line(["routerlab[hub]"])
        elif not Path(source).exists():
            yield (
                f"no questions at {source}",
                "get its questions: the recipe's opening comment says how",
            )


def _servers(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for node in _nodes(recipe):
        url, variable = node.get("base_url"), node.get("api_key_env")
        if isinstance(url, str):
            # Only now: it brings an HTTP client. What may be a key is not to be shown.
            from routerlab.reasoners.endpoint import address_problems

            wrong = [(line, "") for line in address_problems(url, str(variable or ""))]
            if wrong:
                yield from wrong
                continue
        if variable and not os.environ.get(str(variable)):
            yield f"the environment variable {variable} is not set", f"export {variable}=..."
        elif isinstance(url, str):
            key = os.environ.get(str(variable or ""), "")
            yield from _chat_server(url, key, str(node.get("model", "")))


def _chat_server(url: str, key: str, model: str) -> Iterator[tuple[str, str]]:
    """What a chat server's own list of models shows to be wrong with a recipe."""
    found = answer_of(f"{url.rstrip('/')}/models", key)
    if isinstance(found, str):
        yield f"the server {url} does not answer ({found})", "start the server: docs/endpoint.md"
        return
    status, said = found
    if status in (401, 403):
        yield f"the server {url} refuses the key ({status})", "set the variable of api_key_env"
    elif status == 404:
        yield f"{url}/models is not there", "let base_url end where the version does: .../v1"
    listed = said.get("data") if isinstance(said, dict) else None
    names = [str(each.get("id")) for each in listed or () if isinstance(each, dict)]
    if names and model and model not in names:
        yield unknown(f"the server {url}: no model", model, names), "set model to one of these"


def _nodes(tree: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping of a recipe, at any depth."""
    if isinstance(tree, Mapping):
        yield tree
    for value in tree.values() if isinstance(tree, Mapping) else tree:
        if isinstance(value, Mapping | list):
            yield from _nodes(value)
