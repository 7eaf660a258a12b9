"""The LALM's schooling as Lightning reads it: prepared shards, lessons drawn anew each epoch.

Clips and outputs come from `routerlab.embedded.prepare`, what is drawn from them is
`routerlab.embedded.curriculum`'s affair, how it is laid out `routerlab.embedded.batch`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from routerlab.embedded.batch import Batch, Example, audio_tokens, collate
from routerlab.embedded.curriculum import Lesson, Shares, draw_lesson, irrelevant_tools, observation
from routerlab.embedded.encode import Encoder
from routerlab.embedded.prepare import TOOLS, Record, Shard, prepare, read_shard
from routerlab.embedded.text_tasks import TextTask, draw_task
from routerlab.policy.prompt import system_text, with_direct
from routerlab.reasoners.prompts import ANSWER_CUE, observation_text, option_text, question_text
from routerlab.tools.registry import known_tools
from routerlab.types import ToolCard

Key = tuple[int, int]
"""(epoch, index): all that decides what is drawn, so that order and workers do not matter."""


def known_cards() -> tuple[ToolCard, ...]:
    """Direct's card and those of the shipped tools that the LALM may read."""
    known = known_tools()
    return with_direct([known[name].card for name in TOOLS])


class Clips:
    """All prepared clips under one running number."""

    def __init__(self, shards: Sequence[Shard], keep: Mapping[str, float] | None = None) -> None:
        shares = keep or {}
        places = [(s, i) for s in shards for i in range(len(s.records))]
        self._places = [
            (s, i)
            for number, (s, i) in enumerate(places)
            if _evenly(number, shares.get(s.records[i].family, 1.0))
        ]
        self.records = [s.records[i] for s, i in self._places]

    def __len__(self) -> int:
        return len(self.records)

    def mel(self, index: int) -> np.ndarray[Any, np.dtype[np.float16]]:
        """The log-mel of one clip."""
        shard, place = self._places[index]
        return shard.mel(place)

    def tokens(self, index: int) -> int:
        """How many places the clip takes in a row."""
        shard, place = self._places[index]
        return audio_tokens(shard.starts[place + 1] - shard.starts[place])


def _evenly(number: int, share: float) -> bool:
    """Whether a running number is among a share of all, spread without pattern.

    >>> sum(_evenly(i, 0.25) for i in range(4000))
    1001
    """
    return (number * 0.6180339887498949) % 1.0 < share


class LessonSet(Dataset[Example]):
    """Lessons by (epoch, index); indices beyond the clips are text tasks."""

    def __init__(
        self, clips: Clips, encoder: Encoder, shares: Shares, branches: int, seed: int
    ) -> None:
        self._clips, self._encoder = clips, encoder
        self._shares, self._branches, self._seed = shares, branches, seed

    def __getitem__(self, key: Key) -> Example:
        rng = self._rng(key)
        if key[1] >= len(self._clips):
            return self._task(rng)
        lesson = self._lesson(rng, key[1])
        return Example(self._encoder.lesson(lesson), self._clips.mel(key[1]), lesson.kinds)

    def length(self, key: Key) -> float:
        """About how long the row will be, without making it."""
        if key[1] >= len(self._clips):
            return 150.0
        lesson = self._lesson(self._rng(key), key[1])
        shown = sum(len(o.text) + 10 for branch in lesson.branches for o in branch)
        return self._clips.tokens(key[1]) + 15 * len(lesson.branches) + shown / 2.2

    def _rng(self, key: Key) -> np.random.Generator:
        return np.random.default_rng([self._seed, *key])

    def _lesson(self, rng: np.random.Generator, index: int) -> Lesson:
        records = self._clips.records
        return draw_lesson(rng, records[index], records, self._shares, self._branches)

    def _task(self, rng: np.random.Generator) -> Example:
        audio = bool(rng.random() < 0.5)
        mel = self._clips.mel(int(rng.integers(len(self._clips)))) if audio else None
        return Example(self._encoder.task(draw_task(rng), audio), mel, ("text_task",))


class ExamSet(Dataset[Example]):
    """Held-out clips, each prompt with each option, to be scored by likelihood; then text tasks."""

    def __init__(self, clips: Clips, encoder: Encoder, tasks: int, seed: int) -> None:
        self._clips, self._encoder, self._tasks, self._seed = clips, encoder, tasks, seed

    def __len__(self) -> int:
        return len(self._clips) + self._tasks

    def __getitem__(self, index: int) -> Example:
        if index >= len(self._clips):
            task = draw_task(np.random.default_rng([self._seed, 1, index]))
            return _task_exam(self._encoder, task)
        rng = np.random.default_rng([self._seed, 0, index])
        record = self._clips.records[index]
        choices = [record.choices[i] for i in rng.permutation(len(record.choices))]
        prompts = exam_prompts(rng, record)
        tools = [() if tool is None else (observation(tool, record.outputs[tool]),)
                 for tool in prompts.values()]  # fmt: skip
        encoded = self._encoder.options(record.question, choices, tools)
        names = tuple(f"{kind}/{record.family}" for kind in prompts)
        return Example(encoded, self._clips.mel(index), names, choices.index(record.answer))


def exam_prompts(rng: np.random.Generator, record: Record) -> dict[str, str | None]:
    """What a held-out clip is asked with: by ear, and one output of each sort that it has."""
    sorts = {
        "fitting": [t for t in record.fits if t in record.outputs],
        "irrelevant": irrelevant_tools(record),
        "misleading": [t for t in record.outside if t in record.outputs],
    }
    drawn = {k: tools[int(rng.integers(len(tools)))] for k, tools in sorts.items() if tools}
    return {"direct": None, **drawn}


def _task_exam(encoder: Encoder, task: TextTask) -> Example:
    labels = [line[:2] for line in task.system.splitlines()[1:]]
    variants = [
        encoder.task(TextTask(task.system, task.user, task.cue, label), False) for label in labels
    ]
    # A label alone, without the end of turn: that is all a router reads.
    whole = variants[0]
    branches = tuple(((), v.branches[0][1][:-1]) for v in variants)
    shared, last = whole.tail[:-1], whole.tail[-1:]
    encoded = type(whole)(whole.head, shared, tuple((last, t) for _, t in branches))
    return Example(encoded, None, ("text_task/text",), labels.index(task.answer))


class Buckets(Sampler[list[Key]]):
    """Batches of rows of like length; the order is a function of (seed, epoch)."""

    def __init__(
        self, length: Callable[[Key], float], rows: int, batch_size: int, seed: int
    ) -> None:
        self._length, self._rows = length, rows
        self._batch_size, self._seed, self.epoch = batch_size, seed, 0

    def __len__(self) -> int:
        return self._rows // self._batch_size

    def __iter__(self) -> Iterator[list[Key]]:
        rng = np.random.default_rng([self._seed, 7, self.epoch])
        order = rng.permutation(self._rows)[: len(self) * self._batch_size]
        keys = [(self.epoch, int(i)) for i in order]
        self.epoch += 1
        pool = 32 * self._batch_size
        for start in range(0, len(keys), pool):
            part = sorted(keys[start : start + pool], key=self._length)
            firsts = range(0, len(part), self._batch_size)
            for first in rng.permutation(np.array(firsts)):
                yield part[first : first + self._batch_size]


class EmbeddedDataModule(lightning.LightningDataModule):
    """Prepares and serves the schooling of the embedded LALM.

    Args:
        folder: where shards are kept; made if missing, reused if there.
        clips: training clips.
        exam_clips: held-out clips (their own seed).
        seed: of clips and draws.
        batch_size: clips a step.
        branches: prompts a clip and step, at most.
        workers: processes for making clips; 0 for all cores.
        shares: the curriculum.
        keep: family -> share of its training clips that are used (all by default), so that a
            further training can dwell on what is not learned yet.
        families: which families the clips are drawn from in turn, repeated to weigh them; empty
            for all.
        loaders: processes that draw lessons; below 2 the training process does.
        system: the reasoner's system text in training prompts.
    """

    def __init__(
        self,
        folder: str = "runs/embedded-data",
        clips: int = 16_000,
        exam_clips: int = 1_000,
        exam_tasks: int = 200,
        seed: int = 0,
        batch_size: int = 16,
        branches: int = 2,
        workers: int = 0,
        loaders: int = 1,
        system: str = "",
        shares: Shares | None = None,
        keep: dict[str, float] | None = None,
        families: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.folder, self.clips, self.exam_clips = folder, clips, exam_clips
        self.exam_tasks, self.seed, self.batch_size = exam_tasks, seed, batch_size
        self.branches, self.workers, self.loaders = branches, workers, loaders
        self.system, self.shares, self.keep = system, shares or Shares(), keep or {}
        self._make = partial(prepare, folder, workers=workers, families=tuple(families))

    def prepare_data(self) -> None:
        """Make the shards that are missing."""
        self._paths()

    def _paths(self) -> tuple[list[Path], list[Path]]:
        # Seeds 2n and 2n+1: training and held-out clips of one seed, never those of another.
        train = self._make(self.clips, seed=2 * self.seed)
        return train, self._make(self.exam_clips, seed=2 * self.seed + 1)

    def setup(self, stage: str) -> None:
        """Open the shards; log-mels stay on disk."""
        train, exam = self._paths()
        self.train_clips = Clips([read_shard(path) for path in train], self.keep)
        self.held_out = Clips([read_shard(path) for path in exam])

    def corpus(self) -> list[str]:
        """Texts to train a tokenizer on: everything that the model will read or write."""
        rng = np.random.default_rng(self.seed)
        texts = []
        for record in self.train_clips.records:
            texts += [question_text(record.question, record.choices), option_text(record.answer)]
            texts += [observation_text([observation(*shown)]) for shown in record.outputs.items()]
        for _ in range(len(self.train_clips.records) // 8 + 50):
            task = draw_task(rng)
            texts += [task.system, task.user, task.cue, ANSWER_CUE]
        # Often enough that the router's fixed part is short.
        return [*texts, *([system_text(known_cards())] * (len(texts) // 200 + 1))]

    def connect(self, encoder: Encoder, mel_bins: int) -> None:
        """Give the module's tokenizer; before the loaders are asked for."""
        self._encoder, self._bins = encoder, mel_bins

    def train_dataloader(self) -> DataLoader[Example]:
        """Lessons in buckets of like length."""
        share = self.shares.text_task
        tasks = int(len(self.train_clips) * share / (1 - share))
        lessons = LessonSet(self.train_clips, self._encoder, self.shares, self.branches, self.seed)
        rows = len(self.train_clips) + tasks
        batches = Buckets(lessons.length, rows, self.batch_size, self.seed)
        return self._loader(lessons, batch_sampler=batches)

    def val_dataloader(self) -> DataLoader[Example]:
        """Held-out clips and text tasks with all their options."""
        exam = ExamSet(self.held_out, self._encoder, self.exam_tasks, self.seed)
        return self._loader(exam, batch_size=self.batch_size)

    def _loader(self, data: Dataset[Example], **how: Any) -> DataLoader[Example]:
        processes = self.loaders if self.loaders > 1 else 0
        return DataLoader(
            data,
            collate_fn=partial(self._collate, audio_id=self._encoder.audio, bins=self._bins),
            num_workers=processes,
            persistent_workers=processes > 0,
            **how,
        )

    @staticmethod
    def _collate(examples: Sequence[Example], audio_id: int, bins: int) -> Batch:
        return collate(examples, audio_id, bins)
