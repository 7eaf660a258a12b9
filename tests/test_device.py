"""Where Router and Reasoner run: what a recipe's word means, and who decides.

What only a GPU can show is skipped without one: that both give there what they give on the CPU.
"""

from __future__ import annotations

from pathlib import Path

import learner_toy as toy
import pytest
import torch
from tiny import tiny_folder, tone

from routerlab.errors import UserError
from routerlab.lalm.device import present, resolve
from routerlab.lalm.model import LALM
from routerlab.policy.router import RouterPolicy
from routerlab.reasoners.base import ReasonRequest
from routerlab.reasoners.transformers_reasoner import TransformersReasoner
from routerlab.routing import device_of

pytestmark = toy.lightning_warnings

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
HERE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_folder(tmp_path_factory.mktemp("lalm"))


def test_auto_takes_a_gpu_where_there_is_one() -> None:
    assert resolve("auto").type == HERE
    assert resolve("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UserError, match="Allowed: auto, cpu, cuda"):
        resolve("gpu")


def test_a_gpu_that_is_not_there_is_said_before_anything_is_loaded(folder: str) -> None:
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(UserError, match="PyTorch finds"):
        present(torch.device(absent))
    with pytest.raises(UserError, match="Set device: auto"):
        LALM.load("./no such folder", device=absent)
    policy = toy.router(folder, device=absent)
    with pytest.raises(UserError, match="PyTorch finds"):
        device_of(policy)


def test_outside_training_the_setting_decides_and_auto_follows_the_trainer(
    folder: str, tmp_path: Path
) -> None:
    on_cpu = toy.trainer(tmp_path)
    assert device_of(toy.router(folder), on_cpu) == torch.device("cpu")
    assert device_of(toy.router(folder)).type == HERE
    assert device_of(toy.router(folder, device="cpu")) == torch.device("cpu")


def test_a_trained_router_is_loaded_where_it_is_asked_and_its_file_names_no_device(
    folder: str, tmp_path: Path
) -> None:
    policy = toy.router(folder, device="cpu")
    policy.configure(toy.CARDS)
    policy.save_adapter(tmp_path)
    assert '"device"' not in (tmp_path / "router.json").read_text()
    loaded = RouterPolicy.load(tmp_path)
    assert loaded.centre.device.type == loaded._lalm.device.type == HERE
    assert TransformersReasoner(folder).lalm.device.type == HERE


@GPU
@pytest.mark.parametrize("cards", ["first", "apart"])
def test_a_router_gives_on_a_gpu_what_it_gives_on_the_cpu(folder: str, cards: str) -> None:
    policy = toy.router(folder, lora_layers=1, cards=cards)
    policy.configure(toy.CARDS)
    asked = toy.batch(toy.table(5), range(5))
    with torch.no_grad():
        here = policy(asked)
        there = policy.to("cuda")(asked.to("cuda"))
        assert there.device.type == "cuda"
        torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=0)
        torch.testing.assert_close(policy.to("cpu")(asked), here)


@GPU
@pytest.mark.parametrize("protocol", ["likelihood", "generate"])
def test_a_reasoner_answers_on_a_gpu_as_on_the_cpu(folder: str, protocol: str) -> None:
    asked = [ReasonRequest(tone(1.0), "Which note?", ("C4", "Eb4", "G4"))] * 3
    one, other = (
        TransformersReasoner(folder, device=device, protocol=protocol)  # type: ignore[arg-type]
        for device in ("cpu", "cuda")
    )
    for ours, theirs in zip(one.answer_many(asked), other.answer_many(asked), strict=True):
        assert ours[0].log_probs == pytest.approx(theirs[0].log_probs, abs=1e-4)  # type: ignore[union-attr]


@GPU
def test_a_trainer_s_gpu_trains_the_router(folder: str, tmp_path: Path) -> None:
    module = toy.module(folder)
    trainer = toy.trainer(tmp_path, accelerator="gpu", limit_val_batches=0)
    trainer.fit(module, datamodule=toy.ToyData())
    assert trainer.callback_metrics["train/grad_norm"] > 0
