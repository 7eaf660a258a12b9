"""The torch-free half of the command line: words, recipes, run folders, the small commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from routerlab.cli import TRAINING, main
from routerlab.commands.arguments import sort_words
from routerlab.commands.explain import explain
from routerlab.commands.recipes import find_recipe, packaged_recipes, read_recipe
from routerlab.commands.runs import all_runs, begin, new_run, newest_trained, newest_unfinished
from routerlab.errors import UserError
from routerlab.tools import known_tools
from routerlab.tools.registry import LAZY


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


# --- what needs no torch --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["fit", "--help"], 0),
        (["tools", "list"], 0),
        (["fitt"], 2),
        (["fit"], 2),
        (["fit", "no_such_recipe"], 2),
        (["fit", "quickstart", "--ckpt_path", "last"], 2),
        (["test"], 2),
        (["tools", "run", "pitchh", "x.wav"], 2),
        (["data", "make"], 2),
        (["summary"], 2),
        (["ask", "--audio"], 2),
    ],
)
def test_answers_without_torch(words: list[str], code: int, tmp_path: Path) -> None:
    script = (
        "import sys; from routerlab.cli import main\n"
        "try: code = main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'torch', 'lightning', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code:
        assert len(done.stderr.strip().splitlines()) == 1
        assert not done.stdout


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--help")
    assert code == 0
    for name in ("fit", "test", "survey", "ask", "tools", "data", "summary", "--trust"):
        assert name in out


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "survy")
    assert code == 2
    assert "'survy'" in err
    assert "Did you mean 'survey'?" in err
    assert all(name in err for name in TRAINING)


# --- words ----------------------------------------------------------------------------------------


def test_words_become_options() -> None:
    given = "a.yaml b.yaml model.lr=1 x.y+=2 --seed_everything 3 --trust p ckpt_path=last"
    request = sort_words("fit", [*given.split(), "--print_config"])
    assert request.recipes == ["a.yaml", "b.yaml"]
    assert request.options == [
        *("--model.lr=1", "--x.y+=2", "--seed_everything", "3", "--print_config"),
    ]
    assert (request.trust, request.ckpt_path) == (["p"], "last")


def test_a_value_may_end_like_a_recipe() -> None:
    request = sort_words("fit", ["a.yaml", "data.source=b.yaml", "--config=c.yaml"])
    assert request.recipes == ["a.yaml", "c.yaml"]
    assert request.options == ["--data.source=b.yaml"]


def test_a_value_may_be_longer_than_any_file_name() -> None:
    assert sort_words("fit", [f"a.b={'x' * 5000}"]).options == [f"--a.b={'x' * 5000}"]
    with pytest.raises(UserError, match="no file or packaged recipe"):
        find_recipe("x" * 5000)


def test_a_missing_value_is_said() -> None:
    with pytest.raises(UserError, match="--trust: a value must follow"):
        sort_words("fit", ["a.yaml", "--trust"])


# --- recipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["{}", "{}.yaml", "recipes/{}.yaml"])
def test_packaged_recipes_are_found(given: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = packaged_recipes()[0]
    assert find_recipe(given.format(name)).stem == name


def test_a_local_recipe_comes_first(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    local = Path("recipes") / f"{packaged_recipes()[0]}.yaml"
    local.parent.mkdir()
    local.write_text("model: {}\n")
    assert find_recipe(str(local)) == local


def test_only_names_fall_back(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="Known:"):
        find_recipe(f"elsewhere/{packaged_recipes()[0]}.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: !!python/object/apply:os.system ['true']\n", "tag"),
        ("model: !mine {}\n", "tag"),
        ("model: {lr: 1, lr: 2}\n", "'lr' stands twice"),
        ("model:\n  key: ${oc.env:SECRET}\n", ":2: "),
        ("model: [\n", "not a readable YAML"),
        ("- model\n", "mapping"),
    ],
)
def test_odd_yaml_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_recipe(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_every_yaml_problem_at_once(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text("a: !x 1\nb: ${oc.env:K}\nc: 1\nc: 2\n")
    with pytest.raises(UserError) as caught:
        read_recipe(path)
    assert len(str(caught.value).splitlines()) == 3


def test_untrusted_class_is_not_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil_tools.py").write_text("raise SystemExit('imported')\n")
    Path("r.yaml").write_text("model: {class_path: evil_tools.M}\ndata: {class_path: os.system}\n")
    code, _, err = call(capsys, "fit", "r.yaml")
    assert code == 2
    assert "model.class_path" in err
    assert "data.class_path" in err
    assert "--trust evil_tools" in err
    assert "evil_tools" not in sys.modules


# --- runs -----------------------------------------------------------------------------------------


def finished(run, checkpoint: bytes | None = None):
    import zipfile

    run.recipe.write_text("model: {}\n")
    if checkpoint is not None:
        (run.folder / "last.ckpt").write_bytes(checkpoint)
    else:
        with zipfile.ZipFile(run.folder / "last.ckpt", "w") as archive:
            archive.writestr("data", "1")
    run.mark("finished")
    return run


def dead(run):
    """As a killed process leaves it: running, by a process that is no more."""
    run.mark("running", pid=2**22 + 1)
    return run


def test_runs_are_numbered_and_ordered(tmp_path: Path) -> None:
    made = [new_run(name, "fit", tmp_path) for name in ("a", "b", "a")]
    assert [str(r.folder.relative_to(tmp_path)) for r in made] == ["a/001", "b/001", "a/002"]
    assert all_runs(tmp_path) == made
    assert all_runs(tmp_path, "a") == [made[0], made[2]]


def test_newest_trained_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="First: routerlab fit RECIPE"):
        newest_trained(root=tmp_path)
    first = finished(new_run("a", "fit", tmp_path))
    finished(new_run("b", "fit", tmp_path), checkpoint=b"torn")
    assert newest_trained(root=tmp_path) == first
    second = finished(new_run("b", "fit", tmp_path))
    assert newest_trained(root=tmp_path) == second
    assert newest_trained("a", tmp_path) == first


def test_newest_unfinished_run(tmp_path: Path) -> None:
    finished(new_run("a", "fit", tmp_path))
    killed = dead(new_run("a", "fit", tmp_path))
    dead(new_run("a", "survey", tmp_path))
    new_run("a", "fit", tmp_path)  # under way: this very process
    assert newest_unfinished("a", tmp_path) == killed
    started = killed.started
    begin(killed.folder, "a", "fit")
    assert killed.started == started
    with pytest.raises(UserError, match="there is none"):
        newest_unfinished("a", tmp_path)


def test_an_early_failure_does_not_hide_a_run_that_has_trained(tmp_path: Path) -> None:
    trained = dead(finished(new_run("a", "fit", tmp_path)))
    failed = dead(new_run("a", "fit", tmp_path))
    assert newest_unfinished("a", tmp_path) == trained
    trained.mark("finished")
    assert newest_unfinished("a", tmp_path) == failed


def test_a_damaged_mark_is_no_crash(tmp_path: Path) -> None:
    run = new_run("a", "fit", tmp_path)
    (run.folder / "run.json").write_text('{"status": "run')
    assert run.state == {}
    assert not run.unfinished


# --- one line out of a report ---------------------------------------------------------------------


def test_an_unforeseen_report_stays_one_line() -> None:
    assert explain("something\n  quite different", [], lambda _: []) == "something quite different"


# --- the small commands ---------------------------------------------------------------------------


@pytest.fixture
def tone(tmp_path: Path) -> str:
    path = tmp_path / "tone.wav"
    wave_ = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((wave_ * 32767).astype("<i2").tobytes())
    return str(path)


def test_tools_list(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "tools", "list", "--json")
    cards = json.loads(out)
    assert [card["name"] for card in cards] == [*known_tools(), *LAZY]
    assert all(card["measures"] and card["unit"] and card["stops_at"] for card in cards)
    _, text, _ = call(capsys, "tools", "list")
    assert all(card["name"] in text for card in cards)


def test_tools_run(capsys: pytest.CaptureFixture[str], tone: str) -> None:
    code, out, _ = call(capsys, "tools", "run", "pitch", tone)
    assert code == 0
    text, _, values = out.partition("\n")
    assert "A4" in text
    assert json.loads(values)["f0_hz"] == pytest.approx(440, rel=0.01)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pitchh", "{tone}"], "Did you mean 'pitch'?"),
        (["pitch", "nowhere.wav"], "nowhere.wav"),
        (["pitch", "{tone}", "colour=red"], "colour"),
        (["pitch", "{tone}", "colour"], "key=value"),
    ],
)
def test_tools_run_mistakes(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tone: str
) -> None:
    code, _, err = call(capsys, "tools", "run", *(word.format(tone=tone) for word in words))
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1


OWN_TOOL = """
from routerlab import Tool, ToolCard

class Peak(Tool):
    card = ToolCard("peak", "the largest sample", "full scale", "clipping hides the true peak")
    schema = {"peak": float}

    def run(self, clip):
        return {"peak": float(abs(clip.samples).max())}

class Broken(Peak):
    def run(self, clip):
        return {"peek": 1}
"""


def test_own_tool_runs_and_is_checked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tone: str, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cli_own_tools.py").write_text(OWN_TOOL)
    code, out, _ = call(capsys, "tools", "run", "cli_own_tools.Peak", tone)
    assert code == 0
    assert "0.3" in out
    code, out, _ = call(capsys, "tools", "check", "cli_own_tools.Peak", "--trust", "cli_own_tools")
    assert code == 0, out
    code, out, _ = call(capsys, "tools", "check", "cli_own_tools.Broken")
    assert code == 1
    assert "peak" in out
    code, _, err = call(capsys, "tools", "check", "cli_own_tools.Nope")
    assert code == 2
    assert "Nope" in err


def test_data_make(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    sizes = ["--train", "3", "--val", "2", "--test", "4", "--ood", "0", "--seed", "5"]
    folder = tmp_path / "made"
    code, out, _ = call(capsys, "data", "make", "synthaqa", str(folder), *sizes)
    assert code == 0
    assert "train: 3 questions" in out
    rows = json.loads((folder / "test.json").read_text())
    assert len(rows) == 4
    assert (folder / rows[0]["audio_id"]).is_file()


def test_data_make_refuses_nonsense(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = call(capsys, "data", "make", "synthaqa", str(tmp_path), "--train", "-3")
    assert code == 2
    assert "-3" in err
    code, _, err = call(capsys, "data", "make", "synthaqa", str(tmp_path), "--train", "many")
    assert code == 2
    assert "many" in err


def test_summary_names_what_is_no_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = call(capsys, "summary", str(tmp_path), str(tmp_path / "b"))
    assert code == 2
    assert len(err.strip().splitlines()) == 2


def test_output_may_be_cut_off() -> None:
    command = f"{sys.executable} -m routerlab.cli tools list --json | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=os.environ)
    assert done.stdout.startswith("[")
    assert done.stderr == ""
