"""Where a split's questions come from: a folder of question files, generated data, or the hub.

Makes or fetches data and finds files; opens no sound and knows nothing of tools or tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from routerlab.data.generated import GENERATED, Sizes, generated
from routerlab.data.hub import fetch, hub_problems, is_hub
from routerlab.data.overlap import OVERLAP, overlap_problems
from routerlab.data.readers import read_splits
from routerlab.data.strata import pool_of
from routerlab.errors import ProblemList, UserError, unknown
from routerlab.types import Question

SPLITS = ("train", "val", "test", "ood")
FILES: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "validation", "dev"),
    "test": ("test",),
    "ood": ("test_ood", "ood"),
}
"""Split -> names its file may have, before .json or .jsonl."""


@dataclass(frozen=True)
class Source:
    """Where a recipe's questions come from, and how its files are read.

    Attributes:
        name: one of `GENERATED`, `hub:…`, or a path.
        sizes, seed, workers: of generated data.
        form, audio_root: as in `readers.read_file`.
        overlap: one of `OVERLAP`.
        pool: of `train` only so many questions, drawn at random; all of them if None.
    """

    name: str
    data_dir: str
    sizes: Sizes
    seed: int = 0
    workers: int = 0
    form: str = "auto"
    audio_root: str | None = None
    overlap: str = "refuse"
    pool: int | None = None

    @property
    def made(self) -> bool:
        """Whether it is generated or fetched, so that there is nothing to look at before."""
        return self.name in GENERATED or is_hub(self.name)

    def problems(self) -> list[str]:
        """What is wrong with the settings, one line each; files are looked at by `read`."""
        found = []
        if self.overlap not in OVERLAP:
            found.append(unknown("overlap: no value", self.overlap, OVERLAP))
        if self.name in GENERATED:
            found += self.sizes.problems()
        return found + (hub_problems(self.name) if is_hub(self.name) else [])

    def folder(self) -> str | Path:
        """Where the question files are; made or fetched first if it is that kind of source."""
        if self.name in GENERATED:
            return generated(self.name, self.data_dir, self.sizes, self.seed, self.workers)
        return fetch(self.name, self.data_dir) if is_hub(self.name) else self.name

    def files(self) -> dict[str, Path]:
        """Split -> file; made or fetched first if need be, generated ones only if asked for."""
        found = find_splits(self.folder())
        asked = vars(self.sizes) if self.name in GENERATED else dict.fromkeys(found, 1)
        return {split: file for split, file in found.items() if asked[split]}

    def read(self, files: Mapping[str, Path]) -> dict[str, list[Question]]:
        """The questions of every split.

        Raises:
            ProblemList: with every problem of every file, or with what splits share that must not.
        """
        splits = read_splits(files, self.form, audio_root=self.audio_root)
        # Generated splits share no clip by construction.
        looked_at = self.overlap != "allow" and self.name not in GENERATED
        if problems := overlap_problems(splits) if looked_at else []:
            raise ProblemList(problems)
        if "train" in splits:
            splits["train"] = pool_of(splits["train"], self.pool, self.seed)
        return splits


def find_splits(source: str | Path) -> dict[str, Path]:
    """Split -> file. A single file is the test split.

    Raises:
        UserError: when there is no such place, or it holds no split.
    """
    place = Path(source)
    if place.is_file():
        return {"test": place}
    if not place.is_dir():
        raise UserError(
            f"data: no file or folder {str(place)!r}. "
            f"Give one, or one of {', '.join(GENERATED)} for generated questions."
        )
    found: dict[str, Path] = {}
    for split, names in FILES.items():
        files = [place / f"{n}{ending}" for n in names for ending in (".json", ".jsonl")]
        there = [file for file in files if file.is_file()]
        if len(there) > 1:
            raise UserError(
                f"data: {place} has {' and '.join(file.name for file in there)} for {split}. "
                "Allowed: one file a split. Take the others away."
            )
        if there:
            found[split] = there[0]
    if not found:
        wanted = ", ".join(f"{names[0]}.json" for names in FILES.values())
        raise UserError(f"data: {place} holds no question file. One of {wanted} is needed.")
    return found
