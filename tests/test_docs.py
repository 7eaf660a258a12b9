"""What the documentation says must be so: links, commands, keys, tables and code are tried."""

from __future__ import annotations

import doctest
import inspect
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from routerlab.audio import make_clip
from routerlab.cli import OTHERS, TRAINING
from routerlab.data.module import RouterDataModule
from routerlab.data.readers import read_questions
from routerlab.module import RouterModule
from routerlab.reasoners.base import Reasoner, ReasonRequest
from routerlab.rewards import PRESETS, Cells
from routerlab.trust import TrustedImports

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
VERBS = {
    "tools": {"list", "run", "check", "bench"},
    "data": {"make", "predictable", "check", "info", "convert", "gather"},
}
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)


def blocks(page: Path, language: str | None = None) -> list[str]:
    found = [(kind, text) for _, kind, text in FENCE.findall(page.read_text())]
    return [text for kind, text in found if language is None or kind == language]


def commands(page: Path) -> Iterator[list[str]]:
    """The words after `routerlab`, of every command in a fenced block or in backticks."""
    text = page.read_text()
    lines = [line for block in blocks(page) for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]*)`", FENCE.sub("", text).replace("\n", " "))
    for line in lines:
        for part in line.removeprefix("$ ").split(" && "):
            if part.strip().startswith("routerlab "):
                yield shlex.split(part, comments=True)[1:]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@every_page
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: no heading for {target}"


@every_page
def test_commands_exist(page: Path) -> None:
    for words in commands(page):
        command = words[0]
        if command in ("--help", "--version"):
            continue
        assert command in (*TRAINING, *OTHERS), words
        if command in VERBS:
            assert len(words) == 1 or words[1] in VERBS[command], words
        for word in words:
            if word.startswith("recipes/"):
                assert (ROOT / word).is_file(), words


@every_page
def test_overridden_keys_exist(page: Path) -> None:
    known = {
        "model": inspect.signature(RouterModule.__init__).parameters,
        "data": inspect.signature(RouterDataModule.__init__).parameters,
    }
    for words in commands(page):
        for key in (word.split("=")[0].rstrip("+") for word in words if "=" in word):
            part, _, rest = key.removeprefix("--").partition(".")
            if part in known:
                setting = rest.removeprefix("init_args.").split(".")[0]
                assert setting in known[part], f"{page.name}: {key}"


@every_page
def test_yaml_blocks_name_real_classes_and_settings(page: Path) -> None:
    for block in blocks(page, "yaml"):
        for it in _with_class(yaml.safe_load(block)):
            if it["class_path"].startswith("routerlab."):
                found = TrustedImports().resolve(it["class_path"])
                settings = inspect.signature(found).parameters
                assert set(it.get("init_args", {})) <= set(settings), it["class_path"]


@pytest.mark.filterwarnings("ignore:objective")
@every_page
def test_python_blocks_run(page: Path) -> None:
    names: dict[str, Any] = {}
    for block in blocks(page, "python"):
        if not block.lstrip().startswith(">>>"):
            compile(block, page.name, "exec")
            continue
        test = doctest.DocTestParser().get_doctest(block, names, page.name, str(page), 0)
        result = doctest.DocTestRunner().run(test, clear_globs=False)
        names = test.globs
        assert result.attempted
        assert not result.failed


@every_page
def test_pages_name_no_machine_and_keep_to_plain_paths(page: Path) -> None:
    text = page.read_text()
    assert str(Path.home()) + "/" not in text
    assert str(ROOT.parent) + "/" not in text
    assert not re.search(r"(/home/|/tmp/)", text)


def test_readme_has_the_two_commands_where_the_check_looks_for_them() -> None:
    text = (ROOT / "README.md").read_text()
    assert "\npip install -e . && routerlab fit recipes/quickstart.yaml\n" in text
    (pattern,) = re.findall(r"grep -m1 -E '([^']*)'", (ROOT / ".ci/run").read_text())
    assert re.search(pattern, text, re.MULTILINE)[0] == (  # type: ignore[index]
        "pip install -e '.[test]' && python -m pytest"
    )
    assert text.index("<!-- results:begin -->") < text.index("<!-- results:end -->")


def test_the_readme_s_tool_has_fifteen_lines_and_passes_the_check(tmp_path: Path) -> None:
    (tool,) = blocks(ROOT / "README.md", "python")
    assert len(tool.splitlines()) <= 15
    (tmp_path / "my_tools.py").write_text(tool)
    samples = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    checked = routerlab(tmp_path, "tools", "check", "zero_crossings", "--trust", "./my_tools.py")
    assert checked.stdout.startswith("zero_crossings: nothing wrong.\n"), checked.stderr
    ran = routerlab(tmp_path, "tools", "run", "zero_crossings", "a.wav", "--trust", "./my_tools.py")
    assert ran.stdout.startswith("zero_crossings: crossings_per_s 8"), ran.stderr


def test_the_recipe_page_s_reasoner_answers() -> None:
    (source,) = blocks(ROOT / "docs/write-a-recipe.md", "python")
    names: dict[str, Any] = {}
    exec(source, names)
    reasoner = names["FirstChoice"]()
    assert isinstance(reasoner, Reasoner)
    clip = make_clip(np.full(8000, 0.1, dtype=np.float32), 16_000)
    ((answer,),) = reasoner.answer_many([ReasonRequest(clip, "Which?", ("a", "b"))])
    assert (answer.choice, answer.text) == (0, "a")


def test_the_recipe_page_walks_through_the_quickstart_as_it_is() -> None:
    """What the page shows stands in the recipe, with the same values."""
    recipe = yaml.safe_load((ROOT / "recipes/quickstart.yaml").read_text())
    page = (ROOT / "docs/write-a-recipe.md").read_text()
    section = page[page.index("## Key by key") : page.index("## Overrides")]
    for _, kind, block in FENCE.findall(section):
        assert kind == "yaml"
        _within(yaml.safe_load(block), recipe, "")


def test_the_question_format_on_the_page_is_read(tmp_path: Path) -> None:
    (block,) = blocks(ROOT / "docs/write-a-recipe.md", "json")
    (tmp_path / "train.json").write_text(block)
    (question,) = read_questions(tmp_path / "train.json", need_audio=False)
    assert question.answer == "horn"


def test_the_reward_table_is_the_presets() -> None:
    page = (ROOT / "docs/concepts.md").read_text()
    part = page.split("<!-- presets:begin -->")[1].split("<!-- presets:end -->")[0]
    lines = part.strip().splitlines()
    head, _, *rows = ([cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines)
    assert head[4:] == list(PRESETS)
    assert [row[3] for row in rows] == [field.name for field in fields(Cells)]
    for row in rows:
        assert [float(cell) for cell in row[4:]] == [getattr(p, row[3]) for p in PRESETS.values()]


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").glob("*.svg")), ids=lambda p: p.name)
def test_pictures_are_whole_shown_and_described(picture: Path) -> None:
    root = ElementTree.parse(picture).getroot()
    named = {child.tag.split("}")[1] for child in root}
    assert {"title", "desc"} <= named
    assert any(picture.name in page.read_text() for page in PAGES)
    assert "<script" not in picture.read_text()


def routerlab(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "routerlab.cli", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def _with_class(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if "class_path" in tree:
            yield tree
        for value in tree.values():
            yield from _with_class(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _with_class(value)


def _within(part: Any, whole: Any, where: str) -> None:
    if isinstance(part, dict):
        for key, value in part.items():
            assert key in whole, f"{where}.{key}"
            _within(value, whole[key], f"{where}.{key}")
    else:
        assert part == whole, where
