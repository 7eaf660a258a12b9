"""`routerlab survey RECIPE`: asks what a survey needs beyond the tables, and puts it together.

The tables are the DataModule's. Here direct is asked again with permuted options, or in free text,
clips are listened to for the predictors, and all of it becomes the evidence of `report.outlook`.
Whatever is asked is remembered, so an interrupted survey goes on where it stopped.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routerlab.data.module import RouterDataModule
from routerlab.data.progress import progress
from routerlab.data.tables import judged
from routerlab.errors import ProblemList, UserError
from routerlab.oracle.cache import Cache
from routerlab.oracle.oracle import Oracle
from routerlab.predictors import Floats, sound_features
from routerlab.report.outlook import Evidence, outlook
from routerlab.report.sampling import drawn
from routerlab.table_files import check_suffix, write_table
from routerlab.types import DIRECT, OutcomeTable, Question


@dataclass(frozen=True)
class Options:
    """What a survey is to do beyond filling the tables.

    Attributes:
        limit: questions of each split, drawn; all of them if None.
        votes: how often direct is asked again with permuted options; with as many as there are
            tools, its vote costs what a row of the table costs.
        generate: on how many questions answers in free text are compared with `likelihood`.
        sound: whether clips are opened for the predictor that hears.
        export: where the table goes, .jsonl or .parquet; nowhere if None.
    """

    limit: int | None = None
    votes: int = 0
    generate: int = 0
    sound: bool = True
    export: str | None = None

    def check(self) -> None:
        """Refuse what cannot be, before anything is asked.

        Raises:
            ProblemList: with every problem.
        """
        problems = []
        if self.limit is not None and self.limit < 1:
            problems.append(f"limit: {self.limit}. Allowed: 1 or more questions a split.")
        for name in ("votes", "generate"):
            if getattr(self, name) < 0:
                problems.append(f"{name}: {getattr(self, name)}. Allowed: 0 (none) or more.")
        try:
            if self.export:
                check_suffix(Path(self.export))
        except UserError as error:
            problems.append(str(error))
        if problems:
            raise ProblemList(problems)


def limit_to(datamodule: RouterDataModule, limit: int | None) -> dict[str, int]:
    """Leave a drawn part of every split, and say how many questions each had.

    Drawn by the data's own seed, so that the same quick look again costs nothing.
    """
    splits = datamodule.read()
    had = {split: len(questions) for split, questions in splits.items()}
    for split, questions in splits.items():
        splits[split] = [questions[row] for row in drawn(len(questions), limit, datamodule.seed)]
    return had


def main_split(tables: Mapping[str, OutcomeTable]) -> str:
    """The split that a survey looks at closely: the last that is not `ood`."""
    splits = [split for split in tables if split != "ood"] or list(tables)
    return splits[-1]


def looked_into(
    datamodule: RouterDataModule, options: Options, had: Mapping[str, int]
) -> dict[str, Any]:
    """The figures of the main split, everything asked that they need.

    Args:
        datamodule: with its tables filled.
        had: how many questions each split had before it was limited.
    """
    split = main_split(datamodule.tables)
    evidence = gathered(datamodule, split, options, had.get(split, 0))
    if options.export:
        write_table(options.export, evidence.table, evidence.replicates)
    figures = outlook(evidence) | {"split": split}
    if options.generate:
        figures["generate"] = agreement(datamodule, evidence.table, options.generate)
    return figures


def gathered(datamodule: RouterDataModule, split: str, options: Options, of: int = 0) -> Evidence:
    """The evidence of one split."""
    table = datamodule.tables[split]
    whole = [datamodule.replicates[split]] if split in datamodule.replicates else []
    return Evidence(
        table,
        replicates=[*whole, *_permuted(datamodule, table, len(whole), options.votes)],
        together=datamodule.together.get(split),
        sounds=_heard(datamodule, table.questions) if options.sound else None,
        of=of,
    )


def agreement(datamodule: RouterDataModule, table: OutcomeTable, n: int) -> dict[str, Any]:
    """How often free text says what the option of highest likelihood is, on a random part.

    A reasoner that does not score options (or an endpoint) has nothing to compare: `why` says so.
    """
    if getattr(datamodule.reasoner, "protocol", None) != "likelihood":
        return {"why": "the reasoner does not score options"}
    writes = copy.copy(datamodule.reasoner)
    writes.protocol = "generate"  # type: ignore[attr-defined]
    rows = drawn(len(table), n)
    part = table.select(rows)
    with datamodule.pool() as pool, Cache(datamodule.cache_dir) as cache:
        oracle = Oracle(pool, writes, cache, datamodule.clip)
        try:
            said = judged(oracle.fill(part.questions, (DIRECT,)), datamodule.scorer)
        finally:
            writes.close()
    pairs = [(part.outcome(i, 0).answer, said.outcome(i, 0).answer) for i in range(len(part))]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    return {
        "questions": len(both),
        "agreement": float(np.mean([a.text == b.text for a, b in both])) if both else 0.0,
        "unparsed": sum(b.choice is None for _, b in both),
        "likelihood": float(part.correct[:, 0].mean()),
        "generate": float(said.correct[:, 0].mean()),
    }


def agreement_note(it: Mapping[str, Any]) -> str:
    """One line on it."""
    if "why" in it:
        return f"likelihood against generate: {it['why']}."
    return (
        f"likelihood and generate agree on {100 * it['agreement']:.1f} % of {it['questions']} "
        f"direct answers ({100 * it['likelihood']:.1f} against {100 * it['generate']:.1f} % right, "
        f"{it['unparsed']} unparsed)."
    )


def _permuted(
    datamodule: RouterDataModule, table: OutcomeTable, done: int, votes: int
) -> list[OutcomeTable]:
    """Direct's answers with the options in other orders than replicate 0 and those done show."""
    turns = range(done + 1, votes + 1)
    if not turns:
        return []
    with progress(len(turns) * len(table)) as advance, datamodule.oracle(advance) as oracle:
        return [
            judged(oracle.fill(table.questions, (DIRECT,), replicate=turn), datamodule.scorer)
            for turn in turns
        ]


def _heard(datamodule: RouterDataModule, questions: Sequence[Question]) -> Floats | None:
    """Features of the clips [N, F], each clip once."""
    if not questions:
        return None
    known: dict[str, Floats] = {}
    for question in questions:
        if question.audio not in known:
            known[question.audio] = sound_features(datamodule.clip(question))
    return np.stack([known[question.audio] for question in questions])
