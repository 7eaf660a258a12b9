"""What a tool is: a card, a `run` from clip to values, a short text. One subclass, one file.

It stops at one call in this process: names and lookup are in `registry`, time and memory limits in
`isolation`, the conformance test for authors in `check`.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from routerlab import __version__
from routerlab.errors import ToolError, UserError
from routerlab.tools import compiled
from routerlab.trust import TrustedImports
from routerlab.types import Clip, Observation, ToolCard

MAX_TEXT = 400
"""Most characters of a tool's text: it is data for a prompt, not an essay."""

MAX_VALUES = 100_000
"""Most characters of a tool's values as JSON."""


class Tool(ABC):
    """Measures something of a clip.

    A subclass sets `card` and `schema`, and writes `run`. `describe` may be written for a nicer
    text, `setup` for weights or tables (called once, before the first run, outside any limit).
    A tool whose card says `sees_choices` writes `run(self, clip, choices)`; one whose model profits
    from batches sets `batch_size` and writes `run_many`. Keyword arguments of `__init__` are the
    tool's settings, captured for the version.

    Attributes:
        card: what it measures and where it stops.
        schema: key -> type (or tuple of types) of every value that `run` returns. An int passes
            for a float; add `type(None)` where "not found" is a possible value.
        revision: raise it when the same clip may give other values than before.
        tells_settings: whether an instance's card repeats the settings that its recipe gives.
        batch_size: most clips given to `run_many` at once; 1 where a batch does not pay.
        needs_torch: whether its process loads torch; a tool that is no model should not.
        name: the action's name; the card's unless a recipe names the instance.
        settings: what `__init__` was given, defaults included.
    """

    card: ClassVar[ToolCard]
    schema: ClassVar[Mapping[str, Any]] = {}
    revision: ClassVar[int] = 0
    batch_size: int = 1
    tells_settings: ClassVar[bool] = True
    needs_torch: ClassVar[bool] = False

    name: str
    settings: dict[str, Any]
    _ready: bool

    def __new__(cls, *args: Any, **kwargs: Any) -> Tool:  # noqa: D102 - captures the settings
        if not isinstance(getattr(cls, "card", None), ToolCard):
            raise UserError(
                f"tools: {cls.__name__} has no card. Add `card = ToolCard(name=..., "
                "measures=..., unit=..., stops_at=...)` to the class."
            )
        tool = super().__new__(cls)
        tool.name = cls.card.name
        tool.settings = _settings(cls, args, kwargs)
        tool._ready = False
        return tool

    @abstractmethod
    def run(self, clip: Clip, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Values of one clip, with the keys of `schema`; None where something was not found.

        Write it as `run(self, clip)`, or, where the card says `sees_choices`, as
        `run(self, clip, choices)` with the question's options (tuple of str, their own order).
        """

    def run_many(
        self, clips: Sequence[Clip], choices: Sequence[tuple[str, ...]] = ()
    ) -> list[dict[str, Any]]:
        """Values of several clips, in their order. Override it where a model profits from a batch.

        Args:
            choices: one tuple a clip for a tool that sees them; () for any other.
        """
        if self.card.sees_choices:
            return [self.run(*pair) for pair in zip(clips, choices, strict=True)]
        return [self.run(clip) for clip in clips]

    def describe(self, values: Mapping[str, Any]) -> str:
        """What the reasoner reads: at most 400 characters, with units."""
        return f"{self.card.name}: {listed(values)}"[:MAX_TEXT]

    def bind(self, trust: TrustedImports) -> None:  # noqa: B027 - optional for a subclass
        """Find the code that the settings name; UserError if it is not trusted."""

    def setup(self) -> None:  # noqa: B027 - optional for a subclass
        """Load what a call needs. Not counted in a call's time."""

    def prepare(self) -> None:
        """Call `setup` once, while no other process prepares tools."""
        if not self._ready:
            with compiled.alone():
                self.setup()
            self._ready = True

    @property
    def version(self) -> str:
        """Everything that changes a value: versions, settings, an outside tool's source."""
        settings = json.dumps(self.settings, sort_keys=True)
        kind = type(self)
        return (
            f"routerlab {__version__} {kind.__qualname__} r{self.revision}"
            f"{_source_mark(kind)} {settings}"
        )

    def __call__(self, clip: Clip, choices: Sequence[str] = ()) -> Observation:
        """Run, check against the schema, describe.

        Args:
            choices: the question's options; read only by a tool whose card says `sees_choices`.

        Raises:
            ToolError: kind "exception" or "memory" if `run` raised, "schema" if its values or its
                text are not what was declared, "refused" if it was not given what it needs.
        """
        self.prepare()
        start = time.perf_counter()
        given = (clip, self._seen(choices)) if self.card.sees_choices else (clip,)
        with self._typed_errors():
            values = plain(self.run(*given))
        return self._observed(values, time.perf_counter() - start)

    def call_many(
        self, clips: Sequence[Clip], choices: Sequence[Sequence[str]] = ()
    ) -> list[Observation]:
        """Observations of several clips by one `run_many`; their time is shared evenly.

        Raises:
            ToolError: as `__call__`, for the whole batch: which clip is to blame is not known.
        """
        self.prepare()
        start = time.perf_counter()
        given = [self._seen(c) for c in choices] if self.card.sees_choices else []
        with self._typed_errors():
            rows = [plain(values) for values in self.run_many(clips, given)]
        if len(rows) != len(clips):
            raise ToolError("schema", f"{self.name}: {len(rows)} results of {len(clips)} clips")
        each = (time.perf_counter() - start) / max(len(clips), 1)
        return [self._observed(values, each) for values in rows]

    def _seen(self, choices: Sequence[str]) -> tuple[str, ...]:
        if not choices:
            raise ToolError("refused", f"{self.name} needs the question's choices; none were given")
        return tuple(choices)

    def _observed(self, values: Any, seconds: float) -> Observation:
        self._check(values)
        with self._typed_errors():
            text = self.describe(values)
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            raise ToolError("schema", f"{self.name}: describe() gave no str of <= {MAX_TEXT} chars")
        return Observation(self.name, values, text, self.version, seconds=seconds)

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        try:
            yield
        except ToolError:
            raise
        except MemoryError as err:
            raise ToolError("memory", f"{self.name} ran out of memory") from err
        except Exception as err:
            raise ToolError("exception", f"{self.name}: {type(err).__name__}: {err}") from err

    def _check(self, values: Any) -> None:
        problems = schema_problems(values, self.schema)
        if problems:
            raise ToolError("schema", f"{self.name}: {'; '.join(problems)}")


def schema_problems(values: Any, schema: Mapping[str, Any]) -> list[str]:
    """What is wrong with values, one phrase a key; empty when they are as declared.

    >>> schema_problems({"count": 2.5}, {"count": int, "times_s": list})
    ["'times_s' is missing", "'count' is float, declared int"]
    """
    if not isinstance(values, dict):
        return [f"run() returned {type(values).__name__}, not a dict"]
    problems = [f"{key!r} is missing" for key in schema if key not in values]
    for key, value in values.items():
        if key not in schema:
            problems.append(f"{key!r} is not in the schema")
        elif not _fits(value, schema[key]):
            problems.append(f"{key!r} is {type(value).__name__}, declared {_kinds(schema[key])}")
    if problems:
        return problems
    return _json_problems(values)


def plain(value: Any) -> Any:
    """The same values without NumPy's types or tuples, as JSON would give them back.

    >>> plain({"f0_hz": np.float32(440), "times_s": np.array([1.0])})
    {'f0_hz': 440.0, 'times_s': [1.0]}
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _json_problems(values: dict[str, Any]) -> list[str]:
    try:
        written = json.dumps(values, allow_nan=False)
    except ValueError:
        return [f"{key!r} is not finite" for key, value in values.items() if not _finite(value)]
    except TypeError as err:
        return [f"values are not JSON: {err}"]
    if len(written) > MAX_VALUES:
        return [f"values take {len(written)} characters; at most {MAX_VALUES} are kept"]
    return []


def _fits(value: Any, declared: Any) -> bool:
    kinds = declared if isinstance(declared, tuple) else (declared,)
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int) and float in kinds:
        return True
    return isinstance(value, kinds)


def _kinds(declared: Any) -> str:
    kinds = declared if isinstance(declared, tuple) else (declared,)
    return " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(_finite(item) for item in value.values())
    if isinstance(value, list):
        return all(_finite(item) for item in value)
    return True


def listed(values: Mapping[str, Any]) -> str:
    """Values as text: "f0_hz 440; count 2"."""
    return "; ".join(f"{key} {_short(value)}" for key, value in values.items())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " ".join(_short(item) for item in value[:12])
    return "not found" if value is None else str(value)


def _settings(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    signature = (
        inspect.Signature()
        if cls.__init__ is object.__init__  # type: ignore[misc]
        else inspect.signature(cls.__init__.__get__(object()))  # type: ignore[misc]
    )
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def _source_mark(cls: type) -> str:
    """For a class from outside the package: a hash of its file: an edit is a new version."""
    if cls.__module__.split(".")[0] == "routerlab":
        return ""
    try:
        source = inspect.getsourcefile(cls)
        with open(source or "", "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()[:12]
    except (OSError, TypeError):
        return f" {cls.__module__}"
    return f" {cls.__module__} {digest}"
