"""Saves the router's adapter while it is trained: the best in validation, and the last.

PEFT's own files and `router.json`, under `<run folder>/adapters`. Checkpoints to go on from are
Lightning's affair.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer


class AdapterSaver(Callback):
    """Writes `adapters/best` and `adapters/last`, each whole or not at all.

    Args:
        monitor: the figure that says which is best.
        mode: whether more of it is better.
        folder: where to; the run folder's `adapters` if None.
    """

    def __init__(
        self,
        monitor: str = "val/accuracy",
        mode: Literal["max", "min"] = "max",
        folder: str | None = None,
    ) -> None:
        self.monitor = monitor
        self.mode = mode
        self.folder = folder
        self.best: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on comparing with it."""
        self.best = state_dict["best"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A best figure counts where its adapter is; a checkpoint may come from another folder."""
        if not (self._home(trainer) / "best").is_dir():
            self.best = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save where validation was better than ever before; the first of equals stays."""
        found = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or found is None or math.isnan(value := float(found)):
            return
        sign = 1.0 if self.mode == "max" else -1.0
        if self.best is None or sign * value > sign * self.best:
            self.best = value
            self._save(trainer, pl_module, "best")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what training ended with."""
        self._save(trainer, pl_module, "last")

    def _save(self, trainer: Trainer, pl_module: Any, name: str) -> None:
        if not trainer.is_global_zero:
            return
        home = self._home(trainer)
        half, whole = home / f".{name}.half", home / name
        shutil.rmtree(half, ignore_errors=True)
        pl_module.policy.save_adapter(half)
        shutil.rmtree(whole, ignore_errors=True)
        half.replace(whole)

    def _home(self, trainer: Trainer) -> Path:
        return Path(self.folder or Path(trainer.default_root_dir) / "adapters")
