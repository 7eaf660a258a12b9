"""RouterModule: it learns, its loop is explicit, and its checkpoints hold the adapter alone."""

from __future__ import annotations

import copy
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import learner_toy as toy
import pytest
import torch
from tiny import tiny_folder

from routerlab.errors import UserError
from routerlab.module import RouterModule, warmed_cosine
from routerlab.policy.adapter import trainable
from routerlab.policy.objectives import CostWeighted, Expected, Grpo, Objective
from routerlab.policy.rows import Draw, Rows
from routerlab.rewards import RelativeOutcomeReward
from routerlab.types import Answer, Outcome

pytestmark = toy.lightning_warnings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_folder(tmp_path_factory.mktemp("lalm"))


def fitted(folder: str, tmp_path: Path, policy: Any = None, **settings: Any) -> RouterModule:
    epochs = settings.pop("max_epochs", 1)
    module = toy.module(folder, policy, **settings)
    toy.trainer(tmp_path, max_epochs=epochs, limit_val_batches=0).fit(
        module, datamodule=toy.ToyData()
    )
    return module


def adapter_of(module: RouterModule) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainable(module).items()}


def gradients_of(module: RouterModule) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in trainable(module).items() if p.grad is not None}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize(
    "objective", [Expected(), CostWeighted(), Grpo(group=8, inner_steps=2)], ids=repr
)
def test_it_learns_to_route_by_heart(folder: str, objective: Objective, tmp_path: Path) -> None:
    module = toy.module(folder, objective=objective)
    trainer = toy.trainer(tmp_path, max_epochs=12, check_val_every_n_epoch=12)
    trainer.fit(module, datamodule=toy.ToyData())
    seen = trainer.callback_metrics
    assert seen["val/accuracy"] == 1.0
    assert seen["val/headroom_closed"] == 1.0
    assert seen["train/call_rate"] > 0.4
    assert {"train/pi_direct", "train/entropy", "train/label/C", "train/grad_norm"} <= seen.keys()


@dataclass(frozen=True)
class Paid(Expected):
    """Keeps the rewards that it is given."""

    seen: list[torch.Tensor] = field(default_factory=list)

    def row_loss(self, rows: Rows, progress: float, draw: Draw | None) -> torch.Tensor:
        self.seen.append(rows.rewards)
        return super().row_loss(rows, progress, draw)


def test_a_graded_reward_reads_the_answers_probabilities(folder: str, tmp_path: Path) -> None:
    data, objective = toy.ToyData(questions=8), Paid()
    known = data.tables["train"]
    # The gold option is the first of two; a right answer is sure to 80 %, a wrong one to 60 %.
    scores = {True: (math.log(0.8), math.log(0.2)), False: (math.log(0.4), math.log(0.6))}
    for row, question in enumerate(known.questions):
        for column, action in enumerate(known.actions):
            right = bool(known.correct[row, column])
            answer = Answer(int(not right), "", log_probs=scores[right])
            known.cells[question.id, action] = Outcome(  # type: ignore[index]
                question.id, action, "ok", right, answer
            )
    reward = RelativeOutcomeReward("autagent", graded=1.0)
    module = toy.module(folder, objective=objective, reward=reward)
    with pytest.warns(UserWarning, match="a redundant call is free"):
        toy.trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(module, datamodule=data)
    (paid,) = objective.seen
    # Direct is paid nothing; a tool the difference of the two chances: 0, or 0.4 either way.
    assert set(paid.flatten().mul(10).round().int().tolist()) == {0, 4, -4}


def test_shuffled_labels_are_learnt_through_the_module(folder: str, tmp_path: Path) -> None:
    module = fitted(folder, tmp_path, {"shuffle_labels": True}, max_epochs=2)
    assert module.batches_done == 6


def test_the_same_seed_gives_the_same_adapter(folder: str, tmp_path: Path) -> None:
    one = adapter_of(fitted(folder, tmp_path))
    assert same(one, adapter_of(fitted(folder, tmp_path)))
    assert not same(one, adapter_of(fitted(folder, tmp_path, seed=4)))


# 28 questions: the second group is a batch of 8 and one of 4, or one batch of 12.
@pytest.mark.parametrize(("questions", "steps"), [(16, 1), (28, 2)])
def test_two_batches_accumulated_are_one_of_twice_the_size(
    folder: str, tmp_path: Path, questions: int, steps: int
) -> None:
    # Gradients, not weights: Adam's first step makes much of differences in the last bit.
    def of_last_step(batch_size: int, accumulate: int) -> dict[str, torch.Tensor]:
        module = toy.module(folder, accumulate=accumulate, grad_clip=0.0, lr=1e-12)
        trainer = toy.trainer(tmp_path, max_epochs=1, limit_val_batches=0)
        trainer.fit(module, datamodule=toy.ToyData(questions=questions, batch_size=batch_size))
        assert trainer.global_step == steps
        return gradients_of(module)

    whole, parts = of_last_step(16, 1), of_last_step(8, 2)
    assert all(torch.allclose(whole[name], parts[name], atol=1e-7, rtol=1e-4) for name in whole)


def test_an_unfinished_group_at_the_end_of_an_epoch_still_steps(
    folder: str, tmp_path: Path
) -> None:
    module = toy.module(folder, accumulate=2)
    trainer = toy.trainer(tmp_path, max_epochs=2, limit_val_batches=0)
    trainer.fit(module, datamodule=toy.ToyData(questions=24, batch_size=8))
    assert trainer.global_step == 4


def test_a_validation_inside_a_group_changes_nothing(folder: str, tmp_path: Path) -> None:
    def end(**settings: Any) -> dict[str, torch.Tensor]:
        module = toy.module(folder, accumulate=2)
        trainer = toy.trainer(tmp_path, **settings)
        trainer.fit(module, datamodule=toy.ToyData(questions=32, batch_size=8))
        return adapter_of(module)

    assert same(end(limit_val_batches=0), end(val_check_interval=3))


def test_training_that_diverges_ends_in_a_line(folder: str, tmp_path: Path) -> None:
    module = toy.module(folder, lr=1e30, objective=Grpo())
    with pytest.raises(UserError, match=r"Training has diverged: lower lr \(now 1e\+30\)"):
        toy.trainer(tmp_path, max_epochs=2).fit(module, datamodule=toy.ToyData())


def test_a_gradient_is_clipped_to_its_limit(folder: str, tmp_path: Path) -> None:
    module = toy.module(folder, grad_clip=1e-3)
    trainer = toy.trainer(tmp_path, max_steps=1, limit_val_batches=0)
    trainer.fit(module, datamodule=toy.ToyData())
    parts = [torch.linalg.vector_norm(g) for g in gradients_of(module).values()]
    norm = torch.linalg.vector_norm(torch.stack(parts))
    assert norm <= 1.01e-3
    assert trainer.callback_metrics["train/grad_norm"] > 1e-3


def test_the_rate_warms_up_and_falls_to_nothing(folder: str, tmp_path: Path) -> None:
    module = fitted(folder, tmp_path, warmup=0.5, max_epochs=2)
    # Step 6 of 6 is taken at progress 5.5 / 6.
    expected = 1e-2 * warmed_cosine(5.5 / 6, 0.5)
    assert module.trainer.callback_metrics["train/lr"].item() == pytest.approx(expected)


def test_rows_without_direct_s_outcome_teach_nothing(folder: str, tmp_path: Path) -> None:
    data = toy.ToyData()
    data.tables["train"].valid[:, 0] = False
    module = toy.module(folder, weight_decay=0.0)
    trainer = toy.trainer(tmp_path, limit_val_batches=0)
    trainer.fit(module, datamodule=data)
    assert trainer.callback_metrics["train/grad_norm"] == 0


def test_an_unwise_reward_is_said_before_the_first_step(folder: str, tmp_path: Path) -> None:
    module = toy.module(folder, reward=RelativeOutcomeReward(redundant_wrong=0.2))
    with pytest.warns(UserWarning, match="useless calls are paid"):
        toy.trainer(tmp_path, limit_val_batches=0).fit(module, datamodule=toy.ToyData())


def test_settings_that_cannot_be_are_listed_together(folder: str) -> None:
    module = toy.module(folder, lr=-1.0, accumulate=2, objective=Grpo(inner_steps=2))
    problems = module.problems()
    assert len(problems) == 2
    assert "lr -1" in problems[0]
    assert "exclude each other" in problems[1]
    assert toy.module(folder).problems() == []


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_a_module_without_its_data_says_what_it_needs(folder: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="RouterDataModule"):
        toy.trainer(tmp_path, limit_val_batches=0).fit(toy.module(folder), train_dataloaders=[1])


def test_a_fresh_module_is_light_and_can_be_copied(folder: str) -> None:
    module = toy.module(folder)
    assert sum(p.numel() for p in module.parameters()) == 0
    assert copy.deepcopy(module).policy.settings == module.policy.settings


# --- checkpoints ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("run")
    trainer = toy.trainer(home, limit_val_batches=0)
    trainer.fit(toy.module(folder), datamodule=toy.ToyData())
    trainer.save_checkpoint(home / "end.ckpt")
    return home / "end.ckpt"


def test_a_checkpoint_holds_the_adapter_and_loads_as_weights_only(checkpoint: Path) -> None:
    kept = torch.load(checkpoint, weights_only=True)
    names = set(kept["state_dict"])
    assert all("lora_" in name for name in names - {"policy.centre"})
    assert "policy.centre" in names
    assert kept["optimizer_states"]
    assert os.path.getsize(checkpoint) < 400_000


def test_a_trained_router_comes_back_from_its_checkpoint(
    folder: str, checkpoint: Path, tmp_path: Path
) -> None:
    module = toy.module(folder)
    trainer = toy.trainer(tmp_path)
    trainer.test(
        module, datamodule=toy.ToyData(), ckpt_path=checkpoint, weights_only=True, verbose=False
    )
    kept = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert same(adapter_of(module), {k: v for k, v in kept.items() if k != "policy.centre"})
    assert torch.equal(module.policy.centre, kept["policy.centre"])
    assert 0 <= trainer.callback_metrics["test/accuracy"] <= 1


def refused(module: RouterModule, checkpoint: Path, tmp_path: Path, data: Any, why: str) -> None:
    with pytest.raises(UserError, match=why):
        toy.trainer(tmp_path).fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)


def test_another_base_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    other = tiny_folder(tmp_path / "other", seed=1)
    refused(toy.module(other), checkpoint, tmp_path, toy.ToyData(), "fingerprint")


def test_other_tools_are_refused(folder: str, checkpoint: Path, tmp_path: Path) -> None:
    data = toy.ToyData()
    data.cards = toy.CARDS[::-1]
    refused(toy.module(folder), checkpoint, tmp_path, data, "same tools in the same order")


def test_another_adapter_is_refused(folder: str, checkpoint: Path, tmp_path: Path) -> None:
    module = toy.module(folder, {"train_embeddings": True})
    refused(module, checkpoint, tmp_path, toy.ToyData(), "train_embeddings")
