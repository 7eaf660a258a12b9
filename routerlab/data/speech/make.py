"""Write SpeechAQA to a folder: WAV files, one JSON a split in MMAU's format, truth apart.

Every item has its own generator, seeded from (seed, split, index). Splits share no rendered clip.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.random import Generator

from routerlab.data.speech.clips import spoken
from routerlab.data.speech.families import MAKERS, WORDINGS
from routerlab.data.synth.item import Item
from routerlab.data.synth.make import SPLITS, check, in_processes, row_of, writable, write
from routerlab.data.synth.sounds import SAMPLE_RATE, finish

_STREAM = 0x5350_4545
"""Mixed into every seed, so that the stream differs from SynthAQA's."""


def make(
    folder: str | Path,
    *,
    train: int = 600,
    val: int = 120,
    test: int = 400,
    ood: int = 200,
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
    root = writable(folder, sizes, seed, "speechaqa")
    jobs = [(split, i, str(root), seed) for split in SPLITS for i in range(sizes[split])]
    made = list(in_processes(_one, jobs, workers))
    files = {}
    for split in SPLITS:
        mine = [(row, truth) for at, row, truth in made if at == split]
        files[split] = root / f"{split}.json"
        write(files[split], [row for row, _ in mine])
        write(root / f"{split}-truth.json", {row["id"]: truth for row, truth in mine})
    return files


def _one(job: tuple[str, int, str, int]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Draw, check and write one clip with its question."""
    split, index, root, seed = job
    item = draw(np.random.default_rng([_STREAM, seed, SPLITS.index(split), index]), split)
    check(item)
    name = f"speech-{split}-{index:05d}"
    path = Path(root) / "audio" / f"{name}.wav"
    soundfile.write(path, item.samples, SAMPLE_RATE, subtype="PCM_16")
    return split, *row_of(name, name, split, item, task="speech")


def draw(rng: Generator, split: str, family: str = "") -> Item:
    """One question from the clips and wordings of a split, of any family if none is named.

    The split "lalm", for the LALM's schooling, has the clips of `train` and all wordings.
    """
    family = family or str(rng.choice(tuple(MAKERS)))
    draft = MAKERS[family](rng, spoken("train" if split == "lalm" else split))
    *known, kept = WORDINGS[family]
    texts = {"test_ood": [kept], "lalm": [*known, kept]}.get(split, known)
    index = int(rng.integers(len(texts)))
    order = rng.permutation(len(draft.choices))
    return Item(
        samples=finish(rng, draft.sound),
        question=texts[index],
        choices=tuple(draft.choices[i] for i in order),
        answer=draft.answer,
        family=family,
        condition=draft.condition,
        difficulty=draft.difficulty,
        kind="boundary" if draft.outside else "plain",
        wording=f"{family}/{'ood' if split == 'test_ood' else 'train'}{index}",
        fits=draft.fits,
        outside=draft.outside,
        truth={**draft.truth, "cell": f"{family}/{draft.difficulty}/{draft.condition}"},
    )
