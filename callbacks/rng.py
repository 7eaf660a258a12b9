"""Keeps the random generators' state in checkpoints, which Lightning leaves out.

As lists of numbers, because a numpy state does not load under `weights_only=True`. A checkpoint is
written by the first rank, so this is the first rank's state; a router's own training draws nothing
from these generators (see `routerlab.module`), other modules and callbacks may.
"""

from __future__ import annotations

import random
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class RngState(Callback):
    """Saves Python's, numpy's and torch's generators and puts them back when training goes on."""

    def __init__(self) -> None:
        self._restored: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """The generators as they are now."""
        return capture()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until training starts: what comes before it draws numbers too."""
        self._restored = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the generators back."""
        if self._restored:
            restore(self._restored)
            self._restored = {}


def capture() -> dict[str, Any]:
    """The state of all generators as plain lists and numbers."""
    version, words, gauss = random.getstate()
    name, keys, place, has_gauss, cached = cast(tuple[Any, ...], np.random.get_state(legacy=True))
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(name), keys.tolist(), int(place), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state().tolist(),
        "cuda": [state.tolist() for state in torch.cuda.get_rng_state_all()],
    }


def restore(state: dict[str, Any]) -> None:
    """Put back what `capture` took; devices that are not here are passed over."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, place, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), place, has_gauss, cached))
    torch.set_rng_state(torch.tensor(state["torch"], dtype=torch.uint8))
    for device, saved in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(torch.tensor(saved, dtype=torch.uint8), device)
