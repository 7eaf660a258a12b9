"""Objectives: what to make small, given a policy's logits and the reward of every action.

With a frozen reasoner the reward of all K+1 actions of a question is known, so reinforcement
learning is one of several uses of full information, and all stand behind one interface:

    exact      Expected · CostWeighted · Regress · SoftTarget · BestAction
    sampled    Grpo · Rloo · Reinforce      (as if only the drawn actions had been tried)

Everything is a function of tensors; settings are the only state. Nothing here knows of prompts,
models, optimizers or ranks. Shapes: B questions, A = K+1 actions, G draws a question.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from routerlab.errors import UserError
from routerlab.policy.rows import Draw, Rows, annealed, entropy, log_policy

Logs: TypeAlias = dict[str, Tensor]
AdvantageNorm: TypeAlias = Literal["none", "group_std", "batch_std"]


class Objective(ABC):
    """One rule for learning from rewards: a loss for each row.

    Attributes:
        inner_steps: optimizer steps taken on one draw.
        needs_reference: the loss also reads the policy as it was before training.
    """

    inner_steps: int = 1
    needs_reference: bool = False

    @abstractmethod
    def row_loss(self, rows: Rows, progress: float, draw: Draw | None) -> Tensor:
        """The loss of each row [B], with a gradient through `rows`."""

    def draw(self, rows: Rows, generator: torch.Generator | None = None) -> Draw | None:
        """Actions tried now; None for an objective that needs no trying."""
        return None

    def __call__(
        self,
        logits: Tensor,
        rewards: Tensor,
        valid: Tensor,
        *,
        progress: float = 0.0,
        generator: torch.Generator | None = None,
        reference: Tensor | None = None,
        draw: Draw | None = None,
    ) -> tuple[Tensor, Logs]:
        """The mean loss over the B rows, and what is worth plotting.

        Args:
            logits: [B, A] in action order.
            rewards: [B, A]; read only where valid.
            valid: bool [B, A].
            progress: share of training done, in [0, 1].
            generator: of the draws.
            reference: logits [B, A] before training, if `needs_reference`.
            draw: an earlier draw for these rows, to take a further step on it.
        """
        seen = Rows.of(logits, rewards, valid, reference)
        tried = draw or self.draw(seen, generator)
        loss = seen.mean(self.row_loss(seen, progress, tried))
        with torch.no_grad():
            logs = {
                "expected_reward": seen.mean((seen.log_pi.exp() * seen.rewards).sum(-1)),
                "entropy": seen.mean(entropy(seen.log_pi)),
            }
        return loss, logs


# --- exact: every action's reward is used -----------------------------------------------------


@dataclass(frozen=True)
class Expected(Objective):
    """Expected reward by its exact gradient: −Σ_a π_a R_a − β H(π).

    Attributes:
        entropy: β at the start, falling linearly to 0: against the plateau of one favoured action.
    """

    entropy: float = 0.3

    def row_loss(self, rows: Rows, progress: float, draw: Draw | None) -> Tensor:
        """−Σ_a π_a R_a − β H(π)."""
        gain = (rows.log_pi.exp() * rows.rewards).sum(-1)
        return -gain - annealed(self.entropy, progress) * entropy(rows.log_pi)


@dataclass(frozen=True)
class CostWeighted(Objective):
    """−Σ_a (R_a − c) log π_a, c the row's lowest reward: the learning-to-defer surrogate.

    Consistent: the optimum is proportional to E[R_a − c], so its largest action is the best one.
    A row in which all actions pay the same says nothing.

    Attributes:
        entropy: weight of an entropy bonus at the start, falling linearly to 0.
    """

    entropy: float = 0.0

    def row_loss(self, rows: Rows, progress: float, draw: Draw | None) -> Tensor:
        """−Σ_a (R_a − c) log π_a."""
        lowest = rows.rewards.masked_fill(~rows.valid, torch.inf).amin(-1, keepdim=True)
        weight = (rows.rewards - lowest).masked_fill(~rows.valid, 0.0)
        return -(weight * rows.log_pi).sum(-1) - annealed(self.entropy, progress) * entropy(
            rows.log_pi
        )


@dataclass(frozen=True)
class Regress(Objective):
    """Predict each action's reward by its logit; the largest prediction is the choice."""

    def row_loss(self, rows: Rows, progress: float, draw: Draw | None) -> Tensor:
        """Mean squared error over the valid actions."""
        error = (rows.logits - rows.rewards).masked_fill(~rows.valid, 0.0)
        return error.square().sum(-1) / rows.valid.sum(-1).clamp(min=1)


@dataclass(frozen=True)
class SoftTarget(Objective):
    """Cross-entropy to softmax(R / τ): easy to train, but *not* consistent.

    A tool that fixes 20 %, breaks 40 % and leaves 40 % right, beside five neutral ones, is still
    called by its optimum, at a loss of 20 points of accuracy.

    Attributes:
        temperature: τ, in units of reward.
    """

    temperature: float = 0.3

    def row_loss(self, rows: Rows, progress: float, draw: Draw | None) -> Tensor:
        """−Σ_a softmax(R / τ)_a log π_a."""
        target = log_policy(rows.rewards / self.temperature, rows.valid).exp()
        return -(target * rows.log_pi).sum(-1)


@dataclass(frozen=True)
class BestAction(Objective):
    """Supervised: cross-entropy to the action that pays most (the first of several)."""

    def row_loss(self, rows: Rows, progress: float, draw: Draw | None) -> Tensor:
        """−log π of the best action."""
        best = rows.rewards.masked_fill(~rows.valid, -torch.inf).argmax(-1, keepdim=True)
        return -rows.log_pi.gather(-1, best).squeeze(-1)


# --- sampled: only drawn actions are used -----------------------------------------------------


def sample(rows: Rows, count: int, generator: torch.Generator | None) -> Tensor:
    """`count` actions a row under the policy, with replacement, int64 [B, G]."""
    return torch.multinomial(
        rows.log_pi.detach().exp(), count, replacement=True, generator=generator
    )


def group_advantages(rewards: Tensor, norm: AdvantageNorm = "none") -> Tensor:
    """Advantages [B, G] of G draws a question: the group's mean taken off, then scaled.

    `group_std` (TRL's default) makes the *size* of a small reward irrelevant: one call punished in
    a group of eight equal failures has the advantage −2.646 whatever the penalty.

    >>> group_advantages(torch.tensor([[0.0] * 7 + [-0.01]]), "group_std")[0, -1].item()
    -2.645751...
    """
    centred = rewards - rewards.mean(-1, keepdim=True)
    if norm == "none":
        return centred
    over = -1 if norm == "group_std" else (0, 1)
    spread = centred.square().mean(over, keepdim=True).sqrt()
    return torch.where(spread > 1e-6, centred / spread.clamp(min=1e-6), torch.zeros_like(centred))


def clipped_surrogate(log_pi: Tensor, draw: Draw, clip: float) -> Tensor:
    """PPO's pessimistic objective [B, G], to be made large."""
    ratio = (log_pi - draw.log_pi).exp()
    bounded = ratio.clamp(1.0 - clip, 1.0 + clip)
    return torch.minimum(ratio * draw.advantages, bounded * draw.advantages)


@dataclass(frozen=True)
class Grpo(Objective):
    """Group-relative policy optimization: drawn groups, clipped ratio, optional exact KL.

    `advantage_norm: none` is Dr. GRPO (a decision has one token, so there is no length to
    normalise); `group_std` is the published GRPO and TRL's default.

    Attributes:
        group: draws a question, G.
        clip: ε of the ratio's bounds; it acts from the second inner step on.
        kl: weight of KL(π ‖ π before training).
        advantage_norm: none, group_std, or batch_std (over the rows that one rank holds).
        inner_steps: optimizer steps on one draw.
        entropy: weight of an entropy bonus at the start, falling linearly to 0.
    """

    group: int = 8
    clip: float = 0.2
    kl: float = 0.0
    advantage_norm: AdvantageNorm = "none"
    inner_steps: int = 1
    entropy: float = 0.0

    WARNING: ClassVar[str] = (
        "objective: advantage_norm 'group_std' makes the size of small rewards irrelevant: a "
        "redundant call is punished as hard as a broken answer in a group of equal outcomes, and "
        "the policy tends to stop calling tools. Use 'none' unless this is what you study."
    )

    def __post_init__(self) -> None:
        if self.group < 2 or self.inner_steps < 1 or not 0 < self.clip < 1:
            raise UserError(
                f"objective: group {self.group}, inner_steps {self.inner_steps}, clip {self.clip}. "
                "Give group >= 2, inner_steps >= 1 and 0 < clip < 1."
            )
        if self.advantage_norm == "group_std":
            warnings.warn(self.WARNING, stacklevel=2)

    @property
    def needs_reference(self) -> bool:  # type: ignore[override]
        """Only a KL term reads the policy before training."""
        return self.kl > 0

    def draw(self, rows: Rows, generator: torch.Generator | None = None) -> Draw:
        """A group of actions a row, with advantages against the group's mean."""
        actions = sample(rows, self.group, generator)
        earned = rows.rewards.gather(-1, actions)
        return Draw(
            actions,
            group_advantages(earned, self.advantage_norm),
            rows.log_pi.detach().gather(-1, actions),
        )

    def row_loss(self, rows: Rows, progress: float, draw: Draw | None) -> Tensor:
        """−mean_g min(r A, clip(r) A) + kl · KL − β H."""
        assert draw is not None, "a sampled objective draws before its loss"
        surrogate = clipped_surrogate(rows.log_pi.gather(-1, draw.actions), draw, self.clip)
        loss = -surrogate.mean(-1) - annealed(self.entropy, progress) * entropy(rows.log_pi)
        if rows.reference is None:
            return loss
        return loss + self.kl * (rows.log_pi.exp() * (rows.log_pi - rows.reference)).sum(-1)


@dataclass(frozen=True)
class Rloo(Objective):
    """REINFORCE with the mean of the *other* draws as baseline (leave one out).

    Attributes:
        group: draws a question, G.
    """

    group: int = 4

    def draw(self, rows: Rows, generator: torch.Generator | None = None) -> Draw:
        """A group of actions a row; advantage G / (G − 1) · (R − mean)."""
        actions = sample(rows, self.group, generator)
        advantages = group_advantages(rows.rewards.gather(-1, actions))
        scaled = advantages * self.group / (self.group - 1)
        return Draw(actions, scaled, rows.log_pi.detach().gather(-1, actions))

    def row_loss(self, rows: Rows, progress: float, draw: Draw | None) -> Tensor:
        """−mean_g A log π."""
        assert draw is not None, "a sampled objective draws before its loss"
        return -(draw.advantages * rows.log_pi.gather(-1, draw.actions)).mean(-1)


@dataclass(frozen=True)
class Reinforce(Objective):
    """One draw a question; baseline is the mean reward of the batch's *other* questions.

    With its own reward in the mean, a question alone in its batch (or on its rank) would have the
    advantage 0 whatever it earned. So it has no baseline instead.
    """

    def draw(self, rows: Rows, generator: torch.Generator | None = None) -> Draw:
        """One action a row; advantage against the mean over the other rows with a choice."""
        actions = sample(rows, 1, generator)
        earned = rows.rewards.gather(-1, actions)
        kept = rows.choosable.unsqueeze(-1)
        counted = earned * kept
        baseline = (counted.sum() - counted) / (kept.sum() - 1).clamp(min=1)
        return Draw(actions, earned - baseline, rows.log_pi.detach().gather(-1, actions))

    def row_loss(self, rows: Rows, progress: float, draw: Draw | None) -> Tensor:
        """−A log π."""
        assert draw is not None, "a sampled objective draws before its loss"
        return -(draw.advantages * rows.log_pi.gather(-1, draw.actions)).mean(-1)
