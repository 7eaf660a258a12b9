"""Problems of meaning in a recipe that parses: files, tools, labels, sizes, refused settings.

All of them are gathered before anything heavy is loaded, so that one look mends them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def config_problems(config: Mapping[str, Any], trusted: Sequence[str]) -> list[str]:
    """What can be seen in the resolved recipe alone, before any class of it is built."""
    return []


def object_problems(model: Any, datamodule: Any, trainer: Any) -> list[str]:
    """What the built, not yet loaded, parts say of themselves, and Lightning's known refusals."""
    problems = [
        f"{where}: {line}"
        for where, part in (("data", datamodule), ("model", model))
        if hasattr(part, "problems")
        for line in part.problems()
    ]
    if not model.automatic_optimization:
        name = type(model).__name__
        if trainer.gradient_clip_val is not None:
            problems.append(
                f"trainer.gradient_clip_val: {trainer.gradient_clip_val} given, but {name} steps "
                "its optimizer itself. Leave it out and set model.init_args.grad_clip."
            )
        if trainer.accumulate_grad_batches != 1:
            problems.append(
                f"trainer.accumulate_grad_batches: {trainer.accumulate_grad_batches} given, but "
                f"{name} steps its optimizer itself. Leave it out and set "
                "model.init_args.accumulate."
            )
    return problems
