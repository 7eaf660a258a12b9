"""Any program that reads a WAV file and prints JSON, as a tool: with an environment of its own.

It stops at one call: the program is started for every clip, so one that loads for seconds is better
written as a class.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from routerlab.errors import ToolError, UserError
from routerlab.tools import processes
from routerlab.tools.base import MAX_TEXT, Tool, listed
from routerlab.trust import TrustedImports
from routerlab.types import Clip, ToolCard

MAX_OUTPUT = 2**20
"""Most bytes that a program may print: its values are small, anything more is a flood."""

_KINDS = {"float": float, "int": int, "str": str, "bool": bool, "list": list, "dict": dict}
_SUBTYPES = {"pcm16": "PCM_16", "float32": "FLOAT"}
_TICK_S = 0.02


class Command(Tool):
    """A program run on each clip. It prints one JSON object, the values, and exits with 0.

    Args:
        argv: the program and its arguments, no shell; `{wav}` is the clip's file, mono WAV,
            `{choices}` the question's options as a JSON list. The program must be trusted:
            `--trust ./its/bin/python`.
        schema: key -> "float", "int", "str", "bool", "list" or "dict"; "float?" may be null.
        measures: for the card, as are `unit` and `stops_at`.
        encoding: samples of the file: `pcm16` (read everywhere, cut at ±1), or `float32`.
        timeout_s: limit of one run; then it is ended with its children.
        revision: change it when the program gives other values than before; a file among `argv` is
            watched anyway.
    """

    card = ToolCard(
        name="command",
        measures="whatever a program of yours prints as JSON for a WAV file",
        unit="as its recipe says",
        stops_at="where the program does; it is started anew for every clip",
    )
    schema: ClassVar = {}
    revision = 3
    tells_settings = False

    def __init__(
        self,
        argv: Sequence[str] = (),
        schema: Mapping[str, str] | None = None,
        measures: str = "",
        unit: str = "",
        stops_at: str = "not said by its author",
        encoding: Literal["pcm16", "float32"] = "pcm16",
        timeout_s: float = 15.0,
        revision: str = "",
    ) -> None:
        if encoding not in _SUBTYPES:
            raise ValueError(f"encoding {encoding!r}; allowed: {', '.join(_SUBTYPES)}")
        if isinstance(argv, str) or not any("{wav}" in word for word in argv):
            raise ValueError("argv must be a list of words, one with {wav}: [./tool, '{wav}']")
        if not schema or not measures:
            raise ValueError("give schema ({tempo_bpm: float}) and measures (what it measures)")
        self._argv = [str(word) for word in argv]
        self._subtype = _SUBTYPES[encoding]
        self._timeout_s = timeout_s
        self.schema = {key: _kind(key, word) for key, word in schema.items()}  # type: ignore[misc]
        sees = any("{choices}" in word for word in argv)
        unit = unit or ", ".join(schema)
        self.card = ToolCard("command", measures, unit, stops_at, sees_choices=sees)  # type: ignore[misc]

    def bind(self, trust: TrustedImports) -> None:
        """Find the program; UserError if it is not there or not trusted."""
        found = shutil.which(self._argv[0])
        if found is None:
            raise UserError(f"tools: command: there is no program {self._argv[0]!r} to run.")
        trust.demand_program(found)

    def run(self, clip: Clip, choices: Sequence[str] = ()) -> dict[str, Any]:
        """Write the clip, run the program, read what it printed."""
        import soundfile

        with tempfile.TemporaryDirectory(prefix="routerlab-") as folder:
            wav = Path(folder, "clip.wav")
            soundfile.write(wav, clip.samples, clip.sample_rate, subtype=self._subtype)
            words = {"{wav}": str(wav), "{choices}": json.dumps(list(choices))}
            argv = [_filled(word, words) for word in self._argv]
            printed = _printed(argv, Path(folder), self._timeout_s)
        try:
            values = json.loads(printed)
        except ValueError as err:
            raise ToolError("schema", f"{self.name}: printed no JSON: {printed[:80]!r}") from err
        return values  # type: ignore[no-any-return]

    def describe(self, values: Mapping[str, Any]) -> str:
        """What is measured, then the values: every program's card has the same name."""
        return f"{self.card.measures}: {listed(values)}"[:MAX_TEXT]

    @property
    def version(self) -> str:
        """The settings, and a hash of each file among `argv` but the program itself."""
        marks = [_file_mark(word) for word in self._argv[1:]]
        return " ".join([super().version, *(mark for mark in marks if mark)])


def _kind(key: str, word: str) -> Any:
    if word.rstrip("?") not in _KINDS:
        raise ValueError(f"schema: {key} is {word!r}; allowed: {', '.join(_KINDS)}, each with ?")
    kind = _KINDS[word.rstrip("?")]
    return (kind, type(None)) if word.endswith("?") else kind


def _filled(word: str, words: Mapping[str, str]) -> str:
    for mark, value in words.items():
        word = word.replace(mark, value)
    return word


def _file_mark(word: str) -> str:
    try:
        return hashlib.sha256(Path(word).read_bytes()).hexdigest()[:12]
    except (OSError, ValueError):
        return ""


def _printed(argv: Sequence[str], folder: Path, timeout_s: float) -> str:
    """What the program wrote to its output; a ToolError if it does not end well."""
    out, log = folder / "out", folder / "log"
    # Children inherit the mark, so they are found even in a session of their own.
    mark = f"{os.environ.get(processes.MARK, '')}{secrets.token_hex(8)}."
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    env = {key: value for key, value in os.environ.items() if key not in hidden}
    with out.open("wb") as stdout, log.open("wb") as stderr:
        try:
            process = subprocess.Popen(
                argv,
                env={**env, processes.MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        except OSError as err:
            raise ToolError("exception", f"cannot start {argv[0]}: {err.strerror}") from err
        problem = ToolError("crash", "interrupted")
        try:
            problem = _awaited(process, (out, log), timeout_s)  # type: ignore[assignment]
        finally:
            # An orderly program is its own group and no more; only others are worth a search.
            if problem is None:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
            else:
                processes.end(mark, process)
    if problem is not None:
        raise problem
    if process.returncode:
        how = processes.death_note(process)
        said = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise ToolError("exception", f"{Path(argv[0]).name} ended with {how}: {said[0][:300]}")
    return out.read_text(encoding="utf-8", errors="replace")


def _awaited(
    process: subprocess.Popen[bytes], files: Sequence[Path], timeout_s: float
) -> ToolError | None:
    """Wait for the end, watching time and what is printed."""
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_TICK_S)
        if any(file.stat().st_size > MAX_OUTPUT for file in files):
            return ToolError("schema", f"printed more than {MAX_OUTPUT} bytes")
        if process.returncode is not None:
            return None
        if time.monotonic() > deadline:
            return ToolError("timeout", f"no answer within {timeout_s:g} s")
