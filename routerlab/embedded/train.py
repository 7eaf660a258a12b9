"""`python -m routerlab.embedded.train`: the module, the data module and a trainer, as one command.

The same as `routerlab fit recipes/embedded_lalm.yaml`, for machines where a few plain flags are
handier than a recipe.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import lightning

from routerlab.embedded.build import Sizes
from routerlab.embedded.data import EmbeddedDataModule
from routerlab.embedded.module import EmbeddedLALMModule


def sizes_of(width: int) -> Sizes:
    """The default proportions at another width; a multiple of 16.

    >>> sizes_of(192).text_rope
    (6, 9, 9)
    """
    half = width // 8
    side = half * 3 // 8
    rope = (half - 2 * side, side, side)
    return replace(
        Sizes(), text_width=width, text_ffn=3 * width, text_rope=rope,
        audio_width=width, audio_ffn=2 * width,
    )  # fmt: skip


def main() -> None:
    """Read the flags, train, validate, export."""
    flags = _flags()
    lightning.seed_everything(flags.seed, workers=True)
    data = EmbeddedDataModule(
        folder=flags.folder, clips=flags.clips, exam_clips=flags.exam_clips, seed=flags.seed,
        batch_size=flags.batch_size, branches=flags.branches, workers=flags.workers,
        loaders=flags.loaders,
    )  # fmt: skip
    sizes = replace(sizes_of(flags.width), text_layers=flags.layers,
                    audio_layers=flags.audio_layers)  # fmt: skip
    model = EmbeddedLALMModule(sizes, out=flags.out, lr=flags.lr, seed=flags.seed)
    every = min(flags.exam_every, flags.steps)
    trainer = lightning.Trainer(
        max_steps=flags.steps, max_epochs=-1, accelerator=flags.accelerator, devices=1,
        precision=flags.precision, gradient_clip_val=1.0, val_check_interval=every,
        check_val_every_n_epoch=None, num_sanity_val_steps=0, logger=False,
        enable_checkpointing=False, log_every_n_steps=50,
        enable_progress_bar=not flags.quiet,
        callbacks=[Lines()] if flags.quiet else [],
    )  # fmt: skip
    trainer.fit(model, data)


class Lines(lightning.Callback):
    """Plain lines in place of a bar: the loss now and then, the exam when there is one."""

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: object
    ) -> None:
        """Print every hundredth step's loss."""
        if trainer.global_step % 100 == 0:
            loss = float(trainer.callback_metrics["train/loss"])
            print(f"step {trainer.global_step} loss {loss:.4f}", flush=True)

    def on_validation_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        """Print the exam."""
        shown = {k[4:]: round(float(v), 3) for k, v in trainer.callback_metrics.items()
                 if k.startswith("val/")}  # fmt: skip
        print(f"exam at step {trainer.global_step}: {shown}", flush=True)


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--folder", default="runs/embedded-data", help="where prepared clips are kept")
    add("--out", default="routerlab/embedded/lalm", help="the folder to write; '' for none")
    add("--clips", type=int, default=20_000)
    add("--exam-clips", type=int, default=1_000)
    add("--steps", type=int, default=6_000)
    add("--exam-every", type=int, default=1_000)
    add("--batch-size", type=int, default=24)
    add("--branches", type=int, default=3, help="prompts a clip and step, at most")
    add("--lr", type=float, default=2e-3)
    add("--width", type=int, default=128)
    add("--layers", type=int, default=4)
    add("--audio-layers", type=int, default=2)
    add("--seed", type=int, default=0)
    add("--workers", type=int, default=0, help="processes that make clips; 0 for all cores")
    add("--loaders", type=int, default=1, help="processes that draw lessons")
    add("--accelerator", default="auto")
    add("--precision", default="32-true", help="bf16-mixed on a GPU")
    add("--quiet", action="store_true", help="plain lines, no bar")
    return parser.parse_args()


if __name__ == "__main__":
    main()
