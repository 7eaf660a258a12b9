"""The training commands on tiny real modules: runs, resuming, and every mistake in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from routerlab.cli import main
from routerlab.commands.checks import config_problems
from routerlab.commands.runs import Run

GPU = torch.cuda.is_available() or torch.backends.mps.is_available()
MODULES = '''
from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset

from routerlab.errors import UserError


class Shape:
    def __init__(self, slope: float = 1.0, kind: Literal["line", "curve"] = "line") -> None:
        if slope > 90:
            raise ValueError(f"slope: {slope:g} given; at most 90 is drawn.")
        self.slope = slope


class Line(LightningModule):
    """One weight; learns y = slope * x."""

    def __init__(self, shape: Shape | None = None, lr: float = 0.1) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.slope, self.lr = (shape or Shape()).slope, lr

    def training_step(self, batch, index):
        if self.global_step == self.trainer.datamodule.stop_at:
            raise RuntimeError("the toy stops here")
        return ((self.weight * batch[0] - self.slope * batch[0]) ** 2).mean()

    def test_step(self, batch, index):
        self.log("weight", self.weight.item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class ByHand(Line):
    """Steps its optimizer itself, as a router does."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__(lr=lr)
        self.automatic_optimization = False

    def problems(self):
        return ["model: lr must be above 0."] if self.lr <= 0 else []


class Points(LightningDataModule):
    def __init__(
        self,
        count: int = 8,
        seed: int = 0,
        tools: list[dict] | None = None,
        folder: str = "",
        stop_at: int = -1,
        refuses: str = "",
    ) -> None:
        super().__init__()
        self.stop_at, self.refuses = stop_at, refuses
        self.count, self.folder, self.trusted = count, folder, ()

    def problems(self):
        found = [] if self.count > 0 else [f"count must be above 0, not {self.count}"]
        return found + ([] if not self.folder else [f"folder: there is no {self.folder}."])

    def setup(self, stage):
        if self.refuses == "after a file":
            (Path(self.trainer.default_root_dir) / "survey.json").write_text("{}")
        if self.refuses:
            raise UserError("data: these points are refused.")

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(self.count, 1)), batch_size=4)

    test_dataloader = train_dataloader
'''

RECIPE = """
seed_everything: 7
trainer:
  max_epochs: 2
  accelerator: cpu
  enable_progress_bar: false
  enable_model_summary: false
model:
  class_path: cli_toys.Line
  init_args:
    lr: 0.3
    shape: {class_path: cli_toys.Shape, init_args: {slope: 2.0}}
data:
  class_path: cli_toys.Points
  init_args:
    seed: ${seed_everything}
    tools: [{name: a, class_path: cli_toys.NotBuilt}]
"""


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("toys") / "cli_toys.py"
    path.write_text(MODULES)
    return str(path)


@pytest.fixture
def cli(toys: str, tmp_path: Path, monkeypatch, capsys):
    """Calls `routerlab` in an empty folder with line.yaml in it: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    Path("line.yaml").write_text(RECIPE)

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([*words, "--trust", toys])
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return call


def state(folder: str) -> dict:
    return json.loads((Path(folder) / "run.json").read_text())


# --- running --------------------------------------------------------------------------------------


def test_fit_leaves_a_whole_run(cli) -> None:
    before = list(sys.argv)
    code, _, err = cli("fit", "line.yaml", "data.count=12", "model.shape.slope=3")
    assert code == 0, err
    assert sys.argv == before
    run = Run(Path("runs/line/001"))
    assert run.state["status"] == "finished"
    assert run.checkpoint() is not None
    recipe = yaml.safe_load(run.recipe.read_text())
    assert recipe["data"]["init_args"]["count"] == 12
    assert recipe["data"]["init_args"]["seed"] == 7
    assert recipe["model"]["init_args"]["shape"]["init_args"]["slope"] == 3.0
    assert recipe["trainer"]["default_root_dir"] is None
    assert not {"ckpt_path", "weights_only"} & set(recipe)


def test_overrides_reach_interpolations(cli) -> None:
    code, out, _ = cli("fit", "line.yaml", "seed_everything=9", "--print_config")
    assert code == 0
    assert yaml.safe_load(out)["data"]["init_args"]["seed"] == 9
    assert not Path("runs").exists()


def test_a_resolved_recipe_runs_again(cli) -> None:
    assert cli("fit", "line.yaml")[0] == 0
    code, _, err = cli("fit", "runs/line/001", "model.lr=0.2")
    assert code == 0, err
    assert Run(Path("runs/line/002")).state["status"] == "finished"


def test_test_takes_the_newest_trained_run(cli) -> None:
    assert cli("fit", "line.yaml")[0] == 0
    assert cli("fit", "line.yaml", "trainer.max_epochs=1")[0] == 0
    code, newest, err = cli("test")
    assert code == 0, err
    code, second, _ = cli("test", "runs/line/002")
    code, first, _ = cli("test", "runs/line/001")
    assert code == 0
    assert newest == second != first
    assert len(list(Path("runs/line").iterdir())) == 2


def test_resume_goes_on_in_the_same_folder(cli) -> None:
    code, _, err = cli("fit", "line.yaml", "--ckpt_path", "last")
    assert code == 2
    assert "there is none" in err
    with pytest.raises(RuntimeError, match="the toy stops here"):
        cli("fit", "line.yaml", "data.stop_at=3")
    assert state("runs/line/001")["status"] == "stopped"
    assert Run(Path("runs/line/001")).checkpoint() is not None
    code, out, err = cli("fit", "line.yaml", "--ckpt_path", "last")
    assert code == 0, err
    assert out.splitlines()[0] == "going on with runs/line/001 from step 2"
    assert state("runs/line/001")["status"] == "finished"
    assert [p.name for p in Path("runs/line").iterdir()] == ["001"]
    whole, _, _ = cli("fit", "line.yaml")
    assert whole == 0
    assert weights("runs/line/001") == weights("runs/line/002")
    assert cli("fit", "line.yaml", "--ckpt_path", "last")[0] == 2


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_run_is_not_gone_on_with_by_other_settings(cli) -> None:
    with pytest.raises(RuntimeError):
        cli("fit", "line.yaml", "data.stop_at=3")
    kept = Path("runs/line/001/recipe.yaml").read_text()
    last = ("fit", "line.yaml", "--ckpt_path", "last")
    code, _, err = cli(*last, "model.lr=0.01", "seed_everything=8")
    assert code == 2
    assert err == (
        "seed_everything: 8 given, 7 in the run; model.init_args.lr: 0.01 given, 0.3 in the run "
        "(runs/line/001). Give the run's own settings, or begin a new run without --ckpt_path.\n"
    )
    code, _, err = cli(*last, "model=cli_toys.ByHand")
    assert code == 2
    assert err.startswith("model.class_path: cli_toys.ByHand given, cli_toys.Line in the run (")
    checkpoint = str(Run(Path("runs/line/001")).checkpoint())
    named = ("fit", "line.yaml", "--ckpt_path", checkpoint)
    code, _, err = cli(*named, "trainer.default_root_dir=runs/line/001", "model.lr=0.01")
    assert code == 2
    assert "model.init_args.lr" in err
    assert Path("runs/line/001/recipe.yaml").read_text() == kept
    assert state("runs/line/001")["status"] == "stopped"
    assert cli(*last, "trainer.max_epochs=3", "data.tools=null")[0] == 0
    assert state("runs/line/001")["status"] == "finished"
    assert cli(*named, "model.lr=0.01")[0] == 0, "a run of its own"
    assert state("runs/line/002")["status"] == "finished"


def test_a_run_killed_before_its_first_checkpoint_begins_again(cli) -> None:
    with pytest.raises(RuntimeError):
        cli("fit", "line.yaml", "data.stop_at=0")
    assert Run(Path("runs/line/001")).checkpoint() is None
    code, out, _ = cli("fit", "line.yaml", "--ckpt_path=last")
    assert code == 0
    assert out.splitlines()[0] == "runs/line/001 has no checkpoint yet: begins anew"
    assert state("runs/line/001")["status"] == "finished"


def weights(folder: str) -> float:
    path = Run(Path(folder)).checkpoint()
    return torch.load(path, weights_only=True)["state_dict"]["weight"].item()


def test_two_ranks_share_one_run(toys: str, tmp_path: Path) -> None:
    """Lightning starts the second rank with the words that the user typed."""
    (tmp_path / "line.yaml").write_text(RECIPE)
    words = ["fit", "line.yaml", "trainer.devices=2", "trainer.strategy=ddp", "--trust", toys]
    done = subprocess.run(
        [sys.executable, "-m", "routerlab.cli", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert [p.name for p in (tmp_path / "runs/line").iterdir()] == ["001"]


# --- mistakes -------------------------------------------------------------------------------------

MISTAKES = [
    ("trainer.max_epoch=2", "trainer.max_epoch: no such key. Did you mean 'trainer.max_epochs'?"),
    ("trainer.max_epochs=many", "trainer.max_epochs: 'many' given; allowed: int or null."),
    ("trainer.max_epochs=", "trainer.max_epochs: '' given"),
    ("model.lrr=1", "model.lrr: no such setting of cli_toys.Line. Did you mean 'model.lr'?"),
    ("model.lr=fast", "model.lr: 'fast' given; allowed: float."),
    ("model.shape.slop=1", "Did you mean 'model.shape.slope'? Allowed: kind, slope."),
    (
        "model.shap.slope=1",
        "model.shap: no such setting of cli_toys.Line. Did you mean 'model.shape'",
    ),
    ("model.shape.slop.e=1", "model.shape.slop: no such setting of cli_toys.Shape. Did you mean"),
    (
        "data.tols.x.y=1",
        "Did you mean 'data.tools'? Allowed: count, folder, refuses, seed, stop_at, tools.",
    ),
    ("model.shape.kind=dot", "model.shape.kind: 'dot' given; allowed: 'line', 'curve'."),
    ("model.shape=Shap", "model.shape: 'Shap' given; allowed: the dotted class path of a Shape"),
    ("model.shape.slope=99", "slope: 99 given; at most 90 is drawn."),
    ("model=cli_toys.Shape", "allowed: the dotted class path of a LightningModule"),
    ("model.class_path=cli_toys.Lin", "class path 'cli_toys.Lin' cannot be used"),
    ("modell.lr=1", "modell: no such key. Did you mean 'model'?"),
    ("data.count=few", "data.count: 'few' given; allowed: int."),
    ("data.seed=${nothing}", "'.nothing' not found"),
    ("seed_everything=x", "seed_everything: 'x' given; allowed: bool or int."),
    ("trainer.accelerator=abacus", "trainer: You selected an invalid accelerator name"),
    ("trainer.callbacks=[{class_path: os.system}]", "outside the trusted packages"),
    ("trainer.callbacks=[{class_path: Nope}]", "the dotted class path of a Callback"),
    ("trainer=3", "trainer: '3' given; allowed: a mapping of settings."),
    ("ckpt_path=nowhere.ckpt", "there is no file 'nowhere.ckpt'"),
    ("--weights_only=false", "weights_only: no such key."),
]


@pytest.mark.parametrize(("word", "said"), MISTAKES, ids=[word for word, _ in MISTAKES])
def test_a_mistake_is_one_line(cli, word: str, said: str) -> None:
    code, out, err = cli("fit", "line.yaml", word)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert not Path("runs").exists() or not list(Path("runs").glob("*/*"))


@pytest.mark.skipif(GPU, reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_with_what_is_allowed(cli) -> None:
    code, _, err = cli("fit", "line.yaml", "trainer.accelerator=gpu")
    assert code == 2
    assert err.startswith("trainer.accelerator: 'gpu' given, but torch finds none here. Allowed: ")
    assert len(err.strip().splitlines()) == 1
    assert not Path("runs").exists()


def test_missing_parts_are_named(cli) -> None:
    Path("half.yaml").write_text("trainer: {max_epochs: 1}\n")
    code, _, err = cli("fit", "half.yaml")
    assert code == 2
    assert "data, model: missing" in err


def test_problems_of_meaning_come_together(cli) -> None:
    code, _, err = cli(
        *("fit", "line.yaml", "model=cli_toys.ByHand", "model.lr=-1", "data.count=0"),
        *(
            "data.folder=nowhere",
            "trainer.gradient_clip_val=0.5",
            "trainer.accumulate_grad_batches=4",
        ),
    )
    assert code == 2
    assert len(err.strip().splitlines()) == 5
    for said in (
        "data: count must be above 0",
        "folder: there is no nowhere.",
        "model: lr must be above 0.",
        "trainer.gradient_clip_val: 0.5 given, but ByHand steps its optimizer itself.",
        "trainer.accumulate_grad_batches: 4 given, but ByHand steps",
    ):
        assert said in err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("trainer.precision=bf16-mixed", "trainer.precision: 'bf16-mixed' given, but an adapter"),
        ("trainer.precision=16-true", "trainer.precision: '16-true' given, but an adapter"),
        ("trainer.strategy=ddp_spawn", "trainer.strategy: 'ddp_spawn'. Allowed: auto, ddp."),
        ("trainer.strategy=fsdp", "trainer.strategy: 'fsdp'. Allowed: auto, ddp."),
        ("trainer.overfit_batches=1", "trainer.limit_train_batches shortens an epoch"),
    ],
)
def test_what_steps_by_hand_cannot_do_is_said_before_anything_runs(
    cli, given: str, said: str
) -> None:
    code, _, err = cli("fit", "line.yaml", "model=cli_toys.ByHand", given)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert said in err
    assert not Path("runs").exists()


def test_checkpoints_lie_in_the_run_whatever_the_logger(cli) -> None:
    logger = "trainer.logger=lightning.pytorch.loggers.CSVLogger"
    code, _, _ = cli(
        *("fit", "line.yaml", logger, "trainer.logger.save_dir=elsewhere"),
        "trainer.log_every_n_steps=1",
    )
    assert code == 0
    assert list(Path("runs/line/001/checkpoints").glob("*.ckpt"))
    assert not list(Path("elsewhere").rglob("*.ckpt"))


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_a_rank_that_something_else_started_needs_to_know_the_folder(
    cli, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    code, _, err = cli("fit", "line.yaml")
    assert code == 2
    assert err.startswith("ROUTERLAB_RUN_DIR: not set on rank 1.")
    assert len(err.strip().splitlines()) == 1
    assert not Path("runs").exists()


def test_what_lightning_refuses_is_one_line(cli) -> None:
    code, _, err = cli("fit", "line.yaml", "trainer.max_epochs=1", "trainer.overfit_batches=-1")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "overfit_batches" in err
    assert not list(Path("runs").glob("*/*"))


def test_a_refused_fit_leaves_no_folder_behind(cli) -> None:
    with pytest.raises(RuntimeError):
        cli("fit", "line.yaml", "data.stop_at=3")
    code, _, err = cli("fit", "line.yaml", "data.refuses=at once")
    assert (code, err) == (2, "data: these points are refused.\n")
    assert [p.name for p in Path("runs/line").iterdir()] == ["001"]
    assert cli("fit", "line.yaml", "--ckpt_path=last", "data.refuses=at once")[0] == 2
    assert state("runs/line/001")["status"] == "stopped"
    assert cli("fit", "line.yaml", "data.refuses=after a file")[0] == 2
    assert state("runs/line/002")["status"] == "stopped"


def test_a_model_of_no_known_family_is_seen_in_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model.safetensors").touch()
    (said,) = config_problems({"model": {"lalm": str(tmp_path)}})
    assert said.startswith(f"model.lalm: lalm: {str(tmp_path)!r} is of model type 'llama'. Known")


def test_help_of_a_recipe_lists_every_key(cli) -> None:
    code, out, _ = cli("fit", "line.yaml", "--help")
    assert code == 0
    assert "--trainer.max_epochs" in out


def test_survey_and_ask_want_a_router(cli) -> None:
    code, _, err = cli("survey", "line.yaml")
    assert code == 2
    assert "survey" in err
    assert cli("fit", "line.yaml")[0] == 0
    Path("x.wav").write_bytes(b"")
    question = ["--audio", "x.wav", "--question", "which?", "--choice", "a", "--choice", "b"]
    code, _, err = cli("ask", *question)
    assert code == 2
    assert "trains no router" in err


def test_ask_lists_every_mistake(cli) -> None:
    code, _, err = cli("ask", "--audio", "no.wav", "--question", " ", "--choice", "a")
    assert code == 2
    assert len(err.strip().splitlines()) == 3
