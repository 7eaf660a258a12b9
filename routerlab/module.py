"""RouterModule: the training loop of a router, every step of it written out.

    table of outcomes ─► reward ─► objective(logits) ─► manual_backward ─► clip ─► step

Where the learner meets the world: rewards are computed here from the training table, and the
DataModule (reached through the trainer) gives tables and cards. The reasoner is never an attribute,
so its weights are in no checkpoint. Questions, tools and answers are elsewhere.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from routerlab.data.order import Order, OrderedLoader
from routerlab.errors import UserError
from routerlab.metrics import RoutingMetrics
from routerlab.policy.adapter import check_base, trainable
from routerlab.policy.objectives import Expected, Objective
from routerlab.policy.router import RouterPolicy
from routerlab.policy.rows import Rows
from routerlab.rewards import RelativeOutcomeReward
from routerlab.types import QuestionBatch

STATE = "router"
"""Where a checkpoint keeps what Lightning does not."""


class RouterModule(LightningModule):
    """Trains a RouterPolicy on outcome tables.

    Args:
        policy: what learns; the embedded LALM with LoRA by default.
        reward: what an action is paid; the aligned preset by default.
        objective: how rewards become a loss; the exact expected reward by default.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW.
        warmup: share of the steps in which the rate rises; then it falls as a cosine, to 0.
        grad_clip: largest norm of a step's gradient; 0 for none.
        accumulate: batches a step.
        center_on: questions on which the label logits are centred before the first step.
        seed: of adapter, label orders and draws; the run's (`seed_everything`) if None.

    Attributes:
        planned_steps: the length that rate and entropy are planned for, if it is another than the
            Trainer's own: that of a run which may have ended early.
    """

    def __init__(
        self,
        policy: RouterPolicy | None = None,
        reward: RelativeOutcomeReward | None = None,
        objective: Objective | None = None,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        grad_clip: float = 1.0,
        accumulate: int = 1,
        center_on: int = 128,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.strict_loading = False
        self.policy = policy or RouterPolicy()
        self.reward = reward or RelativeOutcomeReward()
        self.objective = objective or Expected()
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.grad_clip = grad_clip
        self.accumulate = accumulate
        self.center_on = center_on
        self.seed = seed
        self.batches_done = 0
        self.planned_steps: float | None = None
        self._drawn_as = ""
        self._rewards: Tensor | None = None
        self.figures = torch.nn.ModuleDict()

    def problems(self) -> list[str]:
        """What is wrong with the settings, one line each; [] if nothing."""
        checks = [
            (self.lr <= 0, f"model: lr {self.lr:g} must be above 0."),
            (not 0 <= self.warmup < 1, f"model: warmup {self.warmup:g} must be in [0, 1)."),
            (self.grad_clip < 0, f"model: grad_clip {self.grad_clip:g} must be 0 or more."),
            (self.accumulate < 1, f"model: accumulate {self.accumulate} must be 1 or more."),
            (
                self.accumulate > 1 and self.objective.inner_steps > 1,
                f"model: accumulate {self.accumulate} and inner_steps {self.objective.inner_steps} "
                "exclude each other. Set one of them to 1.",
            ),
        ]
        return [line for wrong, line in checks if wrong] + self.policy.problems()

    # --- before training ----------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Load the policy for the DataModule's cards, and prepare the figures of its tables."""
        data = self._data
        self.policy.configure(data.cards, seed=self._seed)
        for split in ("val", "test"):
            if split in data.tables and split not in self.figures:
                self.figures[split] = RoutingMetrics(data.tables[split])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over the adapter; its rate is set before every step."""
        parameters = list(trainable(self).values())
        if any(parameter.dtype != torch.float32 for parameter in parameters):
            raise UserError(
                f"trainer.precision: {self.trainer.precision!r} would narrow the adapter too. "
                "Leave it out, and set model.init_args.policy.init_args.dtype: bfloat16 for the "
                "base."
            )
        return torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)

    def on_train_start(self) -> None:
        """Say what is unwise about the reward, and centre the label logits once in a run."""
        if not math.isfinite(self.total_steps):
            raise UserError("trainer: no end is set. Give max_epochs or max_steps.")
        for line in self.reward.problems() + self.reward.unusable(self._data.tables["train"]):
            rank_zero_warn(line)
        if self.batches_done == 0:
            self.policy.center_on(self._sample(), seed=self._seed)
        else:
            self._check_order()
            self._meet_again()
            self._gather_again()

    def _meet_again(self) -> None:
        """Let the policy keep what it had kept, worked out in the batches of the first time.

        The last bit of a product depends on what else is in it: a clip heard in other company would
        end a resumed run a last bit away from where it would have ended.
        """
        loader = self._loader
        # An epoch meets every question.
        done = range(min(self.batches_done, len(loader.order)))
        trained = (loader.make(loader.order.at(index)) for index in done)
        for batch in chain(self._sample() if self.policy.center else (), trained):
            self.policy.meet(batch)

    def _gather_again(self) -> None:
        """The gradient of the group that the checkpoint was taken in; a step moves no weight."""
        done = self.batches_done
        place = done % int(self.trainer.num_training_batches)
        for index in range(place - place % self.accumulate, place):
            self.batches_done = done - place + index
            rows = self._loader.order.at(self.batches_done)
            self._learn(self._loader.make(rows).to(self.device), index)
        self.batches_done = done

    def _check_order(self) -> None:
        """Refuse to go on among other questions: the place in an epoch would mean another thing."""
        now = self._loader.order.drawn_as
        if self._drawn_as not in ("", now):
            raise UserError(
                f"ckpt_path: its run trained on {self._drawn_as}; this recipe has {now}. "
                "Give the same ones, or begin a new run."
            )

    def _sample(self) -> Iterator[QuestionBatch]:
        """The same training questions on every rank."""
        loader = self._loader
        order = loader.order
        whole = Order(order.questions, order.batch_size, order.seed, order.lengths)
        rows = [row for batch in whole.epoch(0) for row in batch][: self.center_on]
        for start in range(0, len(rows), order.batch_size):
            yield loader.make(rows[start : start + order.batch_size])

    # --- a step -------------------------------------------------------------------------------

    def training_step(self, batch: QuestionBatch, batch_idx: int) -> None:
        """One batch: forward, loss, backward, and a step where a group of batches ends."""
        loss, logs, seen, order = self._learn(batch, batch_idx)
        self.batches_done += 1
        self._log_step(loss, logs, seen, order)

    def on_validation_model_zero_grad(self) -> None:
        """Nothing: a validation may fall into a group whose gradient is being gathered."""

    def _learn(
        self, batch: QuestionBatch, batch_idx: int
    ) -> tuple[Tensor, dict[str, Tensor], Rows, list[int] | None]:
        """All of a batch but what is told of it."""
        rewards = self._paid(batch)
        # A tool's reward is relative to direct: without direct's outcome a row says nothing.
        valid = batch.valid & batch.valid[:, :1]
        order = self._label_order()
        reference = self._reference(batch, order)
        first, last, weight = self._group(len(batch), batch_idx)
        draw = None
        for inner in range(self.objective.inner_steps):
            logits = self.policy(batch, order)
            if not logits.isfinite().all():
                raise self._diverged("logits")
            if inner == 0:
                seen = Rows.of(logits.detach(), rewards, valid)
                draw = self.objective.draw(seen, self._generator())
            loss, logs = self.objective(
                logits, rewards, valid, progress=self.progress, reference=reference, draw=draw
            )
            if first:
                self.optimizer.zero_grad()
            with self._synchronised(last):
                self.manual_backward(loss * weight)
            if last:
                logs["grad_norm"] = self._step()
        return loss.detach(), logs, seen, order

    def _paid(self, batch: QuestionBatch) -> Tensor:
        """Rewards [B, K+1], of the whole training table worked out once."""
        if self._rewards is None:
            self._rewards = torch.from_numpy(self.reward.on(self._data.tables["train"])).float()
        return self._rewards[list(batch.rows)].to(self.device)

    def _step(self) -> Tensor:
        """Clip, set the learning rate of this step, and take it."""
        limit = self.grad_clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(trainable(self).values(), limit)
        if not norm.isfinite():
            raise self._diverged("gradient")
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * warmed_cosine(self.progress, self.warmup)
        self.optimizer.step()
        return norm

    def _diverged(self, what: str) -> UserError:
        return UserError(
            f"model: the {what} of step {self.trainer.global_step + 1} are no finite numbers. "
            f"Training has diverged: lower lr (now {self.lr:g}) or raise warmup."
        )

    def _group(self, rows: int, batch_idx: int) -> tuple[bool, bool, float]:
        """Whether this batch opens and closes its group, and the weight of its mean loss.

        With the weight, what groups and ranks add up to is the mean over all rows of the group.
        """
        batches = int(self.trainer.num_training_batches)
        start = batch_idx - batch_idx % self.accumulate
        end = min(start + self.accumulate, batches)
        here = self.batches_done - batch_idx
        whole = sum(self._loader.order.rows_of(here + index) for index in range(start, end))
        weight = rows * self.trainer.world_size / whole
        return batch_idx == start, batch_idx == end - 1, weight

    def _synchronised(self, now: bool) -> AbstractContextManager[None]:
        """Ranks exchange gradients only in the backward pass that ends a group."""
        if now:
            return nullcontext()
        no_sync = getattr(self.trainer.strategy.model, "no_sync", nullcontext)
        return no_sync()

    def _label_order(self) -> list[int] | None:
        """The order of the cards in this batch, the same on every rank."""
        if not self.policy.shuffle_labels:
            return None
        rng = np.random.default_rng([self._seed, self.batches_done])
        return rng.permutation(len(self.policy.cards)).tolist()  # type: ignore[no-any-return]

    def _generator(self) -> torch.Generator:
        """Draws depend on seed, place and rank alone, so that a resumed run draws the same."""
        mixed = np.random.SeedSequence([self._seed, self.batches_done, self.global_rank])
        state = int(mixed.generate_state(1, np.uint64)[0] >> 1)
        return torch.Generator(self.device).manual_seed(state)

    def _reference(self, batch: QuestionBatch, order: list[int] | None) -> Tensor | None:
        return self.policy.reference(batch, order) if self.objective.needs_reference else None

    def _log_step(
        self, loss: Tensor, logs: dict[str, Tensor], seen: Rows, order: list[int] | None
    ) -> None:
        """What shows a plateau of one action or of one label."""
        chosen = seen.log_pi.argmax(-1)
        figures = {
            "loss": loss,
            **logs,
            "pi_direct": seen.log_pi[:, 0].exp().mean(),
            "call_rate": (chosen != 0).float().mean(),
            "lr": torch.tensor(self.optimizer.param_groups[0]["lr"]),
        }
        under = order or list(range(len(self.policy.cards)))
        use = torch.bincount(chosen, minlength=len(under)) / len(chosen)
        labels = {f"label/{self.policy.labels[i]}": use[action] for i, action in enumerate(under)}
        named = {f"train/{name}": value for name, value in (figures | labels).items()}
        self.log_dict(named, on_step=True, on_epoch=False, batch_size=len(chosen))
        bar = {"reward": logs["expected_reward"], "calls": figures["call_rate"]}
        self.log_dict(bar, prog_bar=True, logger=False, batch_size=len(chosen))

    # --- evaluation ---------------------------------------------------------------------------

    def validation_step(self, batch: QuestionBatch, batch_idx: int) -> None:
        """Note what the router chooses."""
        self._note("val", batch)

    def test_step(self, batch: QuestionBatch, batch_idx: int) -> None:
        """Note what the router chooses."""
        self._note("test", batch)

    def predict_step(self, batch: QuestionBatch, batch_idx: int) -> Tensor:
        """π, float32 [B, K+1] in action order."""
        return self.policy.probabilities(batch)

    def on_validation_epoch_end(self) -> None:
        """Accuracy, headroom closed and the rest, over all ranks."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Accuracy, headroom closed and the rest, over all ranks."""
        self._report("test")

    def _note(self, split: str, batch: QuestionBatch) -> None:
        self.figures[split].update(batch.rows, self.policy(batch).argmax(-1))  # type: ignore[operator]

    def _report(self, split: str) -> None:
        metrics: Any = self.figures[split]
        figures = metrics.compute()
        metrics.reset()
        shown = {"accuracy", "headroom_closed", "call_rate"}
        for name, value in figures.items():
            self.log(f"{split}/{name}", value, prog_bar=name in shown, rank_zero_only=False)

    # --- checkpoints --------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the adapter, not the base; and what the base was."""
        kept = {name: value.detach() for name, value in trainable(self).items()}
        kept["policy.centre"] = self.policy.centre
        checkpoint["state_dict"] = kept
        checkpoint[STATE] = {
            "base_fingerprint": self.policy.base_fingerprint,
            "batches_done": self.batches_done,
            "cards": [card.name for card in self.policy.cards],
            "drawn_as": self._loader.order.drawn_as,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse another base, other tools or another adapter; they would load without a word."""
        state = checkpoint.get(STATE)
        if state is None:
            raise UserError("ckpt_path: not a router's checkpoint. Give one that `fit` wrote.")
        check_base(state["base_fingerprint"], self.policy.base_fingerprint, "the checkpoint")
        here = [card.name for card in self.policy.cards]
        if state["cards"] != here:
            raise UserError(
                f"ckpt_path: trained with the actions {', '.join(state['cards'])}; this recipe has "
                f"{', '.join(here)}. Name the same tools in the same order."
            )
        expected = {*trainable(self), "policy.centre"}
        if expected != set(checkpoint["state_dict"]):
            raise UserError(
                "ckpt_path: its adapter has other parts than this recipe's. Give the same lora_r "
                "and train_embeddings."
            )
        self.batches_done = state["batches_done"]
        self._drawn_as = state.get("drawn_as", "")

    # --- where things stand -------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """Share of training done at the middle of this step, in (0, 1)."""
        return min(1.0, (self.trainer.global_step + 0.5) / max(1.0, self.total_steps))

    @property
    def _loader(self) -> OrderedLoader[QuestionBatch]:
        return self.trainer.train_dataloader  # type: ignore[return-value]

    @property
    def optimizer(self) -> LightningOptimizer:
        """The one optimizer."""
        return self.optimizers()  # type: ignore[return-value]

    @property
    def total_steps(self) -> float:
        """Optimizer steps of the whole run; infinite where no end is set.

        Computed here: asking the trainer would rebuild its loaders and lose the place.
        """
        if self.planned_steps is not None:
            return self.planned_steps
        trainer = self.trainer
        epochs = math.inf if trainer.max_epochs in (None, -1) else float(trainer.max_epochs or 0)
        groups = math.ceil(trainer.num_training_batches / self.accumulate)
        steps = epochs * groups * self.objective.inner_steps
        return min(steps, trainer.max_steps) if trainer.max_steps > 0 else steps

    @property
    def _seed(self) -> int:
        return int(os.environ.get("PL_GLOBAL_SEED", 0)) if self.seed is None else self.seed

    @property
    def _data(self) -> Any:
        data = getattr(self.trainer, "datamodule", None)
        if data is None:
            raise UserError(
                "RouterModule reads outcome tables from a DataModule. Give trainer.fit a "
                "RouterDataModule (datamodule=…)."
            )
        return data


def warmed_cosine(progress: float, warmup: float) -> float:
    """Factor of the learning rate: a line from 0 to 1 over `warmup`, then a cosine to 0.

    >>> [round(warmed_cosine(p, 0.1), 3) for p in (0.0, 0.05, 0.1, 0.55, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (progress - warmup) / (1.0 - warmup)))
