"""Several runs as one: mean over seeds, and paired intervals with the seeds pooled by question.

Reads what runs left in their folders. Runs on the same data share their questions, so each
question's difference is averaged over the seeds before questions are resampled: more seeds make
the mean surer, but never count as more questions.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from routerlab import statistics
from routerlab.errors import ProblemList, UserError
from routerlab.report.evaluation import RIVALS
from routerlab.report.grid import Grid, percent, points
from routerlab.report.results import RESULTS, SCORES


@dataclass(frozen=True)
class Run:
    """What a finished run left: its results and what each policy earned on each question."""

    folder: Path
    results: Mapping[str, Any]
    scores: Mapping[str, Any]


@dataclass(frozen=True)
class Pooled:
    """One rival over all runs; means are over runs, the interval is over questions."""

    name: str
    accuracy: float
    spread: float
    calls: float | None
    difference: float
    low: float
    high: float


def read_runs(folders: Sequence[str | Path], command: str = "summary") -> list[Run]:
    """The runs in these folders.

    Args:
        command: who asks, for the messages.

    Raises:
        ProblemList: with every folder that holds no finished run.
    """
    if not folders:
        raise UserError(f"{command}: no run given. Give run folders, such as runs/quickstart/001.")
    runs, problems = [], []
    for folder in map(Path, folders):
        missing = [name for name in (RESULTS, SCORES) if not (folder / name).is_file()]
        if missing:
            problems.append(
                f"{command}: {folder} has no {missing[0]}. Give folders of finished fits."
            )
            continue
        results, scores = (_json(folder / name) for name in (RESULTS, SCORES))
        for part in scores["splits"].values():
            part.setdefault("data", scores.get("data"))  # runs of before hold one hash for all
        runs.append(Run(folder, results, scores))
    if problems:
        raise ProblemList(problems)
    return runs


def pool(runs: Sequence[Run], split: str = "test") -> list[Pooled]:
    """Every policy that all runs have figures for, in the order of `RIVALS`, tools last."""
    parts = [run.scores["splits"].get(split, {"ids": [], "right": {}}) for run in runs]
    shared = set.intersection(*(set(part["right"]) for part in parts))
    names = [n for n in RIVALS if n in shared] + sorted(n for n in shared if n not in RIVALS)
    return [_pooled(runs, parts, split, name) for name in names]


def summary_grid(runs: Sequence[Run], split: str = "test") -> Grid | None:
    """The table of one split; None where no run has it."""
    pooled = pool(runs, split)
    if not pooled:
        return None
    rows = [_row(it) for it in pooled]
    strong = [index for index, it in enumerate(pooled) if it.name == "routed"]
    questions = len(_keys(runs, split))
    title = f"{split}: mean of {len(runs)} runs, {questions} questions"
    heads = ("policy", "accuracy %", "± over runs", "calls %", "router minus it", "95 % interval")
    return Grid(title, heads, rows, strong=strong)


def cost_grid(runs: Sequence[Run]) -> Grid:
    """What each run cost and what else it measured."""
    heads = ("run", "seed", "total s", "survey s", "train s", "peak MiB", "traps %", "keyword %")
    return Grid("runs", heads, [_cost(run) for run in runs])


def summarise(folders: Sequence[str | Path]) -> list[Grid]:
    """All tables of a summary."""
    runs = read_runs(folders)
    tables = [summary_grid(runs, split) for split in ("test", "ood")]
    return [*(table for table in tables if table is not None), cost_grid(runs)]


def show(
    folders: Sequence[str | Path], *, markdown: bool = False, console: Console | None = None
) -> None:
    """Print a summary, as tables or as Markdown."""
    out = console or Console()
    for grid in summarise(folders):
        if markdown:
            out.print(grid.markdown() + "\n", markup=False, highlight=False, soft_wrap=True)
        else:
            grid.show(out)


def _pooled(runs: Sequence[Run], parts: Sequence[Any], split: str, name: str) -> Pooled:
    means = [float(np.mean(part["right"][name])) for part in parts]
    keys = _keys(runs, split)
    differences: dict[tuple[str, str], list[float]] = defaultdict(list)
    for part in parts:
        apart = np.subtract(part["right"]["routed"], part["right"][name])
        for ident, value in zip(part["ids"], apart, strict=True):
            differences[part["data"], ident].append(float(value))
    each = np.array([np.mean(differences[key]) for key in keys])
    difference, low, high = statistics.paired_bootstrap(each, np.zeros_like(each))
    calls = [_of(run.results, split)["call_rate"].get(name) for run in runs]
    known = [c for c in calls if c is not None]
    return Pooled(
        name=name,
        accuracy=float(np.mean(means)),
        spread=float(np.std(means, ddof=1)) if len(means) > 1 else 0.0,
        calls=float(np.mean(known)) if known else None,
        difference=difference,
        low=low,
        high=high,
    )


def _keys(runs: Sequence[Run], split: str) -> list[tuple[str, str]]:
    parts = [run.scores["splits"][split] for run in runs if split in run.scores["splits"]]
    return list(dict.fromkeys((part["data"], ident) for part in parts for ident in part["ids"]))


def _row(it: Pooled) -> list[str]:
    own = it.name == "routed"
    return [
        RIVALS.get(it.name, it.name.replace("tool.", "always ")),
        percent(it.accuracy),
        percent(it.spread),
        percent(it.calls),
        "" if own else points(it.difference),
        "" if own else f"{points(it.low)} to {points(it.high)}",
    ]


def _cost(run: Run) -> list[str]:
    seconds, traps = run.results.get("seconds", {}), run.results.get("keyword_trap", {})
    return [
        str(run.folder),
        str(run.results.get("seed", "")),
        *(f"{seconds.get(part, 0.0):.0f}" for part in ("total", "survey", "train")),
        f"{run.results.get('peak_rss_mb', 0.0):.0f}",
        percent(traps.get("routed")),
        percent(traps.get("keyword")),
    ]


def _of(results: Mapping[str, Any], split: str) -> Mapping[str, Any]:
    inner: Mapping[str, Any] = results if split == "test" else results.get(split, {})
    return inner if "call_rate" in inner else {"call_rate": {}}


def _json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"summary: {path} is not JSON: {error}") from None
    return value
