"""Problems of meaning in a recipe that parses: files, tools, labels, sizes, refused settings.

All of them are gathered before anything heavy is loaded, so that one look mends them all. What a
part can say of itself it says in its own `problems()`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from routerlab.commands.recipes import read_recipe
from routerlab.commands.runs import Run
from routerlab.errors import UserError
from routerlab.lalm.checkpoint import locate, read_config

_OWN_KEY = re.compile(r"^[\w.]+: ")
_MANUAL = {"gradient_clip_val": (None, "grad_clip"), "accumulate_grad_batches": (1, "accumulate")}
_WHOLE = (None, 32, "32", "32-true")
_DDP = re.compile(r"auto|ddp(_find_unused_parameters_(true|false))?")


def config_problems(config: Mapping[str, Any]) -> list[str]:
    """What can be seen in the resolved recipe alone, before any class of it is built."""
    # Only now: the families import torch.
    from routerlab.lalm.families import family_of

    problems = [
        f"{where}: a recipe cannot trust code by itself. Leave it out and use --trust."
        for where, value in settings_named("trusted", config)
        if value
    ]
    for where, name in settings_named("lalm", config):
        try:
            if isinstance(name, str) and not _is_hub_id(name):
                family_of(read_config(locate(name)), name)
        except UserError as error:
            problems.append(f"{where}: {error}")
    return problems


def object_problems(model: Any, datamodule: Any, trainer: Mapping[str, Any]) -> list[str]:
    """What the built, not yet loaded, parts say of themselves, and Lightning's known refusals.

    Args:
        trainer: the trainer's settings.
    """
    problems = [
        line if _OWN_KEY.match(line) else f"{where}: {line}"
        for where, part in (("data", datamodule), ("model", model))
        if hasattr(part, "problems")
        for line in part.problems()
    ]
    if model.automatic_optimization:
        return problems
    return problems + _by_hand(model, trainer) + _together(model, datamodule, trainer)


def _together(model: Any, datamodule: Any, trainer: Mapping[str, Any]) -> list[str]:
    """Settings of two parts that do not go together."""
    found = []
    devices = str(trainer.get("devices"))
    batch = getattr(datamodule, "batch_size", None)
    if batch and devices.isdigit() and int(devices) > batch:
        found.append(
            f"data.batch_size: {batch} for trainer.devices: {devices}. A batch is that of all "
            "devices, each of which needs a question of it: give at least as many."
        )
    settings = getattr(getattr(model, "policy", None), "settings", {})
    reasoner: Any = getattr(datamodule, "reasoner", None) if settings else None
    if getattr(reasoner, "share_base", False):
        keys = ("lalm", "dtype", "quantize")
        ours = (reasoner.name, reasoner.dtype, reasoner.quantize)
        found += [
            f"data.reasoner.share_base: {key} is {own!r} there, {settings[key]!r} in the router. "
            "Give both the same, or share_base: false."
            for key, own in zip(keys, ours, strict=True)
            if own != settings[key]
        ]
    return found


def changed_problems(config: Mapping[str, Any], run: Run) -> list[str]:
    """Whether a run that is gone on with would be trained otherwise than so far: a line, or none.

    Its manifest would claim the new settings for the whole of it. How long, on what machine and
    with which callbacks may differ; that the questions are the same, the module itself sees to.
    """
    kept = read_recipe(run.recipe)
    found = [
        line
        for key in ("seed_everything", "model")
        for line in _differences(config.get(key), kept.get(key), key)
    ]
    if not found:
        return []
    return [
        f"{'; '.join(found)} ({run.folder}). Give the run's own settings, or begin a new run "
        "without --ckpt_path."
    ]


def _differences(given: Any, kept: Any, where: str) -> Iterator[str]:
    """Every setting that is another; one that a side does not have is null there."""
    if not isinstance(given, Mapping) or not isinstance(kept, Mapping):
        if given != kept:
            yield f"{where}: {_as_yaml(given)} given, {_as_yaml(kept)} in the run"
        return
    # The settings of another class are no others: they mean something else.
    of_class = given.get("class_path") == kept.get("class_path")
    for key in {**kept, **given} if of_class else ("class_path",):
        yield from _differences(given.get(key), kept.get(key), f"{where}.{key}")


def _as_yaml(value: Any) -> str:
    """As it would be written in a recipe.

    >>> _as_yaml(None), _as_yaml(0.01), _as_yaml({"r": [4, "all"]})
    ('null', '0.01', '{r: [4, all]}')
    """
    written: str = yaml.safe_dump(
        value, default_flow_style=True, width=math.inf, allow_unicode=True
    )
    return written.removesuffix("...\n").strip()


def _by_hand(model: Any, trainer: Mapping[str, Any]) -> list[str]:
    """What a module that steps its optimizer itself, in float32 and whole, leaves no room for."""
    precision, strategy = trainer.get("precision"), trainer.get("strategy", "auto")
    found = []
    if precision not in _WHOLE:
        found.append(
            f"trainer.precision: {precision!r} given, but an adapter is trained in float32. Leave "
            "it out; the base is narrowed by model.init_args.policy.init_args.dtype: bfloat16."
        )
    if isinstance(strategy, str) and not _DDP.fullmatch(strategy):
        found.append(
            f"trainer.strategy: {strategy!r}. Allowed: auto, ddp. Each process is a fresh one "
            "and holds the whole router; only the adapter's gradients are exchanged."
        )
    if trainer.get("overfit_batches"):
        found.append(
            "trainer.overfit_batches: given, but the order of questions goes on from epoch to "
            "epoch. Leave it out; trainer.limit_train_batches shortens an epoch."
        )
    return found + [
        f"trainer.{key}: {trainer[key]} given, but {type(model).__name__} steps its optimizer "
        f"itself. Leave it out; a router has model.init_args.{instead}."
        for key, (allowed, instead) in _MANUAL.items()
        if trainer.get(key) != allowed
    ]


def settings_named(name: str, tree: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every (dotted key, value) of a setting of that name, anywhere in a recipe.

    >>> list(settings_named("lalm", {"model": {"init_args": {"lalm": "embedded"}}}))
    [('model.init_args.lalm', 'embedded')]
    """
    branches = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
    for key, value in branches:
        here = f"{where}.{key}" if where else str(key)
        if key == name:
            yield here, value
        elif isinstance(value, Mapping | list):
            yield from settings_named(name, value, here)


def _is_hub_id(name: str) -> bool:
    """Whether it is fetched from the hub when it is needed, and so cannot be looked at now."""
    return not name.startswith((".", "/", "~")) and name.count("/") == 1 and not Path(name).exists()
