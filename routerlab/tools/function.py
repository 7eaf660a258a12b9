"""A plain typed function with a docstring as a tool: its card is what the docstring says.

It stops at functions of a clip: anything with weights, a nicer text or its own `setup` is a class
(`routerlab.tools.base`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from routerlab import __version__
from routerlab.errors import UserError
from routerlab.tools.base import Tool
from routerlab.trust import TrustedImports
from routerlab.types import Clip, ToolCard

_UNITS = {"hz": "Hz", "s": "seconds", "db": "dB", "bpm": "beats per minute", "count": "a count"}
_PLAIN = {float: "a number", int: "a count", str: "text", bool: "yes or no", list: "a list"}
_LINE = re.compile(r"^(Unit|Stops at|Needs|Licence):\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_SOUND: dict[str, Callable[[Clip], Any]] = {
    "clip": lambda clip: clip,
    "samples": lambda clip: clip.samples,
    "sample_rate": lambda clip: clip.sample_rate,
}


class Function(Tool):
    """A function of `clip`, or of `samples` and `sample_rate`, and of `choices` if it names them.

    Its return annotation is the schema: float, int, str, bool, list, each or None, or a TypedDict
    or dataclass of those. The docstring's first line is what it measures; lines
    `Unit:`, `Stops at:`, `Needs:` and `Licence:` fill the card's other fields.

    Args:
        function: "./my.py:name" of a trusted file, or "package.module.name" of a trusted package.
        arguments: values of the function's other parameters.
    """

    card = ToolCard(
        name="function",
        measures="whatever a plain typed Python function of yours returns",
        unit="as its docstring says",
        stops_at="where the function does",
    )
    schema: ClassVar = {}
    tells_settings = False

    def __init__(self, function: str = "", arguments: Mapping[str, Any] | None = None) -> None:
        if not function:
            raise ValueError("give function: ./my.py:name, or package.module.name")
        self._path = function
        self._arguments = dict(arguments or {})
        self._call: Callable[..., Any] | None = None

    def bind(self, trust: TrustedImports) -> None:
        """Import the function and read its card.

        Raises:
            UserError: not trusted, no such function, or an annotation or docstring is missing.
        """
        self._call = trust.resolve_function(self._path)
        try:
            schema, self._one = _schema(self._call)
            self._given = _parameters(self._call, self._arguments)
        except ValueError as err:
            raise UserError(f"tools: function {self._path}: {err}") from err
        self.schema = schema  # type: ignore[misc]
        self.card = _card(self._call, schema, self._path, "choices" in self._given)  # type: ignore[misc]

    def run(self, clip: Clip, choices: Sequence[str] = ()) -> dict[str, Any]:
        """What the function returns, as a dict."""
        if self._call is None:
            raise RuntimeError("bind() comes before run()")
        known = {key: pick(clip) for key, pick in _SOUND.items()} | {"choices": tuple(choices)}
        returned = self._call(**{key: known[key] for key in self._given}, **self._arguments)
        if self._one:
            return {self._one: returned}
        is_record = dataclasses.is_dataclass(returned) and not isinstance(returned, type)
        return dataclasses.asdict(returned) if is_record else returned

    @property
    def version(self) -> str:
        """The function's name, its file's hash and its arguments; not where the file lies."""
        if self._call is None:
            return super().version
        with open(inspect.getsourcefile(self._call) or "", "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()[:12]
        name = f"{self._call.__module__}.{self._call.__qualname__}"
        arguments = json.dumps(self._arguments, sort_keys=True)
        return f"routerlab {__version__} function {name} {digest} {arguments}"


def _schema(call: Callable[..., Any]) -> tuple[dict[str, Any], str]:
    """(schema, the one key of a plain value or "") of a return annotation."""
    hints = typing.get_type_hints(call)
    returned = hints.get("return")
    if typing.is_typeddict(returned) or dataclasses.is_dataclass(returned):
        fields = typing.get_type_hints(returned)
        return {key: _kinds(hint, key) for key, hint in fields.items()}, ""
    return {call.__name__: _kinds(returned, "the return value")}, call.__name__


def _kinds(hint: Any, what: str) -> Any:
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if typing.get_origin(hint) is typing.Union:
        parts = typing.get_args(hint)
    kinds = tuple(typing.get_origin(part) or part for part in parts)
    if not set(kinds) <= {*_PLAIN, dict, types.NoneType} or kinds in ((types.NoneType,), ()):
        raise ValueError(
            f"{what} is annotated {hint!r}. Allowed: float, int, str, bool, list, each also "
            "`| None`, or a TypedDict or dataclass of those."
        )
    if kinds == (dict,) and what == "the return value":
        raise ValueError("a bare dict does not say its keys. Return a TypedDict or a dataclass.")
    return kinds[0] if len(kinds) == 1 else kinds


def _parameters(call: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """The parameters that each call fills; the others need a default or an argument."""
    parameters = inspect.signature(call).parameters
    ours = tuple(key for key in parameters if key in (*_SOUND, "choices"))
    if not set(ours) & {"clip", "samples"}:
        raise ValueError("it takes neither `clip` nor `samples` (and `sample_rate`).")
    strange = sorted(set(arguments) - set(parameters) | set(arguments) & set(ours))
    if strange:
        raise ValueError(f"arguments: {strange[0]!r} is no setting of it.")
    empty = inspect.Parameter.empty
    lacking = [
        key
        for key, parameter in parameters.items()
        if key not in (*ours, *arguments) and parameter.default is empty
    ]
    if lacking:
        raise ValueError(f"its parameter {lacking[0]!r} has no value. Give it under `arguments`.")
    return ours


def _card(
    call: Callable[..., Any], schema: Mapping[str, Any], path: str, sees_choices: bool
) -> ToolCard:
    text = inspect.getdoc(call) or ""
    if not text.strip():
        raise UserError(
            f"tools: function {path} has no docstring. Its first line is what the router reads: "
            "write what it measures, and lines `Unit: …` and `Stops at: …`."
        )
    said = {key.lower(): value for key, value in _LINE.findall(text)}
    measures = text.split("\n\n")[0].splitlines()[0].strip().rstrip(".")
    return ToolCard(
        name=call.__name__,
        measures=measures[:1].lower() + measures[1:],
        unit=said.get("unit") or _unit(schema),
        stops_at=said.get("stops at", "not said by its author"),
        sees_choices=sees_choices,
        needs=tuple(re.split(r",\s*", said["needs"])) if "needs" in said else (),
        licence=said.get("licence", ""),
    )


def _unit(schema: Mapping[str, Any]) -> str:
    """From the first key's ending (`f0_hz`), or else its type."""
    key, kinds = next(iter(schema.items()))
    first = kinds[0] if isinstance(kinds, tuple) else kinds
    return _UNITS.get(key.rpartition("_")[2]) or _PLAIN.get(first, "values")
