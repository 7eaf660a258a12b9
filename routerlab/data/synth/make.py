"""Write SynthAQA to a folder: WAV files, one JSON a split in MMAU's format, truth apart.

Every item has its own generator, seeded from (seed, split, index), so that any number of processes
writes the same bytes and no two splits share a clip. The truth files are for evaluation only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soundfile
from numpy.random import Generator

from routerlab.answers import official_match, strict_match
from routerlab.data.synth.draw import (
    FAMILIES,
    OOD_FAMILIES,
    TRAP_TARGETS,
    WEIGHTS,
    draw,
    task_of,
    trap,
)
from routerlab.data.synth.item import Item, Pool
from routerlab.data.synth.sounds import SAMPLE_RATE
from routerlab.data.workers import in_workers
from routerlab.errors import UserError

SPLITS = ("train", "val", "test", "test_ood")
FULL = {"train": 1500, "val": 500, "test": 4000, "ood": 1000}
MIN_TRAP_PAIRS = 100

Job = TypeVar("Job")
Made = TypeVar("Made")


def make(
    folder: str | Path,
    *,
    train: int = 1500,
    val: int = 300,
    test: int = 1000,
    ood: int = 500,
    seed: int = 0,
    workers: int = 0,
) -> dict[str, Path]:
    """Write all splits and return {split: its JSON file}.

    Args:
        folder: made if missing; files of the same names are replaced.
        train, val, test, ood: numbers of questions.
        seed: of everything drawn.
        workers: processes; 0 is one a core.

    Raises:
        UserError: a negative size, or a folder that cannot be written.
    """
    sizes = dict(zip(SPLITS, (train, val, test, ood), strict=True))
    root = writable(folder, sizes, seed, "synthaqa")
    plans = [(split, i) for split in SPLITS for i in range(_clips(split, sizes[split]))]
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    truths: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for split, made in _all(plans, root, seed, sizes, workers):
        for row, truth in made:
            rows[split].append(row)
            truths[split][row["id"]] = truth
    files = {}
    for split in SPLITS:
        files[split] = root / f"{split}.json"
        write(files[split], rows[split])
        write(root / f"{split}-truth.json", truths[split])
    return files


def writable(folder: str | Path, sizes: Mapping[str, int], seed: int, what: str) -> Path:
    """The folder, with a place for sounds in it.

    Raises:
        UserError: a negative size or seed, or a folder that cannot be written.
    """
    if min(sizes.values()) < 0 or seed < 0:
        raise UserError(f"{what}: sizes and seed must be 0 or more; got {sizes}, seed {seed}.")
    root = Path(folder)
    try:
        (root / "audio").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{what}: cannot write to {root}: {error.strerror}.") from error
    return root


def write(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    part.replace(path)


def _pairs(split: str, size: int) -> int:
    """How many clips of a split carry a keyword trap and its twin."""
    return min(size // 4, max(MIN_TRAP_PAIRS, size // 8)) if split == "test" else 0


def _clips(split: str, size: int) -> int:
    """Clips in a split: a trap and its twin share one."""
    return size - _pairs(split, size)


def _all(
    plans: list[tuple[str, int]], root: Path, seed: int, sizes: dict[str, int], workers: int
) -> Iterator[tuple[str, list[tuple[dict[str, Any], dict[str, Any]]]]]:
    jobs = [(split, i, str(root), seed, _pairs(split, sizes[split])) for split, i in plans]
    yield from in_processes(_one, jobs, workers)


def in_processes(make_one: Callable[[Job], Made], jobs: list[Job], workers: int) -> Iterator[Made]:
    """What `make_one` gives for every job, in order; few jobs are not worth a process."""
    count = workers or os.cpu_count() or 1
    if count == 1 or len(jobs) < 64:
        yield from map(make_one, jobs)
        return
    parts = [(make_one, jobs[start : start + 32]) for start in range(0, len(jobs), 32)]
    for made in in_workers(_each, parts, count):
        yield from made


def _each(make_one: Callable[[Job], Made], jobs: list[Job]) -> list[Made]:
    return [make_one(job) for job in jobs]


def _one(
    job: tuple[str, int, str, int, int],
) -> tuple[str, list[tuple[dict[str, Any], dict[str, Any]]]]:
    """Draw, check and write one clip with its one or two questions."""
    split, index, root, seed, pairs = job
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    trapped = index < pairs
    item = _draw(rng, split, trapped)
    name = f"{split}-{index:05d}"
    path = Path(root) / "audio" / f"{name}.wav"
    soundfile.write(path, item.samples, SAMPLE_RATE, subtype="PCM_16")
    if not trapped:
        return split, [row_of(name, name, split, item)]
    tool, text = trap(rng, item.family, item.question)
    bait = replace(item, question=text, kind="keyword_trap", wording=f"{item.wording}+trap")
    twin = replace(item, kind="keyword_twin")
    rows = [row_of(f"{name}-trap", name, split, bait), row_of(f"{name}-twin", name, split, twin)]
    for row, truth in rows:
        truth |= {"pair": name, "trap": tool}
        row["pair"] = name
    return split, rows


def _draw(rng: Generator, split: str, trapped: bool) -> Item:
    pool: Pool = "ood" if split == "test_ood" else "train"
    families: Iterable[str] = TRAP_TARGETS if trapped else FAMILIES
    names = [*families, *(OOD_FAMILIES if pool == "ood" else ())]
    weights = np.array([WEIGHTS[f] for f in names])
    family = str(rng.choice(names, p=weights / weights.sum()))
    item = draw(rng, family, pool, lead=not trapped)
    check(item)
    return item


def check(item: Item) -> None:
    """Options must differ under the strict match and, both ways, under the official one."""
    for i, one in enumerate(item.choices):
        for other in item.choices[i + 1 :]:
            told_apart = not (
                strict_match(one, other)
                or official_match(one, other, item.choices)
                or official_match(other, one, item.choices)
            )
            assert told_apart, f"{item.family}: {one!r} and {other!r} are confusable"


def row_of(
    name: str, audio: str, split: str, item: Item, task: str = ""
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A question's row, and its truth, which goes into another file."""
    row = {
        "id": name,
        "audio_id": f"./audio/{audio}.wav",
        "question": item.question,
        "choices": list(item.choices),
        "answer": item.answer,
        "task": task or task_of(item.family),
        "category": item.family,
        "sub-category": item.kind,
        "difficulty": item.difficulty,
        "split": split,
        "wording": item.wording,
    }
    truth = {
        **{k: v for k, v in item.truth.items() if k != "describe"},
        "condition": item.condition,
        "fits": list(item.fits),
        "outside": list(item.outside),
    }
    return row, truth
