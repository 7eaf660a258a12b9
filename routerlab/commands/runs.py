"""Run folders: `runs/<recipe>/<number>`, which is the newest, and which can be gone on with.

A folder holds the resolved recipe, the checkpoints and `run.json`, which says what became of it.
What else a run leaves (results, manifest) is written by `routerlab.experiment`.
"""

from __future__ import annotations

import json
import os
import platform
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from routerlab.commands.recipes import RESOLVED
from routerlab.errors import UserError

ROOT = Path("runs")
RUN_FOLDER_VARIABLE = "ROUTERLAB_RUN_DIR"
"""Set by the first rank, so that the ranks it launches write to the same folder."""


@dataclass(frozen=True)
class Run:
    """One run's folder."""

    folder: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.folder / RESOLVED

    @property
    def state(self) -> dict[str, Any]:
        """What `run.json` says; empty if there is none or it is damaged."""
        try:
            state = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    @property
    def started(self) -> str:
        """UTC, ISO: comparable as text."""
        return str(self.state.get("started", ""))

    @property
    def unfinished(self) -> bool:
        """True for a fit that began, did not end, and is not under way in a living process."""
        state = self.state
        begun = state.get("command") == "fit" and state.get("status") != "finished"
        return begun and not _alive(state)

    def mark(self, status: str, **more: Any) -> None:
        """Record the run's status, whole or not at all."""
        target = self.folder / "run.json"
        half = target.with_suffix(f".{os.getpid()}.tmp")
        half.write_text(json.dumps({**self.state, "status": status, **more}, indent=1) + "\n")
        half.replace(target)

    def discard(self) -> None:
        """Remove a folder in which nothing stands but what is written before anything is done."""
        names = {path.name for path in self.folder.iterdir()}
        if names <= {"run.json", RESOLVED}:
            for name in names:
                (self.folder / name).unlink()
            self.folder.rmdir()

    def checkpoint(self) -> Path | None:
        """The newest whole checkpoint (a torn one is no zip archive and is passed over)."""
        found = self.folder.rglob("*.ckpt")
        newest_first = sorted(found, key=lambda p: (p.stat().st_mtime_ns, p.name), reverse=True)
        return next((path for path in newest_first if zipfile.is_zipfile(path)), None)


def rank() -> int:
    """This process's place among those of its job; 0 where it is alone."""
    given = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return int(next(filter(None, given), 0))


def new_run(recipe: str, command: str, root: Path = ROOT) -> Run:
    """Make the next numbered folder of a recipe; safe beside other processes doing the same."""
    home = root / recipe
    home.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(p.name) for p in home.iterdir() if p.name.isdigit()), default=0)
    while True:
        try:
            (home / f"{number:03d}").mkdir()
            break
        except FileExistsError:
            number += 1
    return begin(home / f"{number:03d}", recipe, command)


def begin(folder: Path, recipe: str, command: str) -> Run:
    """Mark a folder as a run that this process has started (or goes on with)."""
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder)
    run.mark(
        "running",
        recipe=recipe,
        command=command,
        started=run.started or datetime.now(UTC).isoformat(timespec="microseconds"),
        pid=os.getpid(),
        born=psutil.Process().create_time(),
        host=platform.node(),
    )
    return run


def all_runs(root: Path = ROOT, recipe: str | None = None) -> list[Run]:
    """Runs, oldest first, of one recipe or of all."""
    found = (Run(path.parent) for path in root.glob(f"{recipe or '*'}/*/run.json"))
    return sorted(found, key=lambda run: (run.started, str(run.folder)))


def newest_trained(recipe: str | None = None, root: Path = ROOT) -> Run:
    """The newest run with a checkpoint.

    Raises:
        UserError: there is none.
    """
    for run in reversed(all_runs(root, recipe)):
        if run.checkpoint() is not None and run.recipe.is_file():
            return run
    of = f" of {recipe}" if recipe else ""
    raise UserError(
        f"no run{of} with a checkpoint under {root}/. First: routerlab fit {recipe or 'RECIPE'}."
    )


def newest_unfinished(recipe: str, root: Path = ROOT) -> Run:
    """The newest run of a recipe that can be gone on with; one with a checkpoint before others.

    So a fit that failed early does not stand in the way of one that had trained.

    Raises:
        UserError: every run has finished or is under way, or there is none.
    """
    unfinished = [run for run in reversed(all_runs(root, recipe)) if run.unfinished]
    if not unfinished:
        raise UserError(
            f"ckpt_path: 'last' goes on in the newest unfinished run of {recipe}, and there is "
            f"none under {root / recipe}/. Leave --ckpt_path out to start a new run."
        )
    return next((run for run in unfinished if run.checkpoint() is not None), unfinished[0])


def _alive(state: dict[str, Any]) -> bool:
    if state.get("status") != "running" or state.get("host") != platform.node():
        return False
    try:
        # A number of a process is used again: the time of its birth tells the two apart.
        born = psutil.Process(int(state["pid"])).create_time()
        return bool(abs(born - float(state["born"])) < 1)
    except (psutil.Error, KeyError, ValueError):
        return False
