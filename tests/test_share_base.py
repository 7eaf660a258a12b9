"""One copy of the weights for router and reasoner: with the adapter off it is the reasoner."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import learner_toy as toy
import pytest
import torch
from lalm_families import OMNI, family_folder
from tiny import tone

from routerlab.commands.checks import object_problems
from routerlab.errors import UserError
from routerlab.policy.adapter import trainable
from routerlab.policy.router import RouterPolicy
from routerlab.reasoners.base import ReasonRequest
from routerlab.reasoners.transformers_reasoner import TransformersReasoner
from routerlab.routing import share_base
from routerlab.types import Answer

ASKED = [ReasonRequest(tone(0.6), "Which note?", ("C4", "Eb4", "a longer option"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return family_folder(tmp_path_factory.mktemp("lalm"), OMNI)


@pytest.fixture
def policy(folder: str) -> RouterPolicy:
    """A router whose adapter says something."""
    made = toy.router(folder)
    made.configure(toy.CARDS)
    draw = torch.Generator().manual_seed(1)
    for parameter in trainable(made).values():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=draw)
    return made


def scores(reasoner: TransformersReasoner) -> tuple[float, ...]:
    ((reply,),) = reasoner.answer_many(ASKED)
    assert isinstance(reply, Answer)
    assert reply.log_probs is not None
    return reply.log_probs


def test_answers_are_those_of_a_copy_of_its_own(folder: str, policy: RouterPolicy) -> None:
    alone = scores(TransformersReasoner(folder, device="cpu"))
    sharing = TransformersReasoner(folder, device="cpu", share_base=True)
    batch = toy.batch(toy.table(3), range(3))
    routed = policy.probabilities(batch)
    share_base(policy, sharing)
    assert sharing.lalm.model is policy.lalm.model  # type: ignore[union-attr]
    assert scores(sharing) == pytest.approx(alone, abs=1e-6)
    # The adapter is on again, and a reasoner that lets go leaves the router's weights alone.
    torch.testing.assert_close(policy.probabilities(batch), routed)
    sharing.close()
    torch.testing.assert_close(policy.probabilities(batch), routed)


def test_a_reasoner_that_does_not_share_loads_its_own(folder: str, policy: RouterPolicy) -> None:
    apart = TransformersReasoner(folder, device="cpu")
    share_base(policy, apart)
    assert apart.lalm.model is not policy.lalm.model  # type: ignore[union-attr]


def test_another_base_is_refused(policy: RouterPolicy, folder: str, tmp_path: Path) -> None:
    other = family_folder(tmp_path, OMNI, seed=1)
    for reasoner in (
        TransformersReasoner(other, device="cpu", share_base=True),
        TransformersReasoner(folder, device="cpu", share_base=True, dtype="bfloat16"),
    ):
        with pytest.raises(UserError, match=r"share_base: the reasoner is .*share_base: false"):
            share_base(policy, reasoner)


def test_a_model_that_is_loaded_already_is_taken_as_it_is(
    folder: str, policy: RouterPolicy
) -> None:
    again = toy.router(folder)
    again.configure(toy.CARDS, lalm=TransformersReasoner(folder, device="cpu").lalm)
    want = toy.router(folder)
    want.configure(toy.CARDS)
    batch = toy.batch(toy.table(2), range(2))
    torch.testing.assert_close(again(batch), want(batch))


def test_a_recipe_that_contradicts_itself_is_refused_before_a_survey() -> None:
    router = SimpleNamespace(
        automatic_optimization=False,
        policy=SimpleNamespace(settings={"lalm": "a", "dtype": "bfloat16", "quantize": "none"}),
    )
    held = SimpleNamespace(name="a", dtype="float32", quantize="none", share_base=True)
    data = SimpleNamespace(reasoner=held, batch_size=8)
    assert object_problems(router, data, {"devices": "9", "accumulate_grad_batches": 1}) == [
        "data.batch_size: 8 for trainer.devices: 9. A batch is that of all devices, each of which "
        "needs a question of it: give at least as many.",
        "data.reasoner.share_base: dtype is 'float32' there, 'bfloat16' in the router. Give both "
        "the same, or share_base: false.",
    ]
    held.share_base = False
    assert object_problems(router, data, {"devices": "8", "accumulate_grad_batches": 1}) == []
