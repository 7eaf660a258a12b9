"""Asking routers what they would do: the trained one, and the rivals that need a model too.

Each gives probabilities or actions for a split; what they earn is read elsewhere. The no-audio
router is trained exactly as the router was, and as long, from a copy taken before training, with a
Trainer of its own and nothing shown.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything
from numpy.typing import NDArray

from routerlab.data.module import RouterDataModule
from routerlab.errors import UserError
from routerlab.lalm.device import AUTO, present, resolve
from routerlab.oracle.cache import Cache
from routerlab.oracle.keys import digest
from routerlab.policy.prompt import PROMPT_VERSION
from routerlab.types import Clip, OutcomeTable, Question, QuestionBatch

Probabilities = NDArray[np.float32]


def route(policy: Any, datamodule: RouterDataModule, split: str) -> Probabilities:
    """What the policy does on a split: probabilities [N, K+1] in action order."""
    return _gathered(policy.probabilities, policy, datamodule, split)


def prompted(policy: Any, datamodule: RouterDataModule, split: str) -> Probabilities:
    """What the LALM does when prompted and not trained, averaged over rotations of the labels.

    No training changes this, and every question is asked once a label: so it is remembered.
    """
    about = _of_prompted(policy)
    with Cache(datamodule.cache_dir) as cache:

        def ask(batch: QuestionBatch) -> torch.Tensor:
            keys = [_prompted_key(about, q, c) for q, c in zip(batch, batch.clips, strict=True)]
            known = cache.get_many(keys)
            if len(known) < len(set(keys)):
                found = policy.prompted(batch).float().cpu().tolist()
                known = {k: {"probabilities": p} for k, p in zip(keys, found, strict=True)}
                cache.put_many(known)
            return torch.tensor([known[key]["probabilities"] for key in keys])

        return _gathered(ask, policy, datamodule, split)


_SEEN = ("dtype", "audio", "max_seconds", "quantize")


def _of_prompted(policy: Any) -> str:
    """Digest of all but question and clip that an untrained router's choice depends on."""
    settings = {name: policy.settings[name] for name in _SEEN}
    return digest(
        {
            "fact": "prompted",
            "lalm": policy.base_fingerprint,
            "prompt": PROMPT_VERSION,
            "cards": [asdict(card) for card in policy.cards],
            "labels": list(policy.labels),
            "backend": policy.centre.device.type,
            "layout": policy.settings["cards"],
            **settings,
        }
    )


def _prompted_key(about: str, question: Question, clip: Clip) -> str:
    asked = {"question": question.question, "choices": list(question.choices)}
    return digest({"about": about, "clip": clip.fingerprint, **asked})


def restore(
    model: Any,
    datamodule: RouterDataModule,
    ckpt_path: str | None,
    trainer: Trainer | None = None,
) -> None:
    """Put a checkpoint's router into a built module, refusing one of another base.

    Args:
        trainer: whose device the router runs on, unless its own setting names another.

    Raises:
        UserError: when there is no checkpoint, or it belongs to another LALM.
    """
    if ckpt_path is None:
        raise UserError("ckpt_path: no checkpoint of a router. First: routerlab fit RECIPE.")
    model.policy.configure(datamodule.cards)
    checkpoint = torch.load(ckpt_path, map_location="cpu", weights_only=True)
    model.on_load_checkpoint(checkpoint)
    model.load_state_dict(checkpoint["state_dict"], strict=False)
    model.to(device_of(model.policy, trainer))


def device_of(policy: Any, trainer: Trainer | None = None) -> torch.device:
    """Where a router answers outside training: its setting, else the trainer's device."""
    wanted = policy.settings["device"]
    if wanted == AUTO and trainer is not None:
        return trainer.strategy.root_device
    return present(resolve(wanted))


def share_base(policy: Any, reasoner: Any) -> None:
    """Let the reasoner answer with the router's copy of the weights, if it is set to.

    Raises:
        UserError: it is set to, and stands on another base.
    """
    if getattr(reasoner, "share_base", False):
        reasoner.borrow(policy.lalm, policy.plainly)


def words_only(
    reward: Any, train: OutcomeTable, tables: dict[str, OutcomeTable]
) -> dict[str, NDArray[np.int64]]:
    """Actions of the text router, fitted on `train`, for each table."""
    # Imported here: scikit-learn takes a second, and `survey` has no use for it.
    from routerlab.policy.text import TextRouter

    router = TextRouter()
    router.fit(list(train.questions), reward.on(train), train.valid)
    return {
        split: np.asarray(router.choose(list(table.questions)), dtype=np.int64)
        for split, table in tables.items()
    }


def deaf(module: Any) -> Any:
    """A copy of an untrained module whose router hears silence.

    Taken before anything is loaded, so it costs next to nothing and shares no state.
    """
    twin = copy.deepcopy(module)
    settings = {**module.policy.settings, "audio": "zero"}
    twin.policy = type(module.policy)(**settings)
    return twin


def train_quietly(module: Any, datamodule: RouterDataModule, like: Trainer) -> None:
    """Train as `like` did: as many steps, however it ended, by the same plan; nothing is shown."""
    module.planned_steps = like.lightning_module.total_steps
    if "PL_GLOBAL_SEED" in os.environ:
        seed_everything(int(os.environ["PL_GLOBAL_SEED"]), verbose=False)
    with _without_tips():
        _silent_trainer(like).fit(module, datamodule=datamodule)


def _silent_trainer(like: Trainer) -> Trainer:
    place = like.strategy.root_device
    return Trainer(
        accelerator="cpu" if place.type == "cpu" else "auto",
        devices=1 if place.index is None else [place.index],
        precision=like.precision,
        max_epochs=-1,
        max_steps=like.global_step,
        limit_train_batches=like.limit_train_batches,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=like.default_root_dir,
    )


@contextmanager
def _without_tips() -> Iterator[None]:
    """Lightning's notes on hardware and limits, said once for the run, are not said again."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def best_actions(probabilities: Probabilities) -> NDArray[np.int64]:
    """The most probable action of each row, the earlier one on a tie."""
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def _gathered(
    ask: Any, policy: torch.nn.Module, datamodule: RouterDataModule, split: str
) -> Probabilities:
    was_training = policy.training
    policy.eval()
    try:
        with torch.no_grad():
            parts = [ask(batch).float().cpu().numpy() for batch in datamodule.batches(split)]
    finally:
        policy.train(was_training)
    return np.concatenate(parts)
