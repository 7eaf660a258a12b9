"""A whole small learner for tests: tiny LALM, a table one can learn by heart, a DataModule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from tiny import tone
from torch import Tensor

from routerlab.data.batches import EvaluationLoader, collate
from routerlab.data.module import RouterDataModule
from routerlab.data.order import Order, OrderedLoader
from routerlab.module import RouterModule
from routerlab.policy.adapter import trainable
from routerlab.policy.router import RouterPolicy
from routerlab.types import Clip, OutcomeTable, Question, QuestionBatch, ToolCard

# Deprecations inside Lightning and transformers, not ours to mend.
lightning_warnings = [
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
]

CARDS = (
    ToolCard("pitch", "which note is played", "note", "chords"),
    ToolCard("tempo", "how many beats a minute", "bpm", "few beats"),
)
# Asked so, the tool of the same number is right and the others are wrong.
ASKED = ("Who is it?", "Which note is played?", "How many events are there?")


def question(number: int) -> Question:
    kind = number % len(ASKED)
    return Question(f"q{number}", f"{number}.wav", ASKED[kind], ("C4", "Eb4"), "C4")


def clip_of(asked: Question) -> Clip:
    number = int(asked.id[1:])
    return tone(0.2 + 0.05 * (number % 3), hz=220.0 + 20 * (number % 5), seed=number % 15)


def table(questions: int) -> OutcomeTable:
    best = np.arange(questions) % len(ASKED)
    correct = np.arange(len(CARDS) + 1) == best[:, None]
    names = ("direct", *(card.name for card in CARDS))
    asked = tuple(question(n) for n in range(questions))
    return OutcomeTable(asked, names, correct, np.ones_like(correct))


def batch(known: OutcomeTable, rows: Sequence[int]) -> QuestionBatch:
    return collate(known.questions, rows, clip_of, known)


class ToyData(LightningDataModule):
    """Outcome tables learnt by heart; the interface that RouterModule asks of a DataModule."""

    def __init__(self, questions: int = 24, batch_size: int = 8, val: int = 9) -> None:
        super().__init__()
        self.tables = {"train": table(questions), "val": table(val), "test": table(val)}
        self.cards = CARDS
        self.batch_size = batch_size

    def train_dataloader(self) -> OrderedLoader[QuestionBatch]:
        trainer: Trainer = self.trainer
        known = self.tables["train"]
        order = Order(
            len(known), self.batch_size, 7, rank=trainer.global_rank, world=trainer.world_size
        )
        return OrderedLoader(
            order,
            lambda rows: batch(known, rows),
            lambda: RouterDataModule._batches_done(self),  # type: ignore[arg-type]
        )

    def val_dataloader(self) -> EvaluationLoader:
        return self._whole("val")

    def test_dataloader(self) -> EvaluationLoader:
        return self._whole("test")

    def _whole(self, split: str) -> EvaluationLoader:
        known, trainer = self.tables[split], self.trainer
        return EvaluationLoader(
            known.questions, clip_of, known, 4, trainer.global_rank, trainer.world_size
        )


class Gradients(Callback):
    """Keeps the clipped gradients of every step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        named = trainable(pl_module).items()
        self.steps.append({name: p.grad.clone() for name, p in named if p.grad is not None})


def router(folder: str, **settings: Any) -> RouterPolicy:
    return RouterPolicy(folder, lora_r=4, lora_alpha=8, **settings)


def module(folder: str, policy: dict[str, Any] | None = None, **settings: Any) -> RouterModule:
    return RouterModule(router(folder, **(policy or {})), **({"seed": 3, "lr": 1e-2} | settings))


def trainer(folder: Any, **settings: Any) -> Trainer:
    quiet = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
        "max_epochs": 1,
        "default_root_dir": str(folder),
    }
    return Trainer(**(quiet | settings))
