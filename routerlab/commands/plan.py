"""What a training command is to do, settled before torch is imported: recipe, run, checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from routerlab.commands.arguments import Request
from routerlab.commands.recipes import (
    RESOLVED,
    find_recipe,
    packaged_recipes,
    read_recipe,
    refuse_untrusted,
)
from routerlab.commands.runs import Run, newest_trained, newest_unfinished
from routerlab.errors import ProblemList, UserError

ALLOWED = ("routerlab", "lightning", "torch.optim", "torch.nn", "torchmetrics")


@dataclass(frozen=True)
class Plan:
    """A training command, ready for LightningCLI.

    Attributes:
        words: the subcommand and its options in LightningCLI's spelling.
        recipe: its name, for the run folder.
        allowed: packages whose classes a recipe may name.
        trusted: what the user named with `--trust`, for tools in worker processes.
        run: the run to go on with or to look at; None makes a new one.
    """

    words: tuple[str, ...]
    recipe: str
    allowed: tuple[str, ...]
    trusted: tuple[str, ...] = ()
    run: Run | None = None


def make_plan(request: Request) -> Plan:
    """Find recipe and run, read the recipe, and refuse what it may not name.

    Raises:
        UserError: no such recipe, run or checkpoint; or everything the recipe may not hold.
    """
    recipes = [find_recipe(given) for given in request.recipes]
    run = _run_meant(request, recipes)
    if run is not None and not recipes:
        recipes = [run.recipe]
    allowed = (*ALLOWED, *map(_importable, request.trust))
    problems = [
        line for path in recipes for line in refuse_untrusted(read_recipe(path), allowed, str(path))
    ]
    if problems:
        raise ProblemList(problems)
    words = [request.command, *(f"--config={path}" for path in recipes), *request.options]
    if checkpoint := _checkpoint(request, run):
        words.append(f"--ckpt_path={checkpoint}")
    return Plan(tuple(words), _name(recipes[0]), allowed, tuple(request.trust), run)


def _run_meant(request: Request, recipes: Sequence[Path]) -> Run | None:
    """The run to go on with or to look at; None for a new one."""
    name = _name(recipes[0]) if recipes else None
    if request.command in ("fit", "survey"):
        if name is None:
            raise UserError(
                f"routerlab {request.command}: a recipe must follow: a YAML file or one of "
                f"{', '.join(packaged_recipes())}."
            )
        if request.ckpt_path != "last" or request.command == "survey":
            return None
        return newest_unfinished(name)
    if recipes and recipes[0].name == RESOLVED:
        return Run(recipes[0].parent)
    if request.ckpt_path and recipes:
        return None
    return newest_trained(name)


def _checkpoint(request: Request, run: Run | None) -> str:
    """The checkpoint to load: the one named, or the newest of the run."""
    if request.ckpt_path not in ("", "last"):
        if not Path(request.ckpt_path).is_file():
            raise UserError(
                f"ckpt_path: there is no file {request.ckpt_path!r}. Give a checkpoint's path, or "
                "'last' to go on in the newest unfinished run."
            )
        return request.ckpt_path
    found = run.checkpoint() if run is not None else None
    return str(found) if found else ""


def _name(recipe: Path) -> str:
    """The recipe's name: its stem; a resolved recipe belongs to the recipe of its run."""
    if recipe.name == RESOLVED:
        return str(Run(recipe.parent).state.get("recipe") or recipe.resolve().parent.parent.name)
    return recipe.stem


def _importable(trusted: str) -> str:
    """The module name under which a trusted package or file is imported."""
    return Path(trusted).stem if trusted.endswith(".py") else trusted
