"""The recipes of real backbones, run as they stand on tiny checkpoints of the same families.

Only ids, sizes, places of data and precision are overridden. The models are random, so nothing is
learnt; that every command runs through the recipe, and on what, is the point.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_backbones import omni_folder, questions_folder, qwen2_audio_folder

from routerlab.cli import main
from routerlab.commands.checks import settings_named
from routerlab.lalm.checkpoint import fingerprint
from routerlab.lalm.model import LALM

RECIPES = sorted((Path(__file__).resolve().parents[1] / "recipes").glob("qwen*.yaml"))
NAMES = ("qwen25omni", "qwen25omni_3b", "qwen2audio", "qwen_mixed")

pytestmark = [
    pytest.mark.timeout(1500),
    # AuTAgent's own reward has it so, and the user is told.
    pytest.mark.filterwarnings("ignore:reward. a redundant call is free:UserWarning"),
]

every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)


# --- the files ------------------------------------------------------------------------------------


def test_there_is_a_recipe_for_each_backbone_and_a_mixed_one() -> None:
    assert tuple(path.stem for path in RECIPES) == NAMES


@every_recipe
def test_a_recipe_pins_what_it_fetches_and_trusts_no_code(recipe: Path) -> None:
    tree = yaml.safe_load(recipe.read_text())
    pins = [pin for _, pin in settings_named("revision", tree) if not pin.startswith("${")]
    assert pins
    assert all(re.fullmatch(r"[0-9a-f]{40}", pin) for pin in pins)
    assert "trust" not in recipe.read_text()
    for name in (name for _, name in settings_named("lalm", tree) if not name.startswith("${")):
        assert name.startswith("Qwen/")
        assert f"hf download {name} --revision {pins[0]}" in recipe.read_text() or len(pins) > 1


@every_recipe
def test_a_recipe_opens_with_what_a_user_must_know(recipe: Path) -> None:
    head = recipe.read_text().split("\nseed_everything")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    for wanted in ("GPU memory", "ESTIMATED", "hf download", "docs/backbones.md", "devices=8"):
        assert wanted in head
    assert f"routerlab fit recipes/{recipe.name} " in head


@every_recipe
def test_a_recipe_is_the_setting_it_says(recipe: Path) -> None:
    tree = yaml.safe_load(recipe.read_text())
    policy = tree["model"]["init_args"]["policy"]["init_args"]
    data = tree["data"]["init_args"]
    assert (policy["lora_r"], policy["lora_alpha"], policy["dtype"]) == (8, 32, "bfloat16")
    assert "precision" not in tree["trainer"]  # the adapter stays float32
    assert len(data["tools"]) == 6
    assert data["stratify"]["strict"]


# --- running them ---------------------------------------------------------------------------------


@dataclass
class World:
    """Tiny checkpoints and questions under one folder, and the words that point a recipe there."""

    root: Path

    def __post_init__(self) -> None:
        for name, write, seed in (
            ("omni", omni_folder, 0), ("omni3b", omni_folder, 1), ("audio", qwen2_audio_folder, 0)
        ):  # fmt: skip
            (self.root / name).mkdir()
            write(self.root / name, seed)
        (self.root / "data").mkdir()
        questions_folder(self.root / "data")

    def words(self, recipe: str) -> list[str]:
        """Overrides: ids, sizes, places, precision."""
        router, reasoner = {
            "qwen25omni": ("omni", None),
            "qwen25omni_3b": ("omni3b", None),
            "qwen2audio": ("audio", None),
            "qwen_mixed": ("omni3b", "audio"),
        }[recipe]
        ids = [f"model.policy.lalm=./{router}", "model.policy.revision=null"]
        if reasoner:
            ids += [f"data.reasoner.lalm=./{reasoner}", "data.reasoner.revision=null"]
        sizes = [
            "data.stratify.questions=8", "data.stratify.pool=16", "data.stratify.strict=false",
            "data.batch_size=4", "data.workers=1", "trainer.max_steps=2", "model.center_on=8",
        ]  # fmt: skip
        # One recipe keeps its own precision; the others are exact.
        exact = ["model.policy.dtype=float32", "data.reasoner.dtype=float32"]
        precision = [] if recipe == "qwen25omni_3b" else exact
        return [*ids, *sizes, *precision, "data.source=data", "trainer.accelerator=cpu"]

    def json(self, *names: str) -> Any:
        return json.loads((self.root / "runs" / Path(*names)).read_text())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("backbones"))


@pytest.fixture
def call(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Calls `routerlab` in the world's folder; what it printed."""
    monkeypatch.chdir(world.root)

    def run(*words: str) -> str:
        capsys.readouterr()
        code = main(words)
        out, err = capsys.readouterr()
        assert code == 0, err
        return str(out)

    return run


def recipe_file(name: str) -> str:
    return str(next(path for path in RECIPES if path.stem == name))


@pytest.mark.parametrize("name", ["omni", "audio"])
def test_nothing_is_loaded_that_neither_hears_nor_reads(name: str, world: World) -> None:
    lalm = LALM.load(str(world.root / name))
    parts = {part.split(".")[1] for part, _ in lalm.base.named_parameters() if "." in part}
    assert parts <= {"audio_tower", "language_model", "multi_modal_projector", "weight"}
    index = json.loads((world.root / name / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    spoken = {weight.partition(".")[0] for weight in index["weight_map"]}
    assert spoken == {"thinker", "talker", "token2wav"} or name == "audio"


@pytest.mark.parametrize("name", ["qwen25omni", "qwen2audio"])
def test_survey_shows_the_pool(name: str, world: World, call: Any) -> None:
    out = call("survey", recipe_file(name), *world.words(name), "sound=false")
    assert "training questions drawn: 8 (" in out
    assert world.json(name, "001", "run.json")["status"] == "finished"
    found = world.json(name, "001", "survey.json")
    assert found["splits"]["train"]["questions"] == 16
    assert sum(found["strata"][kind]["pool"] for kind in ("fix", "break", "redundant")) == 16
    assert found["lalm"] == fingerprint(world.root / ("omni" if name == "qwen25omni" else "audio"))


@pytest.mark.parametrize("name", NAMES)
def test_fit_trains_the_drawn_questions_and_leaves_an_adapter(
    name: str, world: World, call: Any
) -> None:
    call("fit", recipe_file(name), *world.words(name))
    run = next(path for path in sorted((world.root / "runs" / name).iterdir(), reverse=True))
    manifest = json.loads((run / "manifest.json").read_text())
    results = json.loads((run / "results.json").read_text())
    assert manifest["strata"]["questions"] == 8
    router, reasoner = {"qwen_mixed": ("omni3b", "audio")}.get(
        name, (world.words(name)[0].partition("./")[2],) * 2
    )
    assert manifest["router_lalm"] == fingerprint(world.root / router)
    assert manifest["lalm"] == fingerprint(world.root / reasoner)
    assert results["questions"] == 5
    assert results["ood"]["questions"] == 4
    adapter = json.loads((run / "adapters" / "last" / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"]) == (8, 32)
    resolved = yaml.safe_load((run / "recipe.yaml").read_text())
    assert "${" not in str(resolved["data"]["init_args"]["reasoner"])


@pytest.mark.parametrize("name", ["qwen25omni", "qwen2audio", "qwen_mixed"])
def test_the_fitted_run_is_tested_and_asked(name: str, world: World, call: Any) -> None:
    run = next(path for path in sorted((world.root / "runs" / name).iterdir(), reverse=True))
    before = json.loads((run / "results.json").read_text())
    call("test", str(run))
    after = json.loads((run / "results.json").read_text())
    assert after["accuracy"]["routed"] == before["accuracy"]["routed"]
    sound = next((world.root / "data" / "audio").glob("test-*.wav"))
    asked = ("--question", "Which note?", "--choice", "C4", "--choice", "E4", "--json")
    answered = json.loads(call("ask", "--run", str(run), "--audio", str(sound), *asked))
    assert answered["answer"] in ("C4", "E4")
    assert sum(answered["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert len(answered["probabilities"]) == 7
