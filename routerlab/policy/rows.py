"""What an objective sees of B questions: a policy, rewards, and which actions may be judged.

Shapes: B questions, A = K+1 actions, G draws a question. No settings, no learning rule: those are
in `routerlab.policy.objectives`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MASKED = -1e9
"""Minus infinity in logits: its probability is exactly 0, and 0 · MASKED is not NaN."""


def log_policy(logits: Tensor, valid: Tensor) -> Tensor:
    """log π over the valid actions, float32 [B, A]; about `MASKED` elsewhere."""
    return logits.float().masked_fill(~valid, MASKED).log_softmax(-1)


def entropy(log_pi: Tensor) -> Tensor:
    """Entropy of each row [B], in nats."""
    return -(log_pi.exp() * log_pi).sum(-1)


def annealed(start: float, progress: float) -> float:
    """A weight that falls linearly from `start` to 0 as progress goes from 0 to 1.

    >>> [annealed(0.3, p) for p in (0.0, 0.5, 1.0)]
    [0.3, 0.15, 0.0]
    """
    return start * (1.0 - min(1.0, max(0.0, progress)))


@dataclass(frozen=True)
class Rows:
    """What an objective sees of B questions.

    Attributes:
        logits: of the policy, float32 [B, A], in action order.
        log_pi: log π over the valid actions, float32 [B, A].
        rewards: float32 [B, A]; 0 where not valid and in rows without a choice.
        valid: bool [B, A]; False where infrastructure failed.
        reference: log π before training, float32 [B, A], if the objective needs it.
    """

    logits: Tensor
    log_pi: Tensor
    rewards: Tensor
    valid: Tensor
    reference: Tensor | None = None

    @classmethod
    def of(
        cls, logits: Tensor, rewards: Tensor, valid: Tensor, reference: Tensor | None = None
    ) -> Rows:
        """Mask, normalise and cast to float32."""
        usable = valid & (valid.sum(-1, keepdim=True) >= 2)
        return cls(
            logits=logits.float(),
            log_pi=log_policy(logits, valid),
            rewards=rewards.to(logits.device, torch.float32).masked_fill(~usable, 0.0),
            valid=valid,
            reference=None if reference is None else log_policy(reference, valid),
        )

    @property
    def choosable(self) -> Tensor:
        """Rows [B] with something to choose: at least two valid actions."""
        return self.valid.sum(-1) >= 2

    def mean(self, row_values: Tensor) -> Tensor:
        """Mean of values [B] over all rows, those without a choice counting as 0."""
        kept = torch.where(self.choosable, row_values, torch.zeros_like(row_values))
        return kept.sum() / max(1, len(row_values))


@dataclass(frozen=True)
class Draw:
    """Actions tried under the policy of one moment, and how good they turned out.

    Attributes:
        actions: int64 [B, G].
        advantages: float32 [B, G].
        log_pi: log π of these actions when they were drawn, float32 [B, G].
    """

    actions: Tensor
    advantages: Tensor
    log_pi: Tensor
