"""Objectives: worked numbers, known identities, and each must learn a toy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from routerlab.errors import UserError
from routerlab.policy.objectives import (
    BestAction,
    CostWeighted,
    Expected,
    Grpo,
    Objective,
    Regress,
    Reinforce,
    Rloo,
    SoftTarget,
    group_advantages,
)
from routerlab.policy.rows import Rows, log_policy

ALL = [
    Expected(),
    Expected(entropy=0.0),
    CostWeighted(),
    Regress(),
    SoftTarget(),
    BestAction(),
    Grpo(),
    Grpo(advantage_norm="batch_std", inner_steps=3),
    Rloo(),
    Reinforce(),
]


def everything_valid(rewards: Tensor) -> Tensor:
    return torch.ones_like(rewards, dtype=torch.bool)


def test_reinforce_learns_from_a_question_that_is_alone() -> None:
    rewards = torch.tensor([[0.0, 1.0], [0.0, 0.5], [0.0, 0.0]])
    every = torch.ones_like(rewards, dtype=torch.bool)
    for rows in (1, 2, 3):
        seen = Rows.of(torch.tensor([[-9.0, 9.0]] * rows), rewards[:rows], every[:rows])
        advantages = Reinforce().draw(seen, torch.Generator().manual_seed(0)).advantages
        expected = {1: [1.0], 2: [0.5, -0.5], 3: [0.75, 0.0, -0.75]}[rows]
        assert advantages.flatten().tolist() == expected


def train(
    objective: Objective, rewards: Tensor, valid: Tensor, features: Tensor, steps: int = 300
) -> Tensor:
    """Logits of a linear policy after training on all rows at every step."""
    weights = torch.zeros(features.shape[1], rewards.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.05)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        draw = objective.draw(Rows.of(features @ weights, rewards, valid), generator)
        for _ in range(objective.inner_steps):
            loss, _ = objective(
                features @ weights, rewards, valid, progress=step / steps, draw=draw
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return (features @ weights).detach()


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_every_objective_learns_which_action_suits_which_question(objective: Objective) -> None:
    # Four kinds of question, each fixed by another action and spoilt by the rest.
    features = torch.eye(4).repeat(8, 1)
    rewards = torch.where(features > 0, 1.0, -0.5)
    logits = train(objective, rewards, everything_valid(rewards), features)
    assert (logits.argmax(-1) == features.argmax(-1)).all()


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_a_masked_action_is_never_learnt_from(objective: Objective) -> None:
    rewards = torch.tensor([[0.05, 1.0, 9.0]]).repeat(8, 1)
    valid = torch.tensor([[True, True, False]]).repeat(8, 1)
    logits = train(objective, rewards, valid, torch.ones(8, 1), steps=150)
    assert logits[0, 1] > logits[0, 0]
    assert logits[0, 2] == 0


@pytest.mark.parametrize("objective", ALL, ids=repr)
@pytest.mark.parametrize("row", [[True, False, False], [False, False, False]])
def test_a_row_without_a_choice_adds_nothing(objective: Objective, row: list[bool]) -> None:
    logits = torch.randn(1, 3, requires_grad=True)
    loss, logs = objective(logits, torch.full((1, 3), torch.nan), torch.tensor([row]))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()
    assert all(value == 0 for value in logs.values())


def test_expected_is_the_expectation_and_entropy_is_annealed() -> None:
    logits = torch.tensor([[0.0, 0.0]])
    rewards = torch.tensor([[0.0, 1.0]])
    valid = everything_valid(rewards)
    at_start, logs = Expected(entropy=0.3)(logits, rewards, valid, progress=0.0)
    at_end, _ = Expected(entropy=0.3)(logits, rewards, valid, progress=1.0)
    assert at_end.item() == pytest.approx(-0.5)
    assert at_start.item() == pytest.approx(-0.5 - 0.3 * 0.6931472)
    assert logs["expected_reward"].item() == pytest.approx(0.5)
    assert logs["entropy"].item() == pytest.approx(0.6931472)


def test_the_sampled_gradient_is_the_exact_one_on_average() -> None:
    rewards = torch.tensor([[0.05, 1.0, -1.0, -0.05]])
    start = torch.tensor([[0.3, -0.2, 0.1, 0.0]])

    def gradient(objective: Objective, copies: int) -> Tensor:
        logits = start.repeat(copies, 1).requires_grad_()
        wide = rewards.expand(copies, -1)
        loss, _ = objective(
            logits, wide, everything_valid(wide), generator=torch.Generator().manual_seed(1)
        )
        loss.backward()
        assert logits.grad is not None
        return logits.grad.sum(0)

    exact = gradient(Expected(entropy=0.0), 1)
    assert torch.allclose(gradient(Rloo(group=4), 40_000), exact, atol=0.01)
    # Grpo's baseline holds the draw itself, which shrinks the gradient by (G − 1) / G.
    assert torch.allclose(gradient(Grpo(group=8), 40_000), exact * 7 / 8, atol=0.01)


@pytest.mark.parametrize("direct", [0.0, 1.0])
def test_three_rewards_give_identical_group_std_advantages(direct: float) -> None:
    # One fixed direct answer: subtracting it (t − d), VisTA's table and plain 0/1 all agree.
    tool = torch.tensor([[1.0, 0.0, 0.0, 1.0, 1.0, 0.0]])
    calls = torch.tensor([[True, True, True, True, True, False]])
    plain = torch.where(calls, tool, direct)
    relative = torch.where(calls, tool - direct, 0.0)
    broken = torch.where(tool > 0, 1.0, -0.5 if direct else 0.0)
    vista = torch.where(calls, broken, direct)
    for other in (relative, vista):
        assert torch.allclose(
            group_advantages(plain, "group_std"), group_advantages(other, "group_std"), atol=1e-6
        )


@pytest.mark.parametrize("penalty", [0.01, 0.1, 0.3])
def test_group_std_forgets_the_size_of_a_penalty(penalty: float) -> None:
    rewards = torch.tensor([[0.0] * 7 + [-penalty]])
    assert group_advantages(rewards, "group_std")[0, -1].item() == pytest.approx(-2.646, abs=5e-4)
    assert group_advantages(rewards, "none")[0, -1].item() == pytest.approx(-penalty * 7 / 8)


def test_equal_rewards_give_no_advantage_under_any_norm() -> None:
    for norm in ("none", "group_std", "batch_std"):
        assert (group_advantages(torch.full((2, 4), 0.7), norm).abs() < 1e-6).all()


def test_group_std_warns_that_the_reward_s_cells_become_irrelevant() -> None:
    with pytest.warns(UserWarning, match="size of small rewards irrelevant"):
        Grpo(advantage_norm="group_std")


def test_grpo_refuses_settings_that_mean_nothing() -> None:
    with pytest.raises(UserError, match="group >= 2"):
        Grpo(group=1)


def test_the_ratio_is_clipped_from_the_second_step_on() -> None:
    rewards, valid = torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool)
    objective = Grpo(group=8, clip=0.2)
    draw = objective.draw(Rows.of(torch.zeros(1, 2), rewards, valid), torch.Generator())
    far = torch.tensor([[5.0, -5.0]], requires_grad=True)
    loss, _ = objective(far, rewards, valid, draw=draw)
    loss.backward()
    # All good draws are far above 1 + ε and all bad ones far below 1 − ε: nothing left to gain.
    assert far.grad is not None
    assert far.grad.abs().max() < 1e-6


def test_the_kl_term_pulls_back_to_the_reference() -> None:
    rewards, valid = torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)
    objective = Grpo(kl=1.0)
    reference = torch.tensor([[2.0, 0.0, 0.0]])
    assert objective.needs_reference
    assert not Grpo().needs_reference
    logits = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=1.0)
    for _ in range(200):
        loss, _ = objective(logits, rewards, valid, reference=reference)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.allclose(logits.softmax(-1), reference.softmax(-1), atol=1e-3)


def mixed_tool() -> Tensor:
    """Rewards of ten questions: a tool fixes 2, breaks 4, leaves 4 right; five are neutral."""
    fix, broken, right = [0.0, 1.0], [0.0, -1.0], [0.0, 0.0]
    rows = [fix] * 2 + [broken] * 4 + [right] * 4
    return torch.tensor([[*row, 0.0, 0.0, 0.0, 0.0, 0.0] for row in rows])


@pytest.mark.parametrize("objective", [Expected(), CostWeighted(), Regress()], ids=repr)
def test_a_consistent_objective_leaves_a_harmful_tool_alone(objective: Objective) -> None:
    rewards = mixed_tool()
    logits = train(objective, rewards, everything_valid(rewards), torch.ones(10, 1))
    assert logits[0].argmax() != 1


def test_soft_target_calls_the_harmful_tool_and_loses_twenty_points() -> None:
    rewards = mixed_tool()
    logits = train(SoftTarget(0.3), rewards, everything_valid(rewards), torch.ones(10, 1))
    assert logits[0].argmax() == 1
    assert rewards[:, 1].mean().item() == pytest.approx(-0.2)


def test_masked_probabilities_are_exactly_zero_with_finite_gradients() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    log_pi = log_policy(logits, torch.tensor([[True, False, True]]))
    assert log_pi.exp()[0, 1] == 0
    (log_pi.exp() * log_pi).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
