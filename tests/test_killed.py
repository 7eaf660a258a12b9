"""A fit killed in its survey, its training or its test and gone on with ends as an unbroken one.

Done as a user does it: the command line in processes of their own, ended by SIGKILL at marks in
the run's own files. The unbroken run is typed; the others are forked with the imports done, so
that nearly all of their time is the run's. The suite kills once in each place;
`ROUTERLAB_KILLS=20 python -m pytest -s tests/test_killed.py` kills twenty times and prints where.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_run import kill, recipe, said, start, typed
from warm import ended

KILLS = int(os.environ.get("ROUTERLAB_KILLS", "3"))
PLACES = ("survey", "train", "test")
ROUND = 6
"""Kills that one run has to survive, at most."""

PATIENCE_S = 240.0


def end_state(home: Path) -> dict[str, Any]:
    """All that a finished run left, but what it cost."""
    (folder,) = (home / "runs" / "small").iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    newest = max(folder.rglob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    checkpoint = torch.load(newest, weights_only=True)
    results = json.loads((folder / "results.json").read_text())
    kept = {
        "steps": checkpoint["global_step"],
        "weights": checkpoint["state_dict"],
        "optimizer": checkpoint["optimizer_states"][0]["state"],
        "results": {
            k: v for k, v in results.items() if k not in ("seconds", "counters", "peak_rss_mb")
        },
        "predictions": (folder / "predictions.jsonl").read_bytes(),
        "centre": json.loads((folder / "adapters/last/router.json").read_text())["centre"],
    }
    for name in ("best", "last"):
        kept[name] = load_file(folder / "adapters" / name / "adapter_model.safetensors")
    return kept


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return bool(one == other)


# --- marks ------------------------------------------------------------------------------------


def facts(home: Path) -> int:
    """Rows that the survey has committed."""
    path = home / "runs/cache/facts.sqlite"
    if not path.is_file():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as link:
        try:
            (count,) = link.execute("SELECT count(*) FROM facts").fetchone()
        except sqlite3.OperationalError:  # not filled yet
            return 0
    return int(count)


def mark(place: str, home: Path, draw: random.Random, whole: int) -> Callable[[], bool]:
    """What is waited for: so many facts, or so many new steps, or the place in the test part.

    Args:
        whole: facts that a survey ends with.
    """
    before = len(said(home))
    if place == "survey":
        at_least = facts(home) + 1 + draw.randrange(max(1, (whole - facts(home)) // 2))
        return lambda: facts(home) >= at_least
    if place == "train":
        steps = draw.randint(1, 5)
        return lambda: said(home)[before:].count(" step ") >= steps
    wanted = draw.choice(("trained", "controls.json"))
    if wanted == "trained":
        return lambda: "trained" in said(home)[before:]
    began = time.time()
    left = home / "runs/small/001" / wanted
    return lambda: left.exists() and left.stat().st_mtime > began


def where(home: Path, before: int) -> str:
    """The part of the run that a killed process was in, by what it left."""
    log = said(home)[before:]
    if "results:" in log:
        return "end"
    if "trained" in log:
        return "test"
    return "train" if "epoch" in log else "survey"


# --- kills ------------------------------------------------------------------------------------


def begun(home: Path) -> tuple[str, ...]:
    """How to go on: from the start where there is no run yet."""
    return ("--ckpt_path", "last") if any(home.glob("runs/small/*/run.json")) else ()


def kill_at(place: str, small: Path, home: Path, draw: random.Random, whole: int) -> str:
    """Start or go on, kill at a mark, look at every file, and say where it fell."""
    before, reached = len(said(home)), mark(place, home, draw, whole)
    process = start(small, home, *begun(home))
    wait_for(process, reached, home)
    code = kill(process)
    fell = where(home, before)
    assert fell == place, f"meant for {place}, fell in {fell}\n{said(home)[-2000:]}"
    whole_files = check_files(home)
    return f"{place}: exit {code}, {facts(home)} facts, {whole_files} whole files"


def wait_for(process: BaseProcess, reached: Callable[[], bool], home: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while not reached():
        assert process.exitcode is None, said(home)[-2000:]
        assert time.monotonic() < until, said(home)[-2000:]
        time.sleep(0.005)


def check_files(home: Path) -> int:
    """Read every file of the run: each is whole, or says by its name that it is not. How many."""
    files = [path for path in (home / "runs/small").rglob("*") if path.is_file()]
    whole = [p for p in files if ".half" not in str(p) and p.suffix not in (".tmp", ".md")]
    for path in whole:
        read(path)
    return len(whole)


def read(path: Path) -> None:
    if path.suffix == ".ckpt":
        torch.load(path, weights_only=True)
    elif path.suffix == ".safetensors":
        load_file(path)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".jsonl":
        [json.loads(line) for line in path.read_text().splitlines()]
    else:
        assert path.name == "recipe.yaml", path


def rounds() -> Iterator[list[str]]:
    """The places of all kills, those of one run in the order in which it reaches them."""
    places = [PLACES[number % len(PLACES)] for number in range(KILLS)]
    for first in range(0, KILLS, ROUND):
        yield sorted(places[first : first + ROUND], key=PLACES.index)


@pytest.mark.timeout(PATIENCE_S * (2 + KILLS))
def test_a_fit_killed_and_gone_on_with_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    small, unbroken = recipe(tmp_path), tmp_path / "unbroken"
    assert typed(small, unbroken, PATIENCE_S) == 0, said(unbroken)[-2000:]
    expected, whole = end_state(unbroken), facts(unbroken)

    draw, kills = random.Random(5), 0
    for number, places in enumerate(rounds()):
        home = tmp_path / f"killed{number}"
        for place in places:
            fell = kill_at(place, small, home, draw, whole)
            kills += 1
            print(f"kill {kills}, {fell}")
        process = start(small, home, *begun(home))
        assert ended(process, PATIENCE_S) == 0, said(home)[-2000:]
        check_files(home)
        assert not [p for p in (home / "runs/small").rglob("*") if ".half" in p.name]
        found = end_state(home)
        for part in expected:
            assert same(expected[part], found[part]), part
