"""What a training command does around Lightning: survey, train, control, compare, write.

    fit      survey -> train -> controls -> table on test and ood -> files of the run
    test     the same table again from a trained run, nothing trained
    survey   the outcome tables and what they say
    predict  is `routerlab.stages`

`make_predictable` fits the map of best actions per latent cell that generated data is judged by.
Policies come from `rivals` and `routing`, figures from `comparison` and `report`; this file orders
the steps.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from routerlab import rivals
from routerlab.comparison import evaluate, findings, gate
from routerlab.data.module import TEST_SPLITS, RouterDataModule
from routerlab.data.strata import strata_note
from routerlab.data.writers import write_json
from routerlab.diagnostics.run import diagnosed
from routerlab.report import results as files
from routerlab.report.evaluation import Evaluation
from routerlab.report.meters import PeakMemory, Stopwatch
from routerlab.report.survey import cost_note, gate_note, survey_grid
from routerlab.report.survey import survey as survey_figures
from routerlab.report.survey_tables import survey_text
from routerlab.report.tables import final_grid
from routerlab.report.verdict import verdict
from routerlab.rivals import PREDICTABLE_FILE, PredictableMap
from routerlab.routing import (
    Probabilities,
    best_actions,
    deaf,
    prompted,
    restore,
    route,
    train_quietly,
    words_only,
)
from routerlab.stages import predict
from routerlab.surveying import Options, agreement_note, limit_to, looked_into
from routerlab.transfer import transferred

__all__ = ["fit", "make_predictable", "predict", "survey", "test"]

CONTROLS = "controls.json"
PLAIN: Any = {"markup": False, "highlight": False, "soft_wrap": True}
COSTS = ("counters", "seconds", "peak_rss_mb")
"""Keys of `results.json` that say what a command cost."""

PREDICTABLE_SEED = 90_001
"""No recipe should draw its data from this seed: the map must not have seen the test split."""


def fit(
    trainer: Trainer,
    model: Any,
    datamodule: RouterDataModule,
    ckpt_path: str | None = None,
    diagnostics: bool = False,
    **_: Any,
) -> None:
    """Survey, train, compare with every rival, and leave all of it in the run folder."""
    watch, folder = Stopwatch(), Path(trainer.default_root_dir)
    untrained = deaf(model) if datamodule.controls else None
    trainer.callbacks.append(SurveyPrinter(folder))  # type: ignore[attr-defined]
    with PeakMemory() as memory:
        with watch.part("fit"):
            trainer.fit(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)
            _leave_a_checkpoint(trainer, folder)
        if not trainer.is_global_zero:
            return
        with watch.part("controls"):
            controls = _controls(trainer, model, untrained, datamodule)
            write_json(folder / CONTROLS, controls)
        model.to(trainer.strategy.root_device)
        _conclude(folder, model, datamodule, controls, watch, memory, diagnostics=diagnostics)


def _leave_a_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Save the end of a run too short for its own checkpoints: `test` needs one. On all ranks."""
    saver: Any = trainer.checkpoint_callback
    if saver is not None and not saver.best_model_path:
        trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt", weights_only=False)


def test(
    trainer: Trainer,
    model: Any,
    datamodule: RouterDataModule,
    ckpt_path: str | None = None,  # noqa: PT028 - a command, not a test
    diagnostics: bool = False,  # noqa: PT028
    **_: Any,
) -> None:
    """The table of a trained run, computed again; controls are those that its fit left.

    What the fit cost stays in `results.json`; what this cost stands there under `tested`.
    """
    watch, folder = Stopwatch(), Path(trainer.default_root_dir)
    fitted = kept_costs(folder)
    with PeakMemory() as memory:
        datamodule.prepare_data()
        datamodule.setup("test")
        restore(model, datamodule, ckpt_path, trainer)
        controls = kept_controls(folder)
        _conclude(folder, model, datamodule, controls, watch, memory, fitted, diagnostics)


def survey(
    trainer: Trainer,
    model: LightningModule,
    datamodule: RouterDataModule,
    options: Options | None = None,
) -> None:
    """Fill the outcome tables, print what routing could gain, and look into the main split."""
    asked, folder = options or Options(), Path(trainer.default_root_dir)
    asked.check()
    datamodule.prepare_data()
    had = limit_to(datamodule, asked.limit)
    datamodule.setup("survey")
    written = show_survey(datamodule, folder)
    figures = looked_into(datamodule, asked, had)
    said, notes = verdict(figures), []
    if "generate" in figures:
        notes.append(agreement_note(figures["generate"]))
    Console().print(f"\n{survey_text(figures, figures['split'], notes)}", **PLAIN)
    write_json(folder / files.SURVEY, {**written, "outlook": figures, "verdict": said})
    Console().print(f"\nsurvey: {folder / files.SURVEY}", **PLAIN)


class SurveyPrinter(Callback):
    """Prints the survey when the tables are full, before the router is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Called by Lightning after the DataModule's own setup."""
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        if trainer.is_global_zero and stage == "fit":
            show_survey(datamodule, self.folder)


def show_survey(datamodule: RouterDataModule, folder: Path) -> dict[str, Any]:
    """Print the survey and write it to the run folder."""
    figures = survey_figures(datamodule.tables)
    notes = [cost_note(datamodule.seconds["survey"], datamodule.counters)]
    notes += [strata_note(datamodule.strata)] if datamodule.strata else []
    judged = gate(datamodule)
    if judged:
        notes.append(gate_note(judged))
    survey_grid(figures, notes).show(Console())
    written = {
        "splits": figures,
        "gate": judged,
        "counters": datamodule.counters,
        "seconds": datamodule.seconds,
        "lalm": datamodule.lalm,
        "tools": datamodule.versions,
        "strata": datamodule.strata,
    }
    write_json(folder / files.SURVEY, written)
    return written


# --- comparing --------------------------------------------------------------------------------


def _controls(
    trainer: Trainer, model: Any, untrained: Any, datamodule: RouterDataModule
) -> dict[str, Any]:
    """Actions of the rivals that need a model, by rival and split, with what identifies them."""
    tables = _test_tables(datamodule)
    actions: dict[str, Any] = {}
    if "train" in datamodule.tables:
        chosen = words_only(model.reward, datamodule.tables["train"], tables)
        actions["text"] = {split: a.tolist() for split, a in chosen.items()}
    if untrained is not None:
        model.to(trainer.strategy.root_device)
        asked = {split: prompted(model.policy, datamodule, split) for split in tables}
        actions["prompted"] = {split: best_actions(p).tolist() for split, p in asked.items()}
    if untrained is not None and trainer.world_size == 1:
        Console().print("training the no-audio control", highlight=False)
        model.cpu()  # a GPU need not hold two of them at once
        train_quietly(untrained, datamodule, trainer)
        untrained.to(trainer.strategy.root_device)
        silent = {split: route(untrained.policy, datamodule, split) for split in tables}
        actions["no_audio"] = {split: best_actions(p).tolist() for split, p in silent.items()}
        untrained.cpu()
    return {"data": files.data_hash(datamodule.files), "actions": actions}


def kept_controls(folder: Path) -> dict[str, Any]:
    """The controls' actions that a fit left in its folder; none where it left none."""
    path = folder / CONTROLS
    if not path.is_file():
        return {"data": "", "actions": {}}
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return kept


def kept_costs(folder: Path) -> dict[str, Any]:
    """What a fit that ended cost, as its results say; {} where there are none."""
    try:
        results = json.loads((folder / files.RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: results[name] for name in COSTS if name in results}


def _test_tables(datamodule: RouterDataModule) -> dict[str, Any]:
    return {s: datamodule.tables[s] for s in TEST_SPLITS if s in datamodule.tables}


# --- concluding -------------------------------------------------------------------------------


def _conclude(
    folder: Path,
    model: Any,
    datamodule: RouterDataModule,
    controls: Mapping[str, Any],
    watch: Stopwatch,
    memory: PeakMemory,
    fitted: Mapping[str, Any] | None = None,
    diagnostics: bool = False,
) -> None:
    """Evaluate on the test splits, print the tables, write the files.

    Args:
        fitted: what the fit cost, when this comes after it in a process of its own.
        diagnostics: whether the failure modes and controls are looked into as well.
    """
    evaluations: dict[str, Evaluation] = {}
    routes: dict[str, Probabilities] = {}
    with watch.part("test"):
        for split in _test_tables(datamodule):
            routes[split] = route(model.policy, datamodule, split)
            evaluations[split] = evaluate(datamodule, split, routes[split], controls)
        main = files.split_results(evaluations["test"]) if "test" in evaluations else {}
        if "ood" in evaluations:
            main["ood"] = files.split_results(evaluations["ood"])
        if "test" in evaluations:
            main |= findings(model, datamodule, evaluations["test"], routes["test"])
    for split, evaluation in evaluations.items():
        final_grid(evaluation, split).show(Console())
    if "test" in evaluations:
        main |= transferred(datamodule, routes["test"])
    if diagnostics and "test" in evaluations:
        main |= diagnosed(model, datamodule, evaluations["test"], routes["test"])
    costs: dict[str, Any] = {
        "counters": datamodule.counters,
        "seconds": _seconds(watch, datamodule),
        "peak_rss_mb": memory.mb,
    }
    facts = {"gate": gate(datamodule), "seed": _seed(), "lalm": datamodule.lalm}
    results = main | facts | costs | ({**fitted, "tested": costs} if fitted else {})
    rows = [r for s, e in evaluations.items() for r in files.prediction_rows(s, e, routes[s])]
    write_json(folder / files.MANIFEST, _manifest(folder, model, datamodule))
    per_question = files.scores(evaluations, datamodule.files)
    files.write_run(folder, results, rows, per_question)
    Console().print(f"results: {folder / files.RESULTS}", highlight=False, soft_wrap=True)


def _manifest(folder: Path, model: Any, datamodule: RouterDataModule) -> dict[str, Any]:
    recipe = folder / "recipe.yaml"
    shipped = PREDICTABLE_FILE
    return files.manifest(
        _seed(),
        datamodule.files,
        lalm=datamodule.lalm,
        router_lalm=model.policy.base_fingerprint,
        tools=datamodule.versions,
        releases=datamodule.releases,
        scorer=datamodule.scorer,
        strata=datamodule.strata,
        recipe=files.file_hash(recipe) if recipe.is_file() else "",
        predictable=files.file_hash(shipped) if shipped.is_file() else "",
    )


def _seconds(watch: Stopwatch, datamodule: RouterDataModule) -> dict[str, float]:
    """Seconds by part; `train` is Lightning's fit without the data and survey inside it."""
    before = datamodule.seconds["data"] + datamodule.seconds["survey"]
    parts = {
        **datamodule.seconds,
        "train": max(0.0, watch.seconds.get("fit", before) - before),
        "controls": watch.seconds.get("controls", 0.0),
        "test": watch.seconds.get("test", 0.0),
        "total": watch.total,
    }
    return {name: round(value, 2) for name, value in parts.items()}


def _seed() -> int | None:
    """The run's seed, as Lightning keeps it."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    return None if seed is None else int(seed)


# --- the map of the predictable router --------------------------------------------------------


def make_predictable(
    n: int = 4000,
    seed: int = PREDICTABLE_SEED,
    *,
    ood: int | None = None,
    out: str | Path = PREDICTABLE_FILE,
    data_dir: str = "runs/data",
    cache_dir: str = "runs/cache",
    **settings: Any,
) -> Path:
    """Fit the best action per latent cell on fresh data and write the map.

    Args:
        n: questions drawn as `test` is; at least 4,000 for the map that ships.
        ood: questions drawn as `test_ood` is; half of `n` if None.
        settings: of the DataModule (tools, reasoner, workers); its defaults are what ships.
    """
    data = RouterDataModule(
        data_dir=data_dir,
        cache_dir=cache_dir,
        train=0,
        val=0,
        test=n,
        ood=n // 2 if ood is None else ood,
        seed=seed,
        all_outputs=False,
        **settings,
    )
    data.prepare_data()
    data.setup("survey")
    table, shifted = data.tables["test"], data.tables.get("ood")
    best = PredictableMap(
        lalm=data.lalm,
        tools=data.versions,
        actions=rivals.fit_cells(table, data.truth("test")),
        ood={} if shifted is None else rivals.fit_cells(shifted, data.truth("ood")),
        wordings=rivals.best_by(rivals.wording_keys(table.questions), table),
        questions=len(table),
        seed=seed,
    )
    return write_json(out, best.as_json())
