"""Writes what a run is made of when it starts, and its figures as it goes on.

The manifest has versions, hashes and the seed; never the environment, so no secret. It is there
before the first step, so that a run which dies can be told from others too. The resolved recipe is
written beside it by the command line, results at the end by `routerlab.experiment`.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from routerlab.report.results import METRICS, file_hash, manifest

MANIFEST = "manifest.json"
RECIPE = "recipe.yaml"


class RunFolder(Callback):
    """Leaves `manifest.json` before the first step, and `metrics.jsonl` as the run goes on.

    A line of metrics holds the optimizer's step, the epoch and the figures that the module logs: of
    training every `trainer.log_every_n_steps` steps, of validation whenever there is one. A run
    that is gone on with adds lines; where a step stands twice, the later line counts.
    """

    def __init__(self) -> None:
        self._noted = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the manifest, once, from the first rank."""
        self._noted = trainer.global_step
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(facts(trainer, pl_module), indent=2, sort_keys=True)
        half = folder / f"{MANIFEST}.half"
        half.write_text(text + "\n", encoding="utf-8")
        half.replace(folder / MANIFEST)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the step's figures when it is time."""
        every = max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if trainer.global_step // every > self._noted // every:
            self._noted = trainer.global_step
            note(trainer, "train/")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what validation found, if it was part of a fit."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            note(trainer, "val/")


def note(trainer: Trainer, kind: str) -> None:
    """Add a line of the figures of one kind, from the first rank."""
    figures = {
        name: value
        for name, tensor in trainer.callback_metrics.items()
        if name.startswith(kind) and math.isfinite(value := float(tensor))
    }
    if trainer.is_global_zero and figures:
        line = json.dumps({"step": trainer.global_step, "epoch": trainer.current_epoch, **figures})
        with (Path(trainer.default_root_dir) / METRICS).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def facts(trainer: Any, module: Any) -> dict[str, Any]:
    """What this run is made of."""
    data, recipe = trainer.datamodule, Path(trainer.default_root_dir) / RECIPE
    seed = os.environ.get("PL_GLOBAL_SEED")
    return manifest(
        None if seed is None else int(seed),
        getattr(data, "files", {}),
        lalm=getattr(data, "lalm", ""),
        router_lalm=module.policy.base_fingerprint,
        tools=getattr(data, "versions", {}),
        releases=getattr(data, "releases", {}),
        scorer=getattr(data, "scorer", ""),
        strata=getattr(data, "strata", {}),
        recipe=file_hash(recipe) if recipe.is_file() else "",
    )
