"""What a decision and a training step of the router cost, and one answered question (`ask`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch

from routerlab.bench.machine import (
    Machine,
    counted_and_timed,
    fresh_memory,
    highest_memory,
    seconds,
)
from routerlab.bench.work import Work
from routerlab.policy.adapter import trainable
from routerlab.policy.objectives import Expected
from routerlab.policy.router import RouterPolicy
from routerlab.reasoners.transformers_reasoner import TransformersReasoner
from routerlab.report.grid import Grid, percent
from routerlab.types import QuestionBatch

MakePolicy: TypeAlias = Callable[[int | None], RouterPolicy]
"""A router on the model that is measured, so many of its last layers adapted."""


@dataclass(frozen=True)
class Decision:
    """One pass over the questions, a decision on average.

    Attributes:
        tokens: that enter the first layer.
        positions: through a layer's feed-forward part, summed over layers.
    """

    what: str
    tower: float
    tokens: float
    positions: float
    seconds: float


@dataclass(frozen=True)
class Step:
    """Training steps: questions a second, operations a question, most memory in GB (GPU only)."""

    what: str
    rate: float
    operations: float
    memory: float | None


def layers_of(policy: RouterPolicy) -> int:
    """Layers of the text model."""
    return len(_layers(policy))


def decisions(make: MakePolicy, work: Work, batch: int) -> list[Decision]:
    """First and second pass, with what is shared and kept added one after the other."""
    found = []
    policy = make(None)
    policy.settings["cache_audio"] = False
    found.append(_decision("one question at a time", policy, work.batches(1)))
    found.append(_decision(f"+ cards once a batch of {batch}", policy, work.batches(batch)))
    policy.settings["cache_audio"] = True
    _decision("", policy, work.batches(batch))
    found.append(_decision("+ features kept, second epoch", policy, work.batches(batch)))
    half = max(1, layers_of(policy) // 2)
    unload(policy)
    policy = make(half)
    _decision("", policy, work.batches(batch))
    what = f"+ only {half} last layers adapted, second epoch"
    found.append(_decision(what, policy, work.batches(batch)))
    unload(policy)
    return found


def _decision(what: str, policy: RouterPolicy, batches: Sequence[QuestionBatch]) -> Decision:
    questions, lalm = sum(map(len, batches)), policy.lalm
    assert lalm is not None
    before, entered = lalm.counted.tower_passes, [0] * layers_of(policy)

    def run() -> None:
        for each in batches:
            policy.probabilities(each)

    with _counting(policy, entered):
        took = seconds(run, lalm.device)
    return Decision(
        what=what,
        tower=(lalm.counted.tower_passes - before) / questions,
        # Layers that were run before and kept see nothing new.
        tokens=max(entered) / questions,
        positions=sum(entered) / questions,
        seconds=took / questions,
    )


def steps(make: MakePolicy, work: Work, batch: int, repeats: int, machine: Machine) -> list[Step]:
    """Optimizer steps at one batch size: what checkpointing, kept features and layers are worth."""
    policy = make(None)
    found = []
    for what, kept, again in (
        ("tower in every step, checkpointing", False, True),
        ("features kept, checkpointing", True, True),
        ("features kept, no checkpointing", True, False),
    ):
        policy.settings |= {"cache_audio": kept, "gradient_checkpointing": again}
        found.append(_step(what, policy, work, batch, repeats, machine))
    half = max(1, layers_of(policy) // 2)
    unload(policy)
    policy = make(half)
    policy.settings["gradient_checkpointing"] = True
    what = f"+ only {half} last layers adapted"
    found.append(_step(what, policy, work, batch, repeats, machine))
    unload(policy)
    return found


def _step(
    what: str, policy: RouterPolicy, work: Work, batch: int, repeats: int, machine: Machine
) -> Step:
    batches, objective = work.batches(batch), Expected()
    optimizer = torch.optim.AdamW(list(trainable(policy).values()), lr=1e-4)
    rewards = work.rewards(work.questions)

    def run() -> None:
        done = 0
        for each in batches:
            paid = rewards[done : done + len(each)].to(machine.device)
            loss, _ = objective(policy(each), paid, torch.ones_like(paid, dtype=torch.bool))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            done += len(each)

    fresh_memory(machine.device)
    try:
        # The first epoch fills what is kept.
        for each in batches:
            policy.probabilities(each)
        issued, took = counted_and_timed(run, machine.device, repeats)
    except torch.OutOfMemoryError:
        return Step(f"{what}: out of memory", float("nan"), float("nan"), None)
    count = work.questions
    return Step(what, count / took, issued / count, highest_memory(machine.device))


def asked(policy: RouterPolicy, reasoner: TransformersReasoner, work: Work, repeats: int) -> float:
    """Seconds of one question: the router's decision, direct's answer and one tool's prompt.

    Router and reasoner stand on one copy of the weights. The tool itself is not run.
    """
    assert policy.lalm is not None
    policy.settings["cache_audio"] = False
    reasoner.borrow(policy.lalm, policy.plainly)
    (batch, *_), request = work.batches(1), work.requests[0]
    short = replace(request, observations=request.observations[:2])

    def run() -> None:
        policy.probabilities(batch)
        reasoner.answer_many([short])

    run()
    took = seconds(run, policy.lalm.device, max(1, repeats))
    reasoner.close()
    return took


def unload(policy: RouterPolicy) -> None:
    """Take the adapter out of the model, which others go on using."""
    assert policy.lalm is not None
    wrapped: Any = policy.lalm.model
    policy.lalm.model = wrapped.unload()


@contextmanager
def _counting(policy: RouterPolicy, entered: list[int]) -> Iterator[None]:
    """Adds the positions that go through each layer's feed-forward part."""

    def hook(place: int) -> Callable[..., None]:
        def add(_: Any, __: Any, out: torch.Tensor) -> None:
            entered[place] += out[..., 0].numel()

        return add

    layers = enumerate(_layers(policy))
    handles = [layer.mlp.register_forward_hook(hook(place)) for place, layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layers(policy: RouterPolicy) -> Any:
    return policy.decoder.layers


def decision_grid(found: Sequence[Decision], title: str) -> Grid:
    """A row a pass."""
    rows = [
        [
            each.what,
            f"{each.tower:.3g}",
            f"{each.tokens:,.0f}",
            f"{each.positions:,.0f}",
            f"{each.positions / found[0].positions:.2f}",
            f"{1e3 * each.seconds:.3g}",
            f"{each.seconds / found[0].seconds:.2f}",
        ]
        for each in found
    ]
    heads = ("a decision", "tower calls", "tokens", "positions × layers", "of the first", "ms")
    return Grid(title, (*heads, "time, of the first"), rows)


def step_grid(found: Sequence[Step], title: str, machine: Machine) -> Grid:
    """A row a way of training."""
    rows = [
        [
            each.what,
            f"{each.rate:.3g}",
            f"{found[0].rate / each.rate:.2f}",
            f"{each.operations / 1e9:.3g}",
            percent(machine.share(each.operations, 1 / each.rate)),
            "–" if each.memory is None else f"{each.memory:.1f}",
        ]
        for each in found
    ]
    heads = ("training", "questions/s", "time, of the first", "10^9 operations", "% of peak")
    return Grid(title, (*heads, "most memory, GB"), rows)
