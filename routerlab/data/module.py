"""The DataModule: makes or reads questions, fills their outcome tables, deals out batches.

This is the world's side of a run: it owns the tools, the reasoner and the cache, and lets go of all
three once the tables are filled, so that training's memory is the router's alone. Rewards and
policies are unknown here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray

from routerlab.data.batches import Clips, EvaluationLoader, collate
from routerlab.data.filling import fill, opened, share, summed
from routerlab.data.generated import SYNTHAQA, Sizes
from routerlab.data.order import Order, OrderedLoader
from routerlab.data.progress import Advance, in_sum, progress
from routerlab.data.readers import read_truth
from routerlab.data.releases import release_of
from routerlab.data.sources import Source, find_splits
from routerlab.data.strata import Stratify, drawn_from
from routerlab.data.tables import judged, split_last
from routerlab.data.threads import one_thread
from routerlab.data.toolbox import tool_problems, tool_spec
from routerlab.errors import Problems, UserError
from routerlab.oracle.cache import Cache
from routerlab.oracle.oracle import Oracle
from routerlab.ranks import Ranks
from routerlab.reasoners.base import Reasoner
from routerlab.scorers import find_scorer
from routerlab.tools.isolation import ToolPool
from routerlab.tools.specs import ToolSpec
from routerlab.types import ALL_OUTPUTS, OutcomeTable, Question, QuestionBatch, ToolCard

TOOLS = ("pitch", "chord", "tempo", "onsets", "loudness", "segments")
TEST_SPLITS = ("test", "ood")


class RouterDataModule(LightningDataModule):
    """Questions, their outcome tables and batches of both.

    Args:
        source: a folder with train, val, test and test_ood as .json or .jsonl, one such file (the
            test split), hub:OWNER/NAME@COMMIT:SPLIT (the same, of the Hugging Face hub), or
            "synthaqa", "speechaqa", "synthaqa+speechaqa": generated. What is fetched or generated
            is put under `data_dir` when first needed.
        data_dir: where generated and fetched data is kept.
        train, val, test, ood: sizes of generated splits; ignored for other sources.
        seed: of generated data, and of the order of batches if no seed is set for the run.
        tools: names of tools, or mappings with `name`, `tool` or `class_path`, and `settings`.
        reasoner: what answers; the embedded LALM if None.
        cache_dir: where outcomes are kept for good.
        batch_size: questions in a batch of training, over all ranks.
        eval_batch_size: the same for validation and tests.
        workers: processes for tools and for making data; 0 is one a core.
        controls: whether a fit also trains and evaluates the control routers.
        all_outputs: whether the test splits also get the answers with every output at once.
        crossfit: whether `test` is answered again with permuted options, for the cross-fitted
            oracle.
        trusted: packages and files from which tools may come (the command line's `--trust`).
        form: format of the question files: auto, or a key of `data.formats.forms.FORMS`.
        audio_root: what relative sound paths are relative to; each file's own folder if None.
        max_seconds: longer clips are cut, and the outcome says so.
        keep_clips_mb: how much decoded sound to keep in memory.
        tool_timeout_s, tool_memory_mb: limits of one tool call.
        max_error_rate: above this share of infrastructure failures the run stops.
        scorer: what counts as right, for rewards and figures: strict, official or letter.
        overlap: "refuse" or "allow" what train or val share with test or ood.
        transfer: name -> a further reasoner, before which the trained router is tested as well.
        stratify: draw the training questions by what tools do to them; all of `train` if None.
    """

    def __init__(
        self,
        source: str = SYNTHAQA,
        data_dir: str = "runs/data",
        train: int = 1500,
        val: int = 300,
        test: int = 1000,
        ood: int = 500,
        seed: int = 0,
        tools: Sequence[str | dict[str, Any]] = TOOLS,
        reasoner: Reasoner | None = None,
        cache_dir: str = "runs/cache",
        batch_size: int = 32,
        eval_batch_size: int = 64,
        workers: int = 0,
        controls: bool = False,
        all_outputs: bool = True,
        crossfit: bool = False,
        trusted: Sequence[str] = (),
        form: str = "auto",
        audio_root: str | None = None,
        max_seconds: float = 30.0,
        keep_clips_mb: int = 256,
        tool_timeout_s: float = 20.0,
        tool_memory_mb: int = 2048,
        max_error_rate: float = 0.05,
        scorer: str = "strict",
        overlap: str = "refuse",
        stratify: Stratify | None = None,
        transfer: dict[str, Reasoner] | None = None,
    ) -> None:
        super().__init__()
        self.source = source
        self.sizes = Sizes(train, val, test, ood)
        self.seed = seed
        self.tools = list(tools)
        self.cache_dir = cache_dir
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.workers = workers
        self.controls, self.all_outputs, self.crossfit = controls, all_outputs, crossfit
        self.trusted = tuple(trusted)
        self.clip = Clips(max_seconds, keep_clips_mb)
        self.tool_timeout_s, self.tool_memory_mb = tool_timeout_s, tool_memory_mb
        self.max_error_rate = max_error_rate
        self.scorer = scorer
        self.stratify = stratify
        self.transfer = transfer or {}
        self.strata: dict[str, Any] = {}
        pool = stratify.pool if stratify else None
        told = (data_dir, self.sizes, seed, workers, form, audio_root, overlap, pool)
        self.origin = Source(source, *told)
        self._reasoner = reasoner
        self._questions: dict[str, list[Question]] = {}
        self.files: dict[str, Path] = {}
        self.tables: dict[str, OutcomeTable] = {}
        self.together: dict[str, NDArray[np.bool_]] = {}
        self.replicates: dict[str, OutcomeTable] = {}
        self.cards: tuple[ToolCard, ...] = ()
        self.versions: dict[str, str] = {}
        self.counters = {"reasoner_calls": 0, "tool_calls": 0, "cache_hits": 0}
        self.seconds = {"data": 0.0, "survey": 0.0}

    def problems(self) -> list[str]:
        """Everything wrong with the settings and with question files that are there already."""
        sizes = {"batch_size": self.batch_size, "eval_batch_size": self.eval_batch_size}
        found = Problems(f"{k} must be 1 or more, not {n}" for k, n in sizes.items() if n < 1)
        found += tool_problems(self.tools, self.trusted) + self.origin.problems()
        found += self.stratify.problems() if self.stratify else []
        with found.gathered():
            find_scorer(self.scorer)
            if not self.origin.made:
                self._questions = self.origin.read(find_splits(self.source))
        return found

    @property
    def specs(self) -> list[ToolSpec]:
        """The recipe's tools, in order.

        Raises:
            UserError: for a key that a tool's entry does not have.
        """
        return [tool_spec(entry) for entry in self.tools]

    @property
    def reasoner(self) -> Reasoner:
        """What answers; built on first use, its weights loaded on the first answer."""
        if self._reasoner is None:
            # Imported here: a recipe with another reasoner needs none of it.
            from routerlab.reasoners.transformers_reasoner import TransformersReasoner

            self._reasoner = TransformersReasoner()
        return self._reasoner

    @property
    def lalm(self) -> str:
        """Fingerprint of the reasoner's model; "" where it has none."""
        return str(self.reasoner.identity().get("model", ""))

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the actions, direct first."""
        return ("direct", *(card.name for card in self.cards))

    # --- making, reading, filling -----------------------------------------------------------

    def prepare_data(self) -> None:
        """Make generated data (on one process only); read nothing."""
        start = time.monotonic()
        if self.origin.made:
            self.origin.folder()
        self.seconds["data"] += time.monotonic() - start

    def setup(self, stage: str = "fit") -> None:
        """Read the questions and fill the tables of every split; again, it does nothing.

        Args:
            stage: "predict" needs no outcomes, so only the tools' cards are fetched.
        """
        start = time.monotonic()
        Ranks.of(self.trainer).agreed("data", lambda: {s: len(q) for s, q in self.read().items()})
        self.seconds["data"] += time.monotonic() - start
        if stage != "predict" and not self.tables:
            self.fill()
            self._stratify(stage)
        elif not self.cards:
            with self.pool() as pool:
                self.cards, self.versions = pool.cards, pool.versions

    def read(self) -> dict[str, list[Question]]:
        """The questions of every split.

        Raises:
            ProblemList: with every problem of every file.
        """
        if not self.files:
            self.files = self.origin.files()
        if not self._questions:
            self._questions = self.origin.read(self.files)
        return self._questions

    def questions(self, split: str) -> list[Question]:
        """The questions of one split; [] where there are none."""
        return self.read().get(split, [])

    @property
    def releases(self) -> dict[str, str]:
        """Split -> the published file that its questions are, "" for one that is not known."""
        return {split: release_of(questions) for split, questions in self.read().items()}

    def truth(self, split: str) -> dict[str, dict[str, Any]]:
        """The latent truth of a generated split. For evaluation only."""
        file = self.files.get(split)
        return read_truth(file.with_name(f"{file.stem}-truth.json")) if file else {}

    def fill(self) -> None:
        """Fill the tables of all splits, shared by all ranks; then let go of tools and reasoner."""
        start, ranks = time.monotonic(), Ranks.of(self.trainer)
        splits = self.read()
        bar_length = sum(len(share(q, ranks)) * self._parts(s) for s, q in splits.items())
        with progress(bar_length) as advance, opened(self.oracle(advance), ranks) as oracle:
            self.cards, self.versions = oracle.cards, dict(oracle.pool.versions)
            for split, questions in splits.items():
                self._fill_split(oracle, split, questions)
            self.counters = summed(vars(oracle.counters), ranks)
        self.seconds["survey"] += time.monotonic() - start

    def pool(self) -> ToolPool:
        """The tools' processes, to be closed by the caller (it is a context manager)."""
        return ToolPool(
            self.specs,
            trusted=self.trusted,
            workers=self.workers,
            timeout_s=self.tool_timeout_s,
            memory_mb=self.tool_memory_mb,
        )

    @contextmanager
    def oracle(
        self, advance: Advance | None = None, reasoner: Reasoner | None = None
    ) -> Iterator[Oracle]:
        """Tools, reasoner (the recipe's by default) and cache together, closed at the end."""
        report, reasoner = in_sum(advance), reasoner or self.reasoner
        with self.pool() as pool:
            oracle = Oracle(
                pool,
                reasoner,
                Cache(self.cache_dir),
                self.clip,
                max_error_rate=self.max_error_rate,
                beside_tools=one_thread,
                progress=report if self._rank == 0 else None,
            )
            try:
                yield oracle
            finally:
                oracle.close()
                reasoner.close()

    def _fill_split(self, oracle: Oracle, split: str, questions: list[Question]) -> None:
        extra = (ALL_OUTPUTS,) if split in TEST_SPLITS and self.all_outputs else ()
        ranks = Ranks.of(self.trainer)
        table = judged(fill(oracle, ranks, questions, (*oracle.actions, *extra)), self.scorer)
        if extra:
            table, self.together[split] = split_last(table)
        self.tables[split] = table
        if split == "test" and self.crossfit:
            again = fill(oracle, ranks, questions, oracle.actions, replicate=1)
            self.replicates[split] = judged(again, self.scorer)

    def _stratify(self, stage: str) -> None:
        """Leave of `train` what is trained on; a survey looks at the whole pool."""
        if self.stratify is not None and (pool := self.tables.get("train")):
            settings, whole = self.stratify, stage == "survey"
            table, self.strata = drawn_from(pool, settings, self.seed, whole=whole)
            self.tables["train"], self._questions["train"] = table, list(table.questions)

    def _parts(self, split: str) -> int:
        times = 2 if split == "test" and self.crossfit else 1
        return times * (len(self.tools) + 1) + (split in TEST_SPLITS and self.all_outputs)

    # --- batches ----------------------------------------------------------------------------

    def train_dataloader(self) -> OrderedLoader[QuestionBatch]:
        """Batches of the train split in the epoch's order, from where the trainer stands."""
        table = self._table("train")
        seed = int(os.environ.get("PL_GLOBAL_SEED", self.seed))
        order = Order(len(table), self.batch_size, seed, rank=self._rank, world=self._world)

        def make(rows: list[int]) -> QuestionBatch:
            return collate(table.questions, rows, self.clip, table)

        return OrderedLoader(order, make, self._batches_done)

    def val_dataloader(self) -> EvaluationLoader | list[Any]:
        """Batches of the val split; none where there is no such split."""
        return self._loader("val") if "val" in self.tables else []

    def test_dataloader(self) -> EvaluationLoader:
        """Batches of the test split."""
        return self._loader("test")

    def batches(self, split: str) -> EvaluationLoader:
        """A split's batches, whole on every rank; without a table they carry no outcomes."""
        questions, table = self.questions(split), self.tables.get(split)
        return EvaluationLoader(questions, self.clip, table, self.eval_batch_size)

    def _loader(self, split: str) -> EvaluationLoader:
        table = self._table(split)
        size = self.eval_batch_size
        return EvaluationLoader(table.questions, self.clip, table, size, self._rank, self._world)

    def _table(self, split: str) -> OutcomeTable:
        if split not in self.tables:
            raise UserError(
                f"data: {self.source!r} has no {split} split, which is needed here. "
                f"It has: {', '.join(self.tables)}."
            )
        return self.tables[split]

    def _batches_done(self) -> int:
        """The module's own count, which its checkpoint restores."""
        module = getattr(self.trainer, "lightning_module", None)
        return int(getattr(module, "batches_done", 0))

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def _world(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1
