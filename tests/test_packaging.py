"""What a wheel holds: all that a run from outside the checkout needs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def test_wheel_is_whole(tmp_path: Path) -> None:
    source = tmp_path / "source"
    _copy_tracked(source)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--quiet"),
            *("--no-build-isolation", "--disable-pip-version-check", "-w", str(tmp_path)),
        ],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    wanted = {
        *(f"routerlab/recipes/{path.name}" for path in (ROOT / "recipes").glob("*.yaml")),
        *(f"routerlab/callbacks/{path.name}" for path in (ROOT / "callbacks").glob("*.py")),
        *(
            str(path.relative_to(ROOT))
            for path in (ROOT / "routerlab").rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        ),
    }
    assert not wanted - inside
    assert not [name for name in inside if name.startswith(("tests/", "docs/"))]


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_recipe_reads_and_says_what_it_needs(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8")
    assert {"trainer", "model", "data"} <= set(yaml.safe_load(text))
    header = text[: text.index("seed_everything:")]
    assert all(line.startswith("#") for line in header.splitlines())
    assert " GPU" in header or " CPU" in header
    assert f"#   routerlab fit recipes/{recipe.name}" in header


def _copy_tracked(target: Path) -> None:
    """The checkout as a build would see it; a build in place would leave folders behind."""
    target.mkdir()
    for name in ("routerlab", "callbacks", "recipes", "pyproject.toml", "README.md"):
        if (ROOT / name).exists():
            subprocess.run(["cp", "-R", "-P", str(ROOT / name), str(target)], check=True)
