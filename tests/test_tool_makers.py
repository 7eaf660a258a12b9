"""Tools made of a plain function and of any program: cards, checks, trust, limits."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_world import Scripted

from routerlab.audio import load_clip, make_clip
from routerlab.cli import main
from routerlab.data.toolbox import tool_problems, tool_spec
from routerlab.errors import ProblemList, ToolError, UserError
from routerlab.oracle.cache import Cache
from routerlab.oracle.oracle import Oracle
from routerlab.tools import check_tool, processes
from routerlab.tools.isolation import ToolPool
from routerlab.tools.specs import build_tool
from routerlab.trust import TrustedImports
from routerlab.types import Question

CLIP = make_clip(0.5 * np.sin(np.arange(8000) / 5), 16_000)

FUNCTIONS = '''
from dataclasses import dataclass
from typing import TypedDict

import numpy as np


def crossings_hz(samples: np.ndarray, sample_rate: int, scale: float = 1.0) -> float:
    """How often the wave crosses zero.

    Unit: crossings per second
    Stops at: not a pitch; overtones and noise add crossings
    """
    signs = samples > 0
    return scale * float((signs[1:] != signs[:-1]).sum()) * sample_rate / len(samples)


class Extremes(TypedDict):
    low: float
    high: float | None


def extremes(clip) -> Extremes:
    """The smallest and the largest sample."""
    return {"low": clip.samples.min(), "high": None}


@dataclass
class Pick:
    pick: str


def picks(clip, choices) -> Pick:
    """An option by level."""
    return Pick(choices[0])


def silent(clip) -> float:
    return 0.0


def untyped(clip):
    """No annotation."""


def bare(clip) -> dict:
    """No keys."""
    return {}


def deaf(question: str) -> float:
    """No clip."""
    return 0.0


def needy(clip, threshold: float) -> float:
    """A setting without a value."""
    return threshold


def liar(clip) -> int:
    """Says int, gives a float."""
    return 0.5
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("functions") / "functions_of_a_test.py"
    path.write_text(FUNCTIONS)
    return str(path)


def function(file: str, name: str, **arguments: Any) -> Any:
    entry = {"function": f"{file}:{name}"} | ({"arguments": arguments} if arguments else {})
    spec = tool_spec({"name": "mine", "tool": "function", "settings": entry})
    return build_tool(spec, TrustedImports([file]))


def test_a_docstring_and_an_annotation_are_a_card_and_a_schema(file: str) -> None:
    tool = function(file, "crossings_hz")
    assert tool.card.measures == "how often the wave crosses zero"
    assert tool.card.unit == "crossings per second"
    assert tool.card.stops_at == "not a pitch; overtones and noise add crossings"
    assert tool.schema == {"crossings_hz": float}
    assert tool(CLIP).values["crossings_hz"] == pytest.approx(16_000 / (5 * np.pi), rel=0.01)
    assert function(file, "crossings_hz", scale=2.0)(CLIP).values["crossings_hz"] > 2000
    assert check_tool(tool) == []


def test_records_of_values_and_choices(file: str) -> None:
    assert function(file, "extremes").schema == {"low": float, "high": (float, type(None))}
    assert function(file, "extremes")(CLIP).values["high"] is None
    picks = function(file, "picks")
    assert picks.card.sees_choices
    assert picks(CLIP, ("cat", "dog")).values == {"pick": "cat"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("silent", "has no docstring"),
        ("untyped", "Allowed: float"),
        ("bare", "TypedDict"),
        ("deaf", "neither `clip` nor"),
        ("needy", "'threshold' has no value"),
        ("absent", "has no function 'absent'"),
    ],
)
def test_what_a_function_lacks_is_said_in_one_line(file: str, name: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        function(file, name)
    assert "\n" not in str(caught.value)


def test_a_functions_output_is_held_to_its_annotation(file: str) -> None:
    with pytest.raises(ToolError, match="is float, declared int"):
        function(file, "liar")(CLIP)


def test_a_function_is_not_imported_unless_trusted(tmp_path: Path) -> None:
    path = tmp_path / "evil_function_of_a_test.py"
    path.write_text("raise SystemExit('imported')\n")
    entry = {"name": "mine", "tool": "function", "settings": {"function": f"{path}:run"}}
    with pytest.raises(UserError, match="not trusted and was not imported"):
        build_tool(tool_spec(entry), TrustedImports())
    dotted = {"function": "subprocess.run"}
    with pytest.raises(UserError, match="not trusted"):
        build_tool(tool_spec({**entry, "settings": dotted}), TrustedImports())


def test_a_functions_version_follows_its_file_and_arguments(tmp_path: Path) -> None:
    versions = []
    for name, body in (("one", FUNCTIONS), ("two", FUNCTIONS + "\n# changed\n")):
        (tmp_path / name).mkdir()
        path = tmp_path / name / f"versioned_{name}_of_a_test.py"
        path.write_text(body)
        versions += [function(str(path), "extremes").version]
    assert versions[0].split()[-2] != versions[1].split()[-2]
    assert str(tmp_path) not in versions[0]


def test_the_command_line_runs_a_function(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import soundfile

    wav = str(tmp_path / "a.wav")
    soundfile.write(wav, CLIP.samples, 16_000)
    assert main(["tools", "run", "function", wav, f"function={file}:extremes"]) == 0
    assert "low" in capsys.readouterr().out
    words = ["tools", "run", "function", wav, f"function={file}:picks"]
    assert main([*words, "--choice", "cat", "--choice", "dog"]) == 0
    assert "cat" in capsys.readouterr().out


# -- programs -------------------------------------------------------------------------------------

PROGRAM = """
import json, os, subprocess, sys, time, wave

what = sys.argv[2] if len(sys.argv) > 2 else ""
if what == "hang":
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    time.sleep(600)
if what == "flood":
    while True:
        print("x" * 10_000)
if what == "fail":
    sys.exit("no such model")
if what == "words":
    print("hello")
elif what == "child":
    subprocess.Popen(["sleep", "600"])
    print(json.dumps({"bytes": 1, "prefix": None}))
elif what == "wave":
    with wave.open(sys.argv[1]) as sound:
        print(json.dumps({"bytes": sound.getsampwidth() * sound.getnframes(), "prefix": None}))
else:
    print(json.dumps({"bytes": os.path.getsize(sys.argv[1]), "prefix": sys.prefix}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(python of an environment of its own, a program for it)."""
    folder = tmp_path_factory.mktemp("own")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    program = folder / "program_of_a_test.py"
    program.write_text(PROGRAM)
    return str(folder / "venv" / "bin" / "python"), str(program)


def entry(environment: tuple[str, str], *words: str, **settings: Any) -> dict[str, Any]:
    schema = {"bytes": "int", "prefix": "str?"}
    given = {"argv": [*environment, "{wav}", *words], "schema": schema, "measures": "its size"}
    return {"name": "size", "tool": "command", "settings": {**given, **settings}}


def command(environment: tuple[str, str], *words: str, **settings: Any) -> Any:
    spec = tool_spec(entry(environment, *words, **settings))
    return build_tool(spec, TrustedImports([environment[0]]))


def test_a_program_of_another_environment_serves_a_whole_table(
    environment: tuple[str, str], tmp_path: Path
) -> None:
    import soundfile

    wav = str(tmp_path / "a.wav")
    soundfile.write(wav, CLIP.samples, 16_000)
    questions = [Question(f"q{i}", wav, "How many?", ("1", "2"), "1") for i in range(3)]
    assert tool_problems([entry(environment), "segments"], [environment[0]]) == []
    specs = [tool_spec(entry(environment)), tool_spec("segments")]
    with ToolPool(specs, trusted=[environment[0]], workers=1) as pool:
        load = lambda question: load_clip(question.audio)  # noqa: E731
        oracle = Oracle(pool, Scripted(), Cache(tmp_path / "cache"), load)
        table = oracle.fill(questions)
        oracle.cache.close()
        assert pool.calls == 2
    assert table.valid.all()
    seen = table.outcome(0, 1).observation
    assert seen is not None
    assert seen.text.startswith("its size: bytes ")
    assert Path(environment[0]).is_relative_to(seen.values["prefix"])
    assert sys.prefix != seen.values["prefix"]


@pytest.mark.parametrize(
    ("what", "kind", "said"),
    [
        ("hang", "timeout", "no answer within 1 s"),
        ("flood", "schema", "printed more than"),
        ("fail", "exception", "exit code 1: no such model"),
        ("words", "schema", "printed no JSON: 'hello"),
    ],
)
def test_a_program_that_misbehaves_is_a_typed_error(
    environment: tuple[str, str], what: str, kind: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = f"command-test-{what}."
    monkeypatch.setenv(processes.MARK, mark)
    tool = command(environment, what, timeout_s=1.0 if what == "hang" else 30.0)
    with pytest.raises(ToolError, match=said) as caught:
        tool(CLIP)
    assert caught.value.kind == kind
    assert not list(processes.marked(mark)), "it left children"


def test_a_child_that_outlives_a_good_program_is_ended(
    environment: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(processes.MARK, "command-test-child.")
    assert command(environment, "child")(CLIP).values["bytes"] == 1
    end = time.monotonic() + 10.0
    while list(processes.marked("command-test-child.")):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_a_program_prints_is_held_to_its_schema(environment: tuple[str, str]) -> None:
    with pytest.raises(ToolError, match="'prefix' is str, declared int"):
        command(environment, schema={"bytes": "int", "prefix": "int"})(CLIP)


def test_a_program_is_not_run_unless_trusted(environment: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="is not trusted and was not run"):
        ToolPool([tool_spec(entry(environment))])
    with pytest.raises(ProblemList, match="no such program"):
        TrustedImports(["./there/is/none"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"argv": ["x"]}, "one with {wav}"),
        ({"argv": ["no-such-program", "{wav}"]}, "there is no program"),
        ({"schema": {"a": "number"}}, "allowed: float"),
        ({"schema": {}}, "give schema"),
        ({"encoding": "mp3"}, "allowed: pcm16, float32"),
    ],
)
def test_mistakes_of_a_command_are_told(
    environment: tuple[str, str], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        command(environment, **settings)


def test_the_standard_library_reads_the_file(environment: tuple[str, str]) -> None:
    tool = command(environment, "wave")
    assert tool(CLIP).values["bytes"] == 2 * len(CLIP.samples)
    wide = command(environment, encoding="float32")(CLIP).values["bytes"]
    assert wide > 4 * len(CLIP.samples)


def test_an_edited_program_is_a_new_version(environment: tuple[str, str], tmp_path: Path) -> None:
    before = command(environment).version
    Path(environment[1]).write_text(PROGRAM + "\n# changed\n")
    assert command(environment).version != before


def test_the_real_command_line_runs_a_program(environment: tuple[str, str], tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", CLIP.samples, 16_000)
    words = [f"{key}={json.dumps(value)}" for key, value in entry(environment)["settings"].items()]
    ran = subprocess.run(
        [sys.executable, "-m", "routerlab.cli", "tools", "run", "command", "a.wav", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert '"bytes"' in ran.stdout
