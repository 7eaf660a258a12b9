"""A run stopped after any optimizer step and gone on with ends exactly where it would have."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import learner_toy as toy
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny import tiny_folder

from routerlab.callbacks import RngState
from routerlab.callbacks.rng import capture, restore
from routerlab.errors import UserError
from routerlab.policy.adapter import trainable
from routerlab.policy.objectives import Grpo

pytestmark = [
    *toy.lightning_warnings,
    pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]
EPOCHS, STEPS = 2, 6


class Record(Callback):
    """The figures of every step, and a draw from each global generator."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        figures = {k: float(v) for k, v in trainer.callback_metrics.items() if "train/" in k}
        drawn = {"torch": float(torch.rand(1)), "numpy": np.random.rand(), "py": random.random()}
        self.rows.append(figures | drawn)


def run(
    folder: str, home: Path, policy: dict[str, Any], from_checkpoint: Path | None = None
) -> tuple[Any, list[Any]]:
    """End state and figures of a run, whole or gone on with."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    record = Record()
    saver = ModelCheckpoint(home, "{step}", save_top_k=-1, every_n_train_steps=1)
    module = toy.module(folder, policy, objective=Grpo(group=4, advantage_norm="batch_std"))
    trainer = toy.trainer(
        home,
        max_epochs=EPOCHS,
        callbacks=[record, RngState(), saver],
        enable_checkpointing=True,
    )
    trainer.fit(module, datamodule=toy.ToyData(), ckpt_path=from_checkpoint, weights_only=True)
    assert trainer.global_step == STEPS
    optimizer = [
        value
        for state in trainer.optimizers[0].state_dict()["state"].values()
        for value in state.values()
    ]
    validation = [v for k, v in sorted(trainer.callback_metrics.items()) if k.startswith("val/")]
    weights = [p.detach() for p in trainable(module).values()]
    return [*weights, module.policy.centre, *optimizer, *validation], record.rows


@pytest.mark.parametrize(
    "policy",
    [{"shuffle_labels": True}, {"lora_layers": 1}, {"cards": "apart", "cache_audio": False}],
    ids=str,
)
def test_every_step_can_be_gone_on_from(tmp_path: Path, policy: dict[str, Any]) -> None:
    folder = tiny_folder(tmp_path / "lalm")
    whole, rows = run(folder, tmp_path / "whole", policy)
    for step in range(1, STEPS):
        checkpoint = tmp_path / "whole" / f"step={step}.ckpt"
        end, later = run(folder, tmp_path / f"from{step}", policy, checkpoint)
        assert all(torch.equal(a, b) for a, b in zip(whole, end, strict=True)), step
        assert later == rows[step:], step


def test_a_group_half_gathered_is_gone_on_with(tmp_path: Path) -> None:
    """Validation, and so a checkpoint, after three batches: in the middle of the second group."""
    folder = tiny_folder(tmp_path / "lalm")

    def end(home: Path, from_checkpoint: Path | None = None) -> list[torch.Tensor]:
        saver = ModelCheckpoint(home, "{step}", save_top_k=-1)
        module = toy.module(folder, accumulate=2, objective=Grpo(group=4))
        trainer = toy.trainer(
            home, callbacks=[saver], enable_checkpointing=True, val_check_interval=3
        )
        data = toy.ToyData(questions=32, batch_size=8)
        trainer.fit(module, datamodule=data, ckpt_path=from_checkpoint, weights_only=True)
        return [p.detach() for p in trainable(module).values()]

    whole = end(tmp_path / "whole")
    half = tmp_path / "whole" / "step=1.ckpt"
    assert torch.load(half, weights_only=True)["router"]["batches_done"] == 3
    again = end(tmp_path / "again", half)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))


def test_other_questions_are_not_gone_on_with(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "lalm")
    saver = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=1)
    settings = {"max_epochs": EPOCHS, "callbacks": [saver], "enable_checkpointing": True}
    toy.trainer(tmp_path, **settings).fit(toy.module(folder), datamodule=toy.ToyData())
    with pytest.raises(UserError, match=r"24 questions in batches of 8 .* 24 questions .* of 4"):
        toy.trainer(tmp_path, **settings).fit(
            toy.module(folder),
            datamodule=toy.ToyData(batch_size=4),
            ckpt_path=tmp_path / "step=2.ckpt",
            weights_only=True,
        )


def test_generators_come_back_as_they_were_from_plain_lists(tmp_path: Path) -> None:
    kept = capture()
    torch.save(kept, tmp_path / "rng.pt")
    first = (random.random(), np.random.normal(), torch.rand(1).item())
    restore(torch.load(tmp_path / "rng.pt", weights_only=True))
    assert (random.random(), np.random.normal(), torch.rand(1).item()) == first
