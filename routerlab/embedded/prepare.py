"""Makes the LALM's schooling: generated clips, their log-mels and the real tools' outputs, on disk.

Runs in parallel processes that import no torch. A shard is two files: `NAME.npy`, the float16
log-mels of its clips one after the other, and `NAME.json`, a record a clip. Its seed stream is its
own: no clip or parameter set of SynthAQA can come out of it. What is shown of this to the model,
and when, is decided in `routerlab.embedded.curriculum`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routerlab.data.workers import in_workers
from routerlab.embedded.mel import RATE, log_mel
from routerlab.errors import ToolError
from routerlab.types import Clip

TOOLS = ("pitch", "chord", "tempo", "onsets", "loudness", "segments")
"""The tools whose output formats the LALM is taught; every other format stays new to it."""

_STREAM = 0x4C41_4C4D
"""Mixed into every seed here, so that the stream differs from that of any data set."""

SHARD_CLIPS = 250

Draw = Callable[[np.random.Generator, str, str], Any]
Listen = Callable[[Clip], Mapping[str, str]]


@dataclass(frozen=True)
class Record:
    """One clip's question and all that the tools say about the clip.

    Attributes:
        outputs: tool name -> its output's text; a tool that failed is left out.
        fits: tools that truly measure what is asked on this clip.
        outside: tools whose name fits while the clip is beyond what they measure.
        describe: further (question, choices, answer) about the sound itself.
    """

    question: str
    choices: tuple[str, ...]
    answer: str
    family: str
    condition: str
    difficulty: str
    kind: str
    fits: tuple[str, ...]
    outside: tuple[str, ...]
    outputs: dict[str, str]
    describe: tuple[tuple[str, tuple[str, ...], str], ...] = ()


@dataclass(frozen=True)
class Shard:
    """A prepared shard; log-mels stay on disk until they are asked for."""

    path: Path
    records: tuple[Record, ...]
    starts: tuple[int, ...]

    @cached_property
    def _mels(self) -> NDArray[np.float16]:
        mels: NDArray[np.float16] = np.load(self.path, mmap_mode="r")
        return mels

    def mel(self, index: int) -> NDArray[np.float16]:
        """The log-mel of one clip, [frames, bins]."""
        return np.array(self._mels[self.starts[index] : self.starts[index + 1]])


def prepare(
    folder: str | Path,
    clips: int = 20_000,
    *,
    seed: int = 0,
    workers: int = 0,
    mel_bins: int = 64,
    draw: Draw | None = None,
    listen: Listen | None = None,
    families: Sequence[str] = (),
) -> list[Path]:
    """Make what is missing of `clips` clips in shards, on `workers` cores (0: all).

    Args:
        draw, families: what to draw from; by default all families of `routerlab.data.synth`. Those
            of `routerlab.data.speech` may be named too.
        listen: clip -> tools' texts; by default the six real tools. Must be picklable with
            more than one worker.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = [folder / f"shard-{seed}-{i:04d}.npy" for i in range(-(-clips // SHARD_CLIPS))]
    sizes = [min(SHARD_CLIPS, clips - i * SHARD_CLIPS) for i in range(len(names))]
    make = partial(
        _make_shard, seed=seed, bins=mel_bins, draw=draw, listen=listen, families=tuple(families)
    )
    missing = [i for i, name in enumerate(names) if not _is_whole(name, sizes[i])]
    workers = min(workers or os.cpu_count() or 1, len(missing))
    if workers <= 1:
        for i in missing:
            make(names[i], i, sizes[i])
        return names
    for _ in in_workers(make, [(names[i], i, sizes[i]) for i in missing], workers):
        pass
    return names


def read_shard(path: Path) -> Shard:
    """A shard's records, with its log-mels left on disk."""
    held = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return Shard(path, tuple(_record(row) for row in held["records"]), tuple(held["starts"]))


def _record(row: dict[str, Any]) -> Record:
    tuples = {key: tuple(row[key]) for key in ("choices", "fits", "outside")}
    describe = tuple((q, tuple(choices), answer) for q, choices, answer in row["describe"])
    return Record(**{**row, **tuples, "describe": describe})


def _is_whole(path: Path, clips: int) -> bool:
    # The JSON is written last, so its presence says that the log-mels are complete.
    beside = path.with_suffix(".json")
    return beside.exists() and len(json.loads(beside.read_text())["records"]) == clips


def _make_shard(
    path: Path,
    number: int,
    clips: int,
    *,
    seed: int,
    bins: int,
    draw: Draw | None,
    listen: Listen | None,
    families: Sequence[str],
) -> None:
    draw, families = _default_draw(draw, families)
    listen = listen or _listener()
    rng = np.random.default_rng([_STREAM, seed, number])
    records, mels = [], []
    for i in range(clips):
        item = draw(rng, families[(number * SHARD_CLIPS + i) % len(families)], "lalm")
        records.append(_describe(item, listen(_clip(item.samples))))
        mels.append(log_mel(item.samples, bins))
    starts = np.cumsum([0, *(len(mel) for mel in mels)]).tolist()
    temporary = path.with_suffix(".part.npy")
    np.save(temporary, np.concatenate(mels))
    temporary.replace(path)
    text = json.dumps({"records": [asdict(r) for r in records], "starts": starts})
    beside = path.with_suffix(".part.json")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path.with_suffix(".json"))


def _default_draw(draw: Draw | None, families: Sequence[str]) -> tuple[Draw, Sequence[str]]:
    if draw is not None:
        return draw, families
    synth = import_module("routerlab.data.synth")
    return _draw, families or (*synth.FAMILIES, *synth.OOD_FAMILIES)


def _draw(rng: np.random.Generator, family: str, pool: str) -> Any:
    """A clip of any family, sound or speech."""
    speech = import_module("routerlab.data.speech.make")
    if family in speech.MAKERS:
        return speech.draw(rng, pool, family)
    return import_module("routerlab.data.synth").draw(rng, family, pool)


def _clip(samples: NDArray[np.float32]) -> Clip:
    # No fingerprint: these clips never meet a cache.
    return Clip(samples, RATE, "")


def _listener() -> Listen:
    from routerlab.tools.registry import load_tool

    tools = {name: load_tool(name) for name in TOOLS}

    def listen(clip: Clip) -> dict[str, str]:
        texts = {}
        for name, tool in tools.items():
            try:
                texts[name] = tool(clip).text
            except ToolError:
                continue
        return texts

    return listen


def _describe(item: Any, outputs: Mapping[str, str]) -> Record:
    return Record(
        question=item.question,
        choices=tuple(item.choices),
        answer=item.answer,
        family=item.family,
        condition=item.condition,
        difficulty=item.difficulty,
        kind=item.kind,
        fits=tuple(item.fits),
        outside=tuple(getattr(item, "outside", ())),
        outputs=dict(outputs),
        describe=tuple((q, tuple(c), a) for q, c, a in item.truth.get("describe", ())),
    )
