"""Data sets that routerlab makes itself, each under a name that says all it was made from.

"synthaqa", "speechaqa", or "synthaqa+speechaqa": half of every split from each.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from routerlab.data import speech, synth
from routerlab.data.speech.make import make as make_speech
from routerlab.data.synth.make import SPLITS, write
from routerlab.data.synth.make import make as make_sounds

SYNTHAQA = "synthaqa"
SPEECHAQA = "speechaqa"
BOTH = f"{SYNTHAQA}+{SPEECHAQA}"
GENERATED = (SYNTHAQA, SPEECHAQA, BOTH)


@dataclass(frozen=True)
class Sizes:
    """Numbers of questions of generated splits."""

    train: int = 1500
    val: int = 300
    test: int = 1000
    ood: int = 500

    def problems(self) -> list[str]:
        """What is wrong with the sizes, one line each."""
        negative = {k: v for k, v in vars(self).items() if v < 0}
        lines = [f"{name} must be 0 or more questions, not {n}" for name, n in negative.items()]
        if not negative and not any(vars(self).values()):
            lines.append("all splits are empty. Give train, val, test or ood a size.")
        return lines

    def halves(self) -> tuple[Sizes, Sizes]:
        """The same questions from two makers; the first makes the odd one."""
        small = {name: n // 2 for name, n in vars(self).items()}
        return Sizes(**{name: n - small[name] for name, n in vars(self).items()}), Sizes(**small)


def generated(name: str, data_dir: str | Path, sizes: Sizes, seed: int, workers: int = 0) -> Path:
    """The folder of one of `GENERATED` of these sizes and seed, made if it is not there.

    It is made under another name and renamed when whole, so a folder that exists is complete.
    """
    parts = "-".join(str(n) for n in vars(sizes).values())
    folder = Path(data_dir) / f"{name}-{parts}-seed{seed}-{_revision(name)}"
    if folder.is_dir():
        return folder
    Path(data_dir).mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=data_dir, prefix=f".{folder.name}."))
    try:
        _make(name, unfinished, sizes, seed, workers)
        _publish(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _make(name: str, folder: Path, sizes: Sizes, seed: int, workers: int) -> None:
    makers: dict[str, Callable[..., Any]] = {SYNTHAQA: make_sounds, SPEECHAQA: make_speech}
    if name in makers:
        makers[name](folder, **vars(sizes), seed=seed, workers=workers)
        return
    for part, half in zip(makers, sizes.halves(), strict=True):
        makers[part](folder / part, **vars(half), seed=seed, workers=workers)
    for split in SPLITS:
        rows: list[dict[str, Any]] = []
        truths: dict[str, Any] = {}
        for part in makers:
            read = (folder / part / f"{split}.json").read_text(encoding="utf-8")
            rows += [{**row, "audio_id": f"./{part}/{row['audio_id']}"} for row in json.loads(read)]
            truth = (folder / part / f"{split}-truth.json").read_text(encoding="utf-8")
            truths |= json.loads(truth)
        write(folder / f"{split}.json", rows)
        write(folder / f"{split}-truth.json", truths)


def _publish(unfinished: Path, folder: Path) -> None:
    os.chmod(unfinished, 0o755)
    try:
        unfinished.rename(folder)
    except OSError:
        # Another process finished the same data first: its bytes are these bytes.
        if not folder.is_dir():
            raise


@cache
def _revision(name: str) -> str:
    """Marks the generator: data made by other code, or of other clips, is other data."""
    digest = hashlib.sha256()
    makers = [synth] if name == SYNTHAQA else [synth, speech]
    for package in makers:
        for file in sorted(Path(str(package.__file__)).parent.rglob("*")):
            if file.suffix in (".py", ".json", ".ogg"):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:8]
