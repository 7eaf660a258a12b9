"""The training commands: a LightningCLI whose errors are one line and whose runs have a folder.

Imported only by `routerlab.cli` when a recipe is to be run, since it imports Lightning and torch.
What fit, test and survey mean for a router is in `routerlab.experiment`; a recipe with any other
LightningModule is plain Lightning.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import set_parsing_settings
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from omegaconf.errors import OmegaConfBaseException

from routerlab.commands.checks import changed_problems, config_problems, object_problems
from routerlab.commands.explain import explain
from routerlab.commands.plan import Plan
from routerlab.commands.runs import RUN_FOLDER_VARIABLE, Run, begin, new_run, rank
from routerlab.commands.stopping import Stopped, interrupted
from routerlab.errors import ProblemList, UserError
from routerlab.trust import TrustedImports

_NOT_FOR_USERS = (
    # Lightning to PyTorch.
    r"`isinstance\(treespec, LeafSpec\)`",
    # That is what going on with a run means.
    r"Checkpoint directory .* exists and is not empty",
    # Clips are decoded once and kept: worker processes would each keep their own.
    r"The '\w+_dataloader' does not have many workers",
    # To go on from a checkpoint is to go on after its step.
    r"Using ModelCheckpoint with manual optimization",
    # Figures are gathered over the ranks before they are logged.
    r"It is recommended to use `self.log\(.*, sync_dist=True\)`",
)

_AROUND_LIGHTNING = ("fit", "test", "predict")
"""Commands of which a router makes more than Lightning does, in `routerlab.experiment`."""

_CALL = ("ckpt_path", "verbose", "return_predictions", "stage", "split", "diagnostics")
"""Keys that belong to one call and not to the recipe."""


class RouterTrainer(Trainer):
    """Lightning's Trainer with one more subcommand."""

    def survey(
        self,
        model: LightningModule,
        datamodule: Any,
        limit: int | None = None,
        votes: int = 0,
        generate: int = 0,
        sound: bool = True,
        export: str | None = None,
    ) -> None:
        """Fill the outcome tables and print what routing could gain; nothing is trained.

        Args:
            limit: questions of each split, drawn at random; all of them if null.
            votes: how often direct is asked again with permuted options, for a vote.
            generate: on how many questions free text is compared with option likelihood.
            sound: whether clips are opened, to foretell gains by sound too.
            export: where the outcome table goes, a .jsonl or .parquet file.
        """
        if not _is_router(model):
            raise UserError(
                f"survey: {type(model).__name__} is no router, so there is nothing to survey. "
                "Give a recipe whose model is a RouterModule."
            )
        from routerlab import experiment
        from routerlab.surveying import Options

        experiment.survey(self, model, datamodule, Options(limit, votes, generate, sound, export))


class RouterCLI(LightningCLI):
    """LightningCLI with checks before anything heavy, and a folder for the run."""

    trainer: RouterTrainer

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.run: Run
        self.recipe: dict[str, Any] = {}
        self.problems: list[str] = []
        set_parsing_settings(
            omegaconf_absolute_to_relative_paths=True,
            # A class path inside a tool's free-form settings is a value, not an object to build.
            instantiate_subclass_spec_in_any=False,
            import_path_denylist=["*"],
            import_path_allowlist=list(plan.allowed),
        )
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            trainer_class=RouterTrainer,
            trainer_defaults={"logger": False},
            save_config_callback=None,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            run=bool(plan.command),
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser that raises, never abbreviates, and resolves `${…}` after the overrides."""
        kwargs |= {"exit_on_error": False, "allow_abbrev": False, "parser_mode": "omegaconf+"}
        return super().init_parser(**kwargs)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's subcommands and `survey`.

        `weights_only` is no argument of any: a recipe must not be able to turn it off.
        """
        skipped = LightningCLI.subcommands() | {"survey": {"model", "datamodule"}}
        return {name: names | {"weights_only"} for name, names in skipped.items()}

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand in ("fit", "test"):
            told = "look into the failure modes and controls of a router on `test` as well"
            parser.add_argument("--diagnostics", type=bool, default=False, help=told)
        if subcommand == "predict":
            parser.add_argument("--stage", type=str | None, help="route, observe or reason")
            parser.add_argument("--split", type=str, default="test", help="which split")
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the plan's words; `sys.argv` is as it was afterwards, for ranks launched later."""
        with _argv(self.plan.words):
            try:
                super().parse_arguments(parser, None)
            except argparse.ArgumentError as error:
                command = self._parser(self.plan.command or None)
                known = [a.dest for a in command._actions if a.dest != "help"]
                raise UserError(explain(str(error), known, _settings_of)) from error
            except OmegaConfBaseException as error:
                raise UserError(f"recipe: {' '.join(str(error).split())}") from error

    def _parse_ckpt_path(self) -> None:
        """Nothing: the recipe says which classes to build, a checkpoint never does."""

    def instantiate_classes(self) -> None:
        """Build data, model and trainer; a mistake in one joins the problems of the others."""
        self.recipe = self._dumped()
        self.problems = config_problems(self.recipe)
        try:
            super().instantiate_classes()
        except ProblemList:
            raise
        except (ValueError, TypeError) as error:
            said = str(error) if isinstance(error, UserError) else _refusal(error)
            raise ProblemList([*self.problems, said]) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Report all problems of meaning at once; then the run folder, and a trainer in it."""
        if hasattr(self.datamodule, "trusted"):
            self.datamodule.trusted = self.plan.trusted
        settings = self.recipe["trainer"]
        self.problems += object_problems(self.model, self.datamodule, settings)
        self.problems += _no_gpu(settings["accelerator"])
        if going_on := self._gone_on_with(settings["default_root_dir"]):
            self.problems += changed_problems(self.recipe, going_on)
        if self.problems:
            raise ProblemList(self.problems)
        if self.subcommand is None:
            return super().instantiate_trainer(**kwargs)
        self.run = self._run_folder(settings["default_root_dir"])
        try:
            trainer = super().instantiate_trainer(default_root_dir=str(self.run.folder), **kwargs)
        except (MisconfigurationException, ValueError, TypeError) as error:
            self.run.discard()
            raise UserError(f"trainer: {' '.join(str(error).split())}") from error
        for saver in trainer.checkpoint_callbacks:
            # Lightning would put them into a logger's folder, where no later command looks.
            if isinstance(saver, ModelCheckpoint) and saver.dirpath is None:
                saver.dirpath = str(self.run.folder / "checkpoints")
        if self.subcommand == "fit" and rank() == 0:
            _write_recipe(self.run.recipe, self.recipe)
        return trainer

    def _run_subcommand(self, subcommand: str) -> None:
        """Leave no numbered folder of a mistake that comes to light before anything is written."""
        try:
            super()._run_subcommand(subcommand)
        except (UserError, MisconfigurationException):
            if self.plan.run is None and rank() == 0:
                self.run.discard()
            raise

    def fit(self, **kwargs: Any) -> None:
        """Survey, train and test a router; plainly fit any other module."""
        self._say_where_from()
        with self._marked():
            self._do("fit", kwargs)

    def survey(self, **kwargs: Any) -> None:
        """The trainer's `survey`, its end recorded."""
        with self._marked():
            self.trainer.survey(**kwargs)

    def validate(self, **kwargs: Any) -> None:
        """Lightning's validation, for any module."""
        self._do("validate", kwargs)

    def test(self, **kwargs: Any) -> None:
        """Test a router with its rivals; plainly test any other module."""
        self._do("test", kwargs)

    def predict(self, **kwargs: Any) -> None:
        """Write a router's predictions; plainly predict with any other module."""
        if _is_router(self.model):
            kwargs |= {key: self._get(self.config, key) for key in ("stage", "split")}
        self._do("predict", kwargs)

    def _do(self, command: str, kwargs: dict[str, Any]) -> None:
        if _is_router(self.model) and command in _AROUND_LIGHTNING:
            # Only for routers: other modules need nothing of what this imports.
            from routerlab import experiment

            if command in ("fit", "test"):
                kwargs["diagnostics"] = self._get(self.config, "diagnostics")
            getattr(experiment, command)(trainer=self.trainer, **kwargs)
        else:
            getattr(self.trainer, command)(**kwargs, weights_only=True)

    def _say_where_from(self) -> None:
        """Which run `last` has taken up, and whether anything of it is there to go on from."""
        if self.plan.run is None or rank() > 0:
            return
        folder, checkpoint = self.plan.run.folder, self.plan.checkpoint
        if checkpoint:
            kept = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)
            print(f"going on with {folder} from step {kept['global_step']}", flush=True)
        else:
            print(f"{folder} has no checkpoint yet: begins anew", flush=True)

    @contextmanager
    def _marked(self) -> Iterator[None]:
        """Record how it ended; an interrupted fit can be gone on with, too."""
        status = "stopped"
        try:
            yield
            status = "finished"
        finally:
            if rank() == 0:
                self.run.mark(status)

    def _dumped(self) -> dict[str, Any]:
        parser = self._parser(self.subcommand)
        config = self.config[self.subcommand] if self.subcommand else self.config
        text = parser.dump(config, skip_unset=False, format="yaml")
        plain: dict[str, Any] = yaml.safe_load(text)
        return plain

    def _gone_on_with(self, given: str | None) -> Run | None:
        """The run that a fit adds to: the one whose folder holds the checkpoint it begins from."""
        joined = os.environ.get(RUN_FOLDER_VARIABLE) or given
        run = self.plan.run or (Run(Path(joined)) if joined else None)
        if self.subcommand != "fit" or not self.plan.checkpoint or run is None:
            return None
        inside = Path(self.plan.checkpoint).resolve().is_relative_to(run.folder.resolve())
        return run if inside and run.recipe.is_file() else None

    def _run_folder(self, given: str | None) -> Run:
        inherited = os.environ.get(RUN_FOLDER_VARIABLE)
        if rank() > 0:
            if not inherited:
                raise UserError(
                    f"{RUN_FOLDER_VARIABLE}: not set on rank {rank()}. When ranks are started by "
                    "something other than routerlab, set it to one folder for all of them."
                )
            return Run(Path(inherited))
        command = str(self.subcommand)
        if self.plan.run is not None:
            run = self.plan.run
            if command == "fit":
                begin(run.folder, self.plan.name, command)
        elif inherited or given:
            run = begin(Path(str(inherited or given)), self.plan.name, command)
        else:
            run = new_run(self.plan.name, command)
        os.environ[RUN_FOLDER_VARIABLE] = str(run.folder.resolve())
        return run


def run(plan: Plan) -> RouterCLI:
    """Run a training command; with no command, only build what the recipe names.

    Raises:
        UserError: a mistake in the recipe or the command line, Lightning's refusals included.
        Stopped: by Ctrl-C, which Lightning would make a SystemExit of.
    """
    _quiet()
    TrustedImports(plan.trusted).import_all()
    inherited = RUN_FOLDER_VARIABLE in os.environ
    try:
        return RouterCLI(plan)
    except MisconfigurationException as error:
        raise UserError(" ".join(str(error).split())) from error
    except BaseException as error:
        folder = os.environ.get(RUN_FOLDER_VARIABLE)
        if folder and interrupted(error):
            raise Stopped(Run(Path(folder))) from error
        raise
    finally:
        if not inherited:
            os.environ.pop(RUN_FOLDER_VARIABLE, None)


def _settings_of(class_path: str) -> list[str]:
    """Names of a class's settings; the class has been imported by the parser already."""
    if not class_path:
        return []
    module, _, name = class_path.rpartition(".")
    parser = LightningArgumentParser(exit_on_error=False)
    found = getattr(sys.modules[module], name)
    added = parser.add_class_arguments(found, "it", fail_untyped=False)
    return [key.removeprefix("it.") for key in added]


def _refusal(error: Exception) -> str:
    """What a class said of its settings, out of the parser's nested report of it.

    Raises:
        Exception: the error itself, when no class has said anything: then it is a bug.
    """
    innermost: BaseException = error
    while following := innermost.__cause__ or innermost.__context__:
        innermost = following
        if isinstance(innermost, UserError):
            break
    if not isinstance(innermost, ValueError):
        raise error
    return " ".join(str(innermost).split())


def _no_gpu(accelerator: Any) -> list[str]:
    """What Lightning says of a GPU that is not there names neither the key nor a way out."""
    if accelerator != "gpu" or CUDAAccelerator.is_available() or MPSAccelerator.is_available():
        return []
    return [
        "trainer.accelerator: 'gpu' given, but torch finds none here. Allowed: auto, cpu. "
        "Leave it out, or see with routerlab doctor what this machine offers."
    ]


def _is_router(model: LightningModule) -> bool:
    module = sys.modules.get("routerlab.module")
    return module is not None and isinstance(model, module.RouterModule)


def _write_recipe(path: Path, config: dict[str, Any]) -> None:
    """The resolved recipe, without what belongs to this one call."""
    kept = {key: value for key, value in config.items() if key not in _CALL}
    kept["trainer"] = kept["trainer"] | {"default_root_dir": None}
    half = path.with_name(f"{path.name}.half")
    half.write_text(yaml.safe_dump(kept, sort_keys=False, allow_unicode=True), encoding="utf-8")
    # Other ranks may read the recipe of a run that is gone on with.
    half.replace(path)


def _quiet() -> None:
    """Keep Lightning's tips and hardware notes, and others' words to each other, off the screen."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    for message in _NOT_FOR_USERS:
        warnings.filterwarnings("ignore", message=message)


@contextmanager
def _argv(words: Sequence[str]) -> Iterator[None]:
    before = sys.argv
    sys.argv = [before[0], *words]
    try:
        yield
    finally:
        sys.argv = before
