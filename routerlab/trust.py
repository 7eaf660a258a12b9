"""Which code a recipe may name: an allow-list, checked before anything is imported.

It stops at importing: what a class is used for is checked where it is used. Code from a trusted
file or package runs with the user's rights; nothing here is a sandbox.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from routerlab.errors import ProblemList, UserError

ALLOWED = ("routerlab", "lightning", "torch.optim", "torch.nn", "torchmetrics")
"""Packages that a `class_path` may name without being asked."""


class TrustedImports:
    """Resolves class paths inside the allow-list and what the user added with `--trust`.

    Args:
        trusted: package names, or paths of Python files; a file `./my_tools.py` is the module
            `my_tools` in class paths. Any other path is a program that a `command` tool may run.

    Raises:
        ProblemList: an entry that is neither, or a file that is not there.
    """

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self.files = {Path(t).stem: Path(t).resolve() for t in trusted if t.endswith(".py")}
        others = [t for t in trusted if not t.endswith(".py")]
        # Not resolved: a virtual environment's python is a link to one that knows nothing of it.
        self.programs = tuple(os.path.abspath(t) for t in others if os.sep in t)
        self.packages = tuple(t for t in others if os.sep not in t)
        problems = [f"--trust {f}: no such file." for f in self.files.values() if not f.is_file()]
        problems += [
            f"--trust {p}: no such program."
            for p in self.programs
            if not (os.path.isfile(p) and os.access(p, os.X_OK))
        ]
        problems += [
            f"--trust {p}: neither a package's name nor a path that ends in .py."
            for p in self.packages
            if not all(part.isidentifier() for part in p.split("."))
        ]
        if problems:
            raise ProblemList(problems)

    @property
    def trusted(self) -> tuple[str, ...]:
        """What was given, files as absolute paths: fit for another process."""
        return (*self.packages, *(str(file) for file in self.files.values()), *self.programs)

    def resolve(self, class_path: str) -> type:
        """The class of `module.Class`.

        Raises:
            UserError: outside the allow-list (then its module has not been imported), or no such
                class.
        """
        module_name, _, name = class_path.rpartition(".")
        if not module_name:
            raise UserError(f"class_path {class_path!r}: give it as MODULE.CLASS.")
        self._demand(module_name, class_path)
        found = getattr(self._import(module_name, class_path), name, None)
        if not isinstance(found, type):
            raise UserError(f"class_path {class_path!r}: {module_name} has no class {name!r}.")
        # `routerlab.audio.Path` would otherwise reach whatever an allowed module imports.
        self._demand(found.__module__, class_path)
        return found

    def resolve_function(self, path: str) -> Callable[..., Any]:
        """The function of `./file.py:name` or `package.module.name`.

        Raises:
            UserError: not trusted (then nothing has been imported), or no such function.
        """
        place, _, name = path.rpartition(":") if ":" in path else path.rpartition(".")
        if not place or not name:
            raise UserError(f"function {path!r}: give ./FILE.py:NAME or PACKAGE.MODULE.NAME.")
        module = Path(place).stem if place.endswith(".py") else place
        if place.endswith(".py") and self.files.get(module) != Path(place).resolve():
            raise UserError(
                f"function {path!r}: {place} is not trusted and was not imported. If you trust its "
                f"code: --trust {place}."
            )
        self._demand(module, path)
        found = getattr(self._import(module, path), name, None)
        if not isinstance(found, FunctionType):
            raise UserError(f"function {path!r}: {module} has no function {name!r}.")
        self._demand(found.__module__, path)
        return found

    def demand_program(self, path: str) -> None:
        """Refuse a program that the user did not name."""
        if os.path.abspath(path) not in self.programs:
            allowed = ", ".join(self.programs) or "none"
            raise UserError(
                f"tools: the program {path} is not trusted and was not run. Allowed: {allowed}. If "
                f"you trust what the recipe does with it: --trust {path}."
            )

    def import_all(self) -> None:
        """Import every trusted file and package, so that their `@register_tool` runs."""
        for name in (*self.files, *self.packages):
            self._import(name, f"--trust {name}")

    def _demand(self, module_name: str, class_path: str) -> None:
        allowed = (*ALLOWED, *self.packages, *self.files)
        if any(module_name == p or module_name.startswith(p + ".") for p in allowed):
            return
        package = module_name.split(".")[0]
        raise UserError(
            f"class_path {class_path!r}: {module_name} is not trusted and was not imported. "
            f"Allowed: {', '.join(allowed)}. If you trust its code: --trust {package}, or "
            f"--trust ./{package}.py for a file."
        )

    def _import(self, module_name: str, what: str) -> ModuleType:
        try:
            if module_name in self.files:
                return _import_file(module_name, self.files[module_name])
            _reach(module_name)
            return importlib.import_module(module_name)
        except UserError:
            raise
        # Whatever a user's module raises on import, the user must read which module it was.
        except Exception as err:
            raise UserError(
                f"{what}: importing {module_name} failed: {type(err).__name__}: {err}"
            ) from err


def _import_file(name: str, path: Path) -> ModuleType:
    """Import a file under its stem, once; its folder comes last on the path for its siblings."""
    present = sys.modules.get(name)
    if present is not None:
        if Path(getattr(present, "__file__", None) or ".").resolve() == path:
            return present
        raise UserError(f"--trust {path}: a module named {name!r} is loaded. Rename the file.")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"--trust {path}: cannot be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _reach(module_name: str) -> None:
    """Let a package that lies in the working folder be found: a console script starts elsewhere."""
    top = module_name.split(".")[0]
    if top in sys.modules or importlib.util.find_spec(top) is not None:
        return
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
        importlib.invalidate_caches()
