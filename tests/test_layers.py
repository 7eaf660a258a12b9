"""Rules between files: who may import whom, what is public, what a light start leaves unloaded."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import routerlab

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(routerlab.__file__).parent

LIGHT = """
import socket, subprocess, sys
def refuse(*_, **__):
    raise AssertionError("opened a socket or started a process")
socket.socket.connect = socket.socket.bind = subprocess.Popen.__init__ = refuse
{statement}
heavy = {{"torch", "lightning", "transformers", "peft", "librosa"}} & set(sys.modules)
assert not heavy, heavy
"""


def test_layers_hold() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_public_names() -> None:
    assert sorted(routerlab.__all__) == [
        "RelativeOutcomeReward",
        "RouterDataModule",
        "RouterModule",
        "RouterPolicy",
        "Tool",
        "ToolCard",
        "__version__",
        "load_clip",
        "load_tool",
        "register_tool",
    ]
    for name in routerlab.__all__:
        assert getattr(routerlab, name) is not None


@pytest.mark.parametrize(
    "statement",
    [
        "import routerlab",
        "import routerlab.cli",
        "from routerlab import Tool, ToolCard, register_tool",
        "import routerlab.rewards, routerlab.answers, routerlab.statistics",
    ],
)
def test_light_start(statement: str) -> None:
    script = LIGHT.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_import_is_declared() -> None:
    """What is installed by luck (another package needs it today) must be named as well."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    declared = {_distribution(line) for line in [*project["dependencies"], *extras]}
    homes = packages_distributions()
    missing = {
        f"{name} ({file.relative_to(PACKAGE.parent)})"
        for file in [*PACKAGE.rglob("*.py"), *(ROOT / "callbacks").glob("*.py")]
        for name in _imported(file)
        if name not in sys.stdlib_module_names
        and name != "routerlab"
        and not {_distribution(home) for home in homes.get(name, [name])} & declared
    }
    assert not missing


def test_what_only_an_extra_brings_is_imported_where_it_is_used() -> None:
    """`pip install -e .` alone must do for everything that needs no extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    always = {_distribution(line) for line in project["dependencies"]}
    homes = packages_distributions()
    early = {
        f"{name} ({file.relative_to(PACKAGE.parent)})"
        for file in PACKAGE.rglob("*.py")
        for name in _imported_at_once(file)
        if name not in sys.stdlib_module_names
        and name != "routerlab"
        and not {_distribution(home) for home in homes.get(name, [name])} & always
    }
    assert not early


def _imported_at_once(file: Path) -> set[str]:
    """What the file's own top level imports; not what a function, or a type checker, does."""
    nodes = ast.parse(file.read_text()).body
    plain = [node for node in nodes if isinstance(node, ast.Import)]
    found = {alias.name.split(".")[0] for node in plain for alias in node.names}
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return found | {node.module.split(".")[0] for node in froms if node.module}


def _imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def _distribution(requirement: str) -> str:
    name = requirement
    for sign in "[<>=!~; ":
        name = name.split(sign)[0]
    return name.strip().lower().replace("_", "-")
