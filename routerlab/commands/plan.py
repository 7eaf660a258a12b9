"""What a training command is to do, settled before torch is imported: recipe, run, checkpoint."""

from __future__ import annotations

import os
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
from routerlab.commands.runs import (
    RUN_FOLDER_VARIABLE,
    Run,
    newest_trained,
    newest_unfinished,
)
from routerlab.errors import ProblemList, UserError
from routerlab.trust import ALLOWED, TrustedImports


@dataclass(frozen=True)
class Plan:
    """A command with a recipe, ready for LightningCLI.

    Attributes:
        command: fit, validate, test, predict, survey, or "" to build and run nothing.
        recipes: files, later ones override earlier ones.
        options: in LightningCLI's spelling; they override the recipes.
        name: the recipe's, for the run folder.
        allowed: packages whose classes a recipe may name.
        trusted: what the user named with `--trust`, for tools in worker processes.
        run: the run to go on with or to look at; None makes a new one.
        checkpoint: the file to load, or "".
    """

    command: str
    recipes: tuple[Path, ...]
    options: tuple[str, ...]
    name: str
    allowed: tuple[str, ...]
    trusted: tuple[str, ...] = ()
    run: Run | None = None
    checkpoint: str = ""

    @property
    def words(self) -> list[str]:
        """The command line that LightningCLI reads."""
        words = [f"--config={path}" for path in self.recipes] + list(self.options)
        if not self.command:
            return words
        load = [f"--ckpt_path={self.checkpoint}"] if self.checkpoint else []
        return [self.command, *words, *load]


def make_plan(request: Request) -> Plan:
    """Find recipe and run, read the recipe, and refuse what it may not name.

    Raises:
        UserError: no such recipe, run or checkpoint; or everything the recipe may not hold.
    """
    recipes = [find_recipe(given) for given in request.recipes]
    run = _run_meant(request, recipes)
    if run is not None and not recipes:
        recipes = [run.recipe]
    trust = TrustedImports(request.trust)
    allowed = (*ALLOWED, *trust.packages, *trust.files)
    problems = [
        line for path in recipes for line in refuse_untrusted(read_recipe(path), allowed, str(path))
    ]
    if problems:
        raise ProblemList(problems)
    return Plan(
        command=request.command,
        recipes=tuple(recipes),
        options=tuple(request.options),
        name=_name(recipes[0]),
        allowed=allowed,
        trusted=trust.trusted,
        run=run,
        checkpoint=_checkpoint(request, run),
    )


def _run_meant(request: Request, recipes: Sequence[Path]) -> Run | None:
    """The run to go on with or to look at; None for a new one."""
    name = _name(recipes[0]) if recipes else None
    if request.command in ("fit", "survey"):
        if name is None:
            raise UserError(
                f"routerlab {request.command}: a recipe must follow: a YAML file or one of "
                f"{', '.join(packaged_recipes())}."
            )
        if request.command == "survey" and request.ckpt_path:
            raise UserError("survey: trains nothing, so it takes no ckpt_path. Leave it out.")
        if request.ckpt_path != "last":
            return None
        # A rank launched by another goes on in the run that the first one has taken up.
        joined = os.environ.get(RUN_FOLDER_VARIABLE)
        return Run(Path(joined)) if joined else newest_unfinished(name)
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
