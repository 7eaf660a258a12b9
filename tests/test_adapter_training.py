"""The adapter stays float32 over a narrow base, loads by PEFT alone, and learns the same when
activations are computed again: for both families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import learner_toy as toy
import pytest
import torch
from lalm_families import FAMILIES, OMNI, Plain, family_folder
from peft import PeftModel
from torch import Tensor

from routerlab.errors import UserError
from routerlab.lalm.chat import AUDIO
from routerlab.policy.adapter import trainable
from routerlab.policy.prompt import CUE, question_text, system_text
from routerlab.policy.router import RouterPolicy

pytestmark = toy.lightning_warnings


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {f: family_folder(tmp_path_factory.mktemp("lalm"), f) for f in FAMILIES}


def stirred(folder: str, **settings: Any) -> RouterPolicy:
    """A configured router whose adapter does something."""
    policy = toy.router(folder, **settings)
    policy.configure(toy.CARDS)
    draw = torch.Generator().manual_seed(5)
    for parameter in trainable(policy).values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)
    return policy


def gradients(policy: RouterPolicy, **settings: Any) -> dict[str, Tensor]:
    asked = toy.batch(toy.table(5), range(5))
    weights = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    policy.zero_grad()
    (policy(asked, **settings) * weights).sum().backward()
    return {name: p.grad for name, p in trainable(policy).items() if p.grad is not None}


@pytest.mark.parametrize("embeddings", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_adapter_is_float32_over_a_narrow_base_and_a_step_moves_it(
    folders: dict[str, str], family: str, embeddings: bool, tmp_path: Path
) -> None:
    policy = {"dtype": "bfloat16", "train_embeddings": embeddings}
    module = toy.module(folders[family], policy, lr=1e-5, weight_decay=0.0)
    trainer = toy.trainer(tmp_path, max_steps=1, limit_val_batches=0)
    module.policy.configure(toy.CARDS, seed=3)
    before = {name: p.detach().clone() for name, p in trainable(module).items()}
    trainer.fit(module, datamodule=toy.ToyData())
    after = trainable(module)
    assert {p.dtype for p in after.values()} == {torch.float32}
    frozen = {p.dtype for p in module.parameters() if not p.requires_grad}
    assert frozen == {torch.bfloat16}
    # A first step moves each B by lr, a share of its size that bfloat16 could hold; the A's that
    # are of the order of 0.1 move in later steps by what only float32 holds.
    moved = [not torch.equal(before[name], p) for name, p in after.items() if "lora_B" in name]
    assert all(moved)
    assert trainer.callback_metrics["train/grad_norm"] > 0


# peft asks transformers for a property that transformers has renamed.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_peft_alone_loads_the_adapter_onto_the_plain_base(
    folders: dict[str, str], family: str, dtype: str, tmp_path: Path
) -> None:
    policy = stirred(folders[family], dtype=dtype)
    policy.save_adapter(tmp_path)
    plain = Plain(folders[family], family, getattr(torch, dtype))
    plain.model = PeftModel.from_pretrained(plain.model, str(tmp_path))
    asked, lalm = toy.batch(toy.table(3), range(3)), policy._lalm
    system = system_text(policy.cards, policy.labels)
    ours = policy(asked).detach()
    for row, question, clip in zip(ours, asked.questions, asked.clips, strict=True):
        text = question_text(question.question, question.choices)
        heard = lalm.audio_features([clip])
        ids = torch.tensor([lalm.chat(system, [AUDIO, text], cue=CUE).ids([len(heard[0])])])
        given = plain.inputs("<|AUDIO|>", clip)
        given |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        given["input_features"] = given["input_features"].to(plain.model.dtype)
        with torch.no_grad():
            theirs = plain.model(**given).logits[0, -1, policy._label_ids].float()
        wide = {"atol": 1e-5, "rtol": 0.0} if dtype == "float32" else {"atol": 0.05, "rtol": 0.02}
        torch.testing.assert_close(row, theirs, **wide)


def test_a_precision_that_narrows_the_adapter_is_refused(
    folders: dict[str, str], tmp_path: Path
) -> None:
    trainer = toy.trainer(tmp_path, precision="bf16-true", limit_val_batches=0)
    with pytest.raises(UserError, match="dtype: bfloat16 for the "):
        trainer.fit(toy.module(folders[OMNI]), datamodule=toy.ToyData())


def test_label_logits_of_a_narrow_base_are_not_rounded(folders: dict[str, str]) -> None:
    lalm = stirred(folders[OMNI], dtype="bfloat16")._lalm
    hidden = torch.randn(4, lalm.hidden_size, generator=torch.Generator().manual_seed(2)).bfloat16()
    some = torch.tensor([3, 30, 300])
    wide = hidden.float() @ lalm.base.lm_head.weight[some].float().T
    assert torch.equal(lalm.logits(hidden, some), wide)
    assert not torch.equal(lalm.logits(hidden)[:, some], wide)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_over_a_narrow_base_are_wide_and_point_the_same_way(
    folders: dict[str, str], family: str
) -> None:
    wide = gradients(stirred(folders[family]))
    narrow = gradients(stirred(folders[family], dtype="bfloat16"))
    again = gradients(stirred(folders[family], dtype="bfloat16", gradient_checkpointing=True))
    assert wide.keys() == narrow.keys() == again.keys()
    assert {grad.dtype for grad in narrow.values()} == {torch.float32}
    for other in (narrow, again):
        flat = [torch.cat([each[name].flatten() for name in wide]) for each in (wide, other)]
        assert torch.cosine_similarity(*flat, dim=0) > 0.98


@pytest.mark.parametrize("settings", [{}, {"lora_layers": 1}, {"train_embeddings": True}], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointed_layers_give_the_same_gradients(
    folders: dict[str, str], family: str, settings: dict[str, Any]
) -> None:
    kept = gradients(stirred(folders[family], **settings))
    again = gradients(stirred(folders[family], gradient_checkpointing=True, **settings))
    assert kept.keys() == again.keys()
    assert all(torch.equal(kept[name], again[name]) for name in kept)
    assert all(grad.abs().max() > 0 for name, grad in kept.items() if "v_proj.lora_B" in name)


def saved_bytes(policy: RouterPolicy) -> int:
    """What a forward pass keeps for its backward pass, weights aside."""
    held = {p.untyped_storage().data_ptr() for p in policy.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        policy(toy.batch(toy.table(8), range(8)))
    return sum(found.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_keeps_less(folders: dict[str, str], family: str) -> None:
    kept = saved_bytes(stirred(folders[family]))
    again = saved_bytes(stirred(folders[family], gradient_checkpointing=True))
    # One of two layers is computed again; the last one is run for the rows' ends only.
    assert again < 0.6 * kept


def test_a_router_that_only_answers_computes_nothing_twice(folders: dict[str, str]) -> None:
    policy = stirred(folders[OMNI], gradient_checkpointing=True)
    plain = stirred(folders[OMNI])
    asked = toy.batch(toy.table(3), range(3))
    assert torch.equal(policy.probabilities(asked), plain.probabilities(asked))
