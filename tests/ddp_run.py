"""One rank of a two-process run; started by test_ddp.py, not a test itself."""

from __future__ import annotations

import sys
from pathlib import Path

import learner_toy as toy
import torch
from lightning.pytorch.strategies import DDPStrategy


def main(folder: str, out: str) -> None:
    """Train three steps on batches of 7 (shares of 4 and 3), keep them, then let rank 1 fail."""
    module, gradients = toy.module(folder), toy.Gradients()
    trainer = toy.trainer(
        out,
        devices=2,
        strategy=DDPStrategy(process_group_backend="gloo"),
        callbacks=[gradients],
    )
    trainer.fit(module, datamodule=toy.ToyData(questions=20, batch_size=7))
    if trainer.is_global_zero:
        torch.save(
            {
                "gradients": gradients.steps,
                "centre": module.policy.centre,
                "val": {k: v for k, v in trainer.callback_metrics.items() if k.startswith("val/")},
            },
            Path(out) / "rank0.pt",
        )
    trainer.strategy.barrier()
    if trainer.global_rank == 1:
        raise RuntimeError("rank one has had enough")
    trainer.strategy.barrier()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
