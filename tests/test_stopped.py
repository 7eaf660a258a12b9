"""Ctrl-C ends any command with one line that says how to go on, exit code 130, and nothing left.

Real processes, interrupted at marks in what they leave; a terminal sends the signal to all of a
job, so it is sent to the group.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from small_run import family, none_left, recipe, said, start
from test_killed import facts
from test_lightning_cli import MODULES, RECIPE
from warm import ended

from routerlab.commands.runs import Run, new_run
from routerlab.commands.stopping import Stopped, farewell

PATIENCE_S = 120.0

TYPED = """
import signal, sys
from routerlab.cli import main
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
    sys.exit(main())
"""


def wait_for(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.01)


def interrupted(home: Path, words: list[str], reached: Callable[[int], bool]) -> tuple[int, str]:
    """Type a command, press Ctrl-C when something is reached; exit code and stderr."""
    # A file, since Lightning starts other ranks by its name.
    (home / "typed.py").write_text(TYPED)
    process = subprocess.Popen(
        [sys.executable, "typed.py", *words],
        cwd=home,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: reached(process.pid) or process.poll() is not None)
    members = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert none_left(members), "a process outlived the command that started it"
    return process.returncode, err


def last_line(home: Path) -> str:
    return said(home).splitlines()[-1]


@pytest.mark.timeout(2 * PATIENCE_S)
def test_a_fit_is_stopped_in_its_survey_and_in_training_and_gone_on_with(tmp_path: Path) -> None:
    small, home = recipe(tmp_path), tmp_path / "home"
    endless = "trainer.max_epochs=100000"
    how = f"routerlab: stopped. Go on with: routerlab fit {small} {endless} --ckpt_path last"
    places: list[tuple[tuple[str, ...], Callable[[], bool]]] = [
        ((endless,), lambda: facts(home) > 0),
        ((endless, "--ckpt_path", "last"), lambda: len(list(home.rglob("*.ckpt"))) > 0),
        ((endless, "--ckpt_path=last"), lambda: said(home)[before:].count(" step ") > 1),
    ]
    for more, reached in places:
        before = len(said(home))
        process = start(small, home, *more)
        wait_for(lambda: reached() or process.exitcode is not None)  # noqa: B023
        members = family(process)
        os.killpg(process.pid, signal.SIGINT)
        assert ended(process, PATIENCE_S) == 130
        assert none_left(members)
        new = said(home)[before:]
        assert last_line(home) == how
        assert "Traceback" not in new
        assert json.loads((home / "runs/small/001/run.json").read_text())["status"] == "stopped"
    assert "going on with runs/small/001 from step" in new
    assert [p.name for p in (home / "runs/small").iterdir()] == ["001"]
    assert facts(home) > 0


def test_a_fit_stopped_while_it_imports_has_begun_nothing(tmp_path: Path) -> None:
    small = recipe(tmp_path)

    def importing(pid: int) -> bool:
        return psutil.Process(pid).memory_info().rss > 100 * 2**20

    code, err = interrupted(tmp_path, ["fit", str(small)], importing)
    expected = "routerlab: stopped before the run had begun. Run the same command again.\n"
    assert (code, err) == (130, expected)
    assert not (tmp_path / "runs").exists()


def test_workers_that_make_data_end_with_it_and_say_nothing(tmp_path: Path) -> None:
    words = ["data", "make", "synthaqa", "made", "--workers", "2", "--full"]

    def making(_: int) -> bool:
        return any((tmp_path / "made" / "audio").glob("*.wav"))

    code, err = interrupted(tmp_path, words, making)
    assert (code, err) == (130, "routerlab: stopped. Run the same command again: it begins anew.\n")


def test_workers_that_still_import_say_nothing(tmp_path: Path) -> None:
    words = ["data", "make", "synthaqa", "made", "--workers", "2", "--full"]

    def starting(pid: int) -> bool:
        return len(psutil.Process(pid).children()) == 3  # and the tracker of their semaphores

    code, err = interrupted(tmp_path, words, starting)
    assert (code, len(err.splitlines())) == (130, 1), err


@pytest.mark.timeout(2 * PATIENCE_S)
def test_of_two_ranks_the_first_speaks_and_ends_the_other(tmp_path: Path) -> None:
    (tmp_path / "cli_toys.py").write_text(MODULES)
    (tmp_path / "line.yaml").write_text(RECIPE)
    words = ["fit", "line.yaml", "trainer.devices=2", "trainer.strategy=ddp", "--trust"]
    words += ["./cli_toys.py", "trainer.max_epochs=100000"]

    def training(_: int) -> bool:
        return any(tmp_path.rglob("*.ckpt"))

    code, err = interrupted(tmp_path, words, training)
    assert code == 130
    ours = [line for line in err.splitlines() if not line.startswith("Initializing distributed")]
    assert len(ours) == 1, err
    assert ours[0].endswith("trainer.max_epochs=100000 --ckpt_path last")


# --- what is said -----------------------------------------------------------------------------


def test_only_what_is_true_of_a_command_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = "routerlab: stopped. What was answered is kept: run the same command again."
    assert farewell(["survey", "a.yaml"], KeyboardInterrupt()) == kept
    assert farewell(["predict"], KeyboardInterrupt()) == kept
    plain = "routerlab: stopped. Run the same command again."
    assert farewell(["compare", "a", "b"], KeyboardInterrupt()) == plain

    elsewhere = Run(tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    words = ["fit", "a.yaml", "trainer.default_root_dir=elsewhere"]
    told = "routerlab: stopped before its first checkpoint. Run the same command again."
    assert farewell(words, Stopped(elsewhere)) == told

    run = new_run("a", "fit")
    run.mark("stopped")
    going_on = "routerlab: stopped. Go on with: routerlab fit a.yaml --ckpt_path last"
    assert farewell(["fit", "a.yaml"], Stopped(run)) == going_on
