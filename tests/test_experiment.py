"""A whole fit on a tiny random LALM: survey, training, controls, table, files; then test, predict.

Nothing here is learnt: the model is random. That every step runs and leaves what it should is the
point; that routing is learnt is `test_module`'s, and the quickstart's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import learner_toy as toy
import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny import tiny_folder

from routerlab import experiment, routing
from routerlab.data.module import RouterDataModule
from routerlab.embedded.architectures import ARCHITECTURES
from routerlab.errors import ReasonerError, UserError
from routerlab.module import RouterModule
from routerlab.policy.adapter import trainable
from routerlab.reasoners.transformers_reasoner import TransformersReasoner
from routerlab.report.evaluation import RIVALS
from routerlab.report.summary import summarise
from routerlab.rivals import PredictableMap
from routerlab.stages import OBSERVATIONS, OFFICIAL, PREDICTED, ROUTES

pytestmark = [*toy.lightning_warnings, pytest.mark.timeout(600)]

SIZES = {"train": 12, "val": 4, "test": 12, "ood": 4}


class StopAfter(Callback):
    """Ends training early, as EarlyStopping or a limit of time would."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        trainer.should_stop = trainer.global_step >= self.steps


class World:
    """A folder with a tiny LALM, and everything that a command needs of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lalm = tiny_folder(root / "lalm")
        self.run = root / "run"

    def data(self, **settings: Any) -> RouterDataModule:
        given = {
            "data_dir": str(self.root / "data"),
            "cache_dir": str(self.root / "cache"),
            "tools": ["loudness", "segments"],
            "reasoner": TransformersReasoner(self.lalm),
            "batch_size": 6,
            "workers": 1,
            "controls": True,
            "crossfit": True,
        }
        return RouterDataModule(**(given | SIZES | settings))

    def module(self) -> RouterModule:
        return toy.module(self.lalm, seed=None)

    def trainer(self, **settings: Any) -> Any:
        saver = ModelCheckpoint(self.run / "checkpoints")
        given = {"enable_checkpointing": True, "callbacks": [saver], "max_epochs": 2}
        return toy.trainer(self.run, **(given | settings))

    @property
    def checkpoint(self) -> str:
        return str(next((self.run / "checkpoints").glob("*.ckpt")))

    def json(self, name: str) -> Any:
        return json.loads((self.run / name).read_text())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world in which one fit has been run."""
    it = World(tmp_path_factory.mktemp("world"))
    seed_everything(5, verbose=False)
    experiment.fit(trainer=it.trainer(), model=it.module(), datamodule=it.data(), ckpt_path=None)
    return it


def test_results_hold_every_named_figure(world: World) -> None:
    results = world.json("results.json")
    for figures in (results, results["ood"]):
        assert set(figures["accuracy"]) == set(RIVALS)
        known = {k for k, v in figures["accuracy"].items() if v is not None}
        assert known == set(RIVALS) - {"predictable"}
        assert set(figures["ci95"]["routed_minus"]) == (known - {"routed"}) | {
            "tool.loudness",
            "tool.segments",
        }
    assert set(results["headroom_closed"]) == {"predictable", "raw", "cross_fitted"}
    assert set(results["counters"]) == {"reasoner_calls", "tool_calls", "cache_hits"}
    assert set(results["seconds"]) >= {"data", "survey", "train", "test", "total"}
    assert results["keyword_trap"]["pairs"] == SIZES["test"] // 4
    assert results["peak_rss_mb"] > 100
    assert results["seed"] == 5
    assert results["lalm"] == world.data().lalm
    assert 0 <= results["gold_verbatim"] <= 1
    assert set(results["break_rate"]) == {"loudness", "segments"}


def test_a_map_of_another_lalm_leaves_predictable_empty_with_a_reason(world: World) -> None:
    results = world.json("results.json")
    assert results["accuracy"]["predictable"] is None
    assert results["notes"]["predictable"]


def test_the_other_files_of_a_run(world: World) -> None:
    rows = [json.loads(line) for line in (world.run / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == SIZES["test"] + SIZES["ood"]
    assert all(abs(sum(row["probabilities"].values()) - 1) < 1e-4 for row in rows)
    manifest = world.json("manifest.json")
    assert manifest["lalm"] == manifest["router_lalm"] == world.data().lalm
    assert set(manifest["tools"]) == {"loudness", "segments"}
    assert set(manifest["data"]) == set(manifest["releases"]) == set(SIZES)
    assert manifest["scorer"] == "strict"
    assert manifest["packages"]["torch"]
    assert world.json("survey.json")["splits"]["test"]["questions"] == SIZES["test"]
    assert "trained router" in summarise([world.run])[0].plain()


def test_a_trained_router_is_tried_before_another_reasoner(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The choices stay, the answers are the other's; the same reasoner again changes nothing."""
    other = tiny_folder(tmp_path, seed=1, architecture=ARCHITECTURES["qwen2_audio"])
    before = world.json("results.json")
    reasoners = {
        "other": TransformersReasoner(other),
        "same": TransformersReasoner(world.lalm),
    }
    experiment.test(
        trainer=world.trainer(),
        model=world.module(),
        datamodule=world.data(transfer=reasoners),
        ckpt_path=world.checkpoint,
    )
    after = world.json("results.json")
    assert "answered by other" in capsys.readouterr().out
    found = after["transfer"]
    assert found["same"]["accuracy"]["routed"] == before["accuracy"]["routed"]
    assert found["same"]["call_rate"]["routed"] == found["other"]["call_rate"]["routed"]
    assert found["other"]["lalm"] not in ("", found["same"]["lalm"])
    cells = SIZES["test"] * 3
    assert after["tested"]["counters"]["reasoner_calls"] == cells


def test_test_computes_the_same_table_again_without_training(world: World) -> None:
    before = world.json("results.json")
    experiment.test(
        trainer=world.trainer(),
        model=world.module(),
        datamodule=world.data(),
        ckpt_path=world.checkpoint,
        verbose=True,
    )
    after = world.json("results.json")
    assert after["accuracy"] == before["accuracy"]
    assert after["ood"]["ci95"] == before["ood"]["ci95"]
    cost = after["tested"]["counters"]
    assert cost["reasoner_calls"] == cost["tool_calls"] == 0
    # What the fit cost is still told, also by `summary`.
    for name in experiment.COSTS:
        assert after[name] == before[name]
    assert after["seconds"]["train"] > 0 == after["tested"]["seconds"]["train"]


def test_controls_of_other_questions_are_not_reused(world: World, tmp_path: Path) -> None:
    data = world.data(seed=1, test=8, ood=0)
    data.setup("test")
    controls = experiment.kept_controls(world.run)
    routes = routing.route(_restored(world, data).policy, data, "test")
    evaluation = experiment.evaluate(data, "test", routes, controls)
    assert "other questions" in evaluation.missing["no_audio"]


def test_testing_without_a_checkpoint_says_what_to_do(world: World) -> None:
    with pytest.raises(UserError, match="First: routerlab fit"):
        experiment.test(world.trainer(), world.module(), world.data(), ckpt_path=None)


def test_survey_prints_and_trains_nothing(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = world.trainer(default_root_dir=str(tmp_path / "survey"))
    experiment.survey(trainer, world.module(), world.data())
    shown = capsys.readouterr().out
    assert "best single tool" in shown
    assert "0 reasoner calls, 0 tool calls" in shown
    assert (tmp_path / "survey" / "survey.json").is_file()
    assert trainer.global_step == 0


def test_a_question_without_an_answer_is_no_wrong_answer(world: World) -> None:
    class Down:
        """A reasoner that cannot be asked."""

        def identity(self) -> dict[str, Any]:
            return {"reasoner": "down"}

        def answer_many(self, requests: Any) -> Any:
            return [[ReasonerError("nobody is there")] * len(r.observations) for r in requests]

        def close(self) -> None:
            pass

    target = world.run / "predict-test" / OFFICIAL
    target.unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"12 of 12 questions got no answer.*nobody is there"):
        experiment.predict(
            datamodule=world.data(reasoner=Down()),
            trainer=world.trainer(),
            model=world.module(),
            ckpt_path=world.checkpoint,
        )
    assert not target.exists()


def test_predicting_in_stages_is_predicting_at_once(world: World) -> None:
    folder = world.run / "predict-test"
    command = {
        "trainer": world.trainer(),
        "model": world.module(),
        "ckpt_path": world.checkpoint,
        "return_predictions": None,
    }
    experiment.predict(datamodule=world.data(), **command)
    at_once = [json.loads(line) for line in (folder / PREDICTED).read_text().splitlines()]
    assert len(at_once) == SIZES["test"]
    for name in (ROUTES, OBSERVATIONS, PREDICTED, OFFICIAL):
        (folder / name).unlink()
    with pytest.raises(UserError, match="stage=route"):
        experiment.predict(datamodule=world.data(), stage="observe", **command)
    for stage in ("route", "observe", "reason"):
        experiment.predict(datamodule=world.data(), stage=stage, **command)
    again = [json.loads(line) for line in (folder / PREDICTED).read_text().splitlines()]
    assert [r["answer"] for r in again] == [r["answer"] for r in at_once]
    assert [r["action"] for r in again] == [r["action"] for r in at_once]
    official = json.loads((folder / OFFICIAL).read_text())
    assert [row["model_output"] for row in official] == [row["answer"] for row in at_once]
    _answers_agree_with_the_table(world, at_once)
    with pytest.raises(UserError, match="Did you mean 'route'"):
        experiment.predict(datamodule=world.data(), stage="rout", **command)


def test_predicting_again_asks_nobody_and_goes_on_where_it_stopped(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    command = {"trainer": world.trainer(), "model": world.module(), "ckpt_path": world.checkpoint}
    experiment.predict(datamodule=world.data(), **command)
    capsys.readouterr()
    experiment.predict(datamodule=world.data(), stage="reason", **command)
    whole = world.run / "predict-test" / PREDICTED
    before = whole.read_text()
    assert "reason: 0 rows made, 12 kept" in capsys.readouterr().out
    whole.write_text("".join(before.splitlines(keepends=True)[:5]))
    experiment.predict(datamodule=world.data(), stage="reason", **command)
    assert "reason: 7 rows made, 5 kept" in capsys.readouterr().out
    assert whole.read_text() == before


def test_the_prompted_router_is_asked_once(world: World, tmp_path: Path) -> None:
    data = world.data(cache_dir=str(tmp_path))
    data.read()
    policy = toy.router(world.lalm)
    policy.configure(toy.CARDS)
    asked = []

    class Watched:
        """The policy, noting which batches it is really asked about."""

        def __getattr__(self, name: str) -> Any:
            return getattr(policy, name)

        def prompted(self, batch: Any) -> Any:
            asked.append(len(batch))
            return policy.prompted(batch)

    first = routing.prompted(Watched(), data, "test")
    again = routing.prompted(Watched(), data, "test")
    assert asked == [SIZES["test"]]
    assert first.tolist() == again.tolist()
    policy = toy.router(world.lalm, cards="apart")
    policy.configure(toy.CARDS)
    routing.prompted(Watched(), data, "test")
    assert asked == [SIZES["test"]] * 2, "another prompt is asked anew"
    policy.configure(toy.CARDS[:1])
    assert routing.prompted(Watched(), data, "test").shape == (SIZES["test"], 2)


def test_the_deaf_twin_trains_as_long_and_by_the_same_plan(world: World, tmp_path: Path) -> None:
    """Two of six steps: the router ended early."""
    settings = {"max_epochs": 2, "limit_val_batches": 0}

    def router() -> Any:
        return toy.module(world.lalm, {"audio": "zero"})

    like = toy.trainer(tmp_path, **settings, callbacks=[StopAfter(2)], min_epochs=0)
    first, twin = router(), router()
    like.fit(first, datamodule=toy.ToyData())
    routing.train_quietly(twin, toy.ToyData(), like)
    assert twin.trainer.global_step == like.global_step == 2
    ours, theirs = trainable(first), trainable(twin)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_deaf_copy_shares_nothing_and_hears_nothing(world: World) -> None:
    module = world.module()
    twin = routing.deaf(module)
    assert twin.policy.settings == module.policy.settings | {"audio": "zero"}
    assert twin.policy is not module.policy
    assert module.policy.settings["audio"] == "on"


def test_a_map_is_made_from_fresh_data(world: World, tmp_path: Path) -> None:
    path = experiment.make_predictable(
        8,
        seed=77,
        ood=4,
        out=tmp_path / "map.json",
        data_dir=str(world.root / "data"),
        cache_dir=str(world.root / "cache"),
        workers=1,
        tools=["loudness", "segments"],
        reasoner=TransformersReasoner(world.lalm),
    )
    made = PredictableMap.load(path)
    assert made.mismatch(world.data().lalm, made.tools) == ""
    assert made.questions == 8
    assert set(made.actions.values()) <= {"direct", "loudness", "segments"}


def _restored(world: World, data: RouterDataModule) -> Any:
    module = world.module()
    routing.restore(module, data, world.checkpoint)
    return module


def _answers_agree_with_the_table(world: World, rows: list[dict[str, Any]]) -> None:
    """The staged road and the oracle's must give one answer to one prompt."""
    known = [
        json.loads(line) for line in (world.run / "predictions.jsonl").read_text().splitlines()
    ]
    answers = {row["id"]: row["answers"] for row in known if row["split"] == "test"}
    assert all(answers[row["id"]][row["action"]] == row["answer"] for row in rows)
