"""Writes a run's manifest when it starts, so that a run which dies can be told from others too.

Versions, hashes and the seed; never the environment, so no secret. The resolved recipe is written
beside it by the command line, results at the end by `routerlab.experiment`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from routerlab.report.results import file_hash, manifest

MANIFEST = "manifest.json"
RECIPE = "recipe.yaml"


class RunFolder(Callback):
    """Leaves `manifest.json` in the run folder before the first step."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the manifest, once, from the first rank."""
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(facts(trainer, pl_module), indent=2, sort_keys=True)
        half = folder / f"{MANIFEST}.half"
        half.write_text(text + "\n", encoding="utf-8")
        half.replace(folder / MANIFEST)


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
        recipe=file_hash(recipe) if recipe.is_file() else "",
    )
