"""Tools are compiled into a folder of their own, by one process at a time."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from routerlab.tools import compiled
from routerlab.tools.isolation import ToolPool
from routerlab.tools.specs import ToolSpec, build_tool
from routerlab.trust import TrustedImports
from routerlab.types import Clip

CLIP = Clip(np.zeros(1600, np.float32), 16_000, "quiet")
TOOL = """
import json, os, time
from routerlab import Tool, ToolCard


class Slow(Tool):
    card = ToolCard("slow", "nothing", "ratio", "is slow")
    schema = {"one": float}

    def __init__(self, notes, crash=False):
        self.notes, self.crash = notes, crash

    def setup(self):
        start = time.monotonic()
        time.sleep(0.4)
        if self.crash:
            os._exit(7)
        row = [start, time.monotonic(), os.environ["NUMBA_CACHE_DIR"]]
        with open(os.path.join(self.notes, str(os.getpid())), "w") as file:
            json.dump(row, file)

    def run(self, clip):
        time.sleep(0.2)
        return {"one": 1.0}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: a trusted file is imported once a process."""
    path = tmp_path_factory.mktemp("tools") / "slow_tools_of_a_test.py"
    path.write_text(TOOL)
    return path


@pytest.fixture
def slow(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """-> (the spec of a tool that notes when it was set up, its file, the notes so far)."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    notes = tmp_path / "notes"
    notes.mkdir()

    def spec(**settings: object) -> ToolSpec:
        given = {"notes": str(notes), **settings}
        return ToolSpec("slow", "", "slow_tools_of_a_test.Slow", given)

    def seen() -> list[tuple[float, float, str]]:
        return sorted(json.loads(note.read_text()) for note in notes.iterdir())

    return spec, str(file), seen


def test_the_first_worker_prepares_alone_and_the_rest_together(slow) -> None:
    spec, path, seen = slow
    with ToolPool([spec()], trusted=[path], workers=3) as pool:
        pool.start()
        for _, (one,) in pool.observe_many([(CLIP, ("slow",))] * 24):
            assert one.error == ""
    (_, first, folder), *others = seen()
    assert len(others) == 2
    assert all(start >= first for start, _, _ in others)
    assert {place for _, _, place in others} == {folder} == {str(compiled.folder())}


def test_the_first_workers_of_two_pools_take_turns(slow) -> None:
    spec, path, seen = slow
    with (
        ToolPool([spec()], trusted=[path], workers=1) as one,
        ToolPool([spec()], trusted=[path], workers=1) as other,
    ):
        threads = [threading.Thread(target=pool.observe, args=(CLIP,)) for pool in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (_, end, _), (start, _, _) = seen()
    assert start >= end


def test_a_worker_that_dies_in_setup_lets_the_next_pool_go_on(slow) -> None:
    spec, path, seen = slow
    with ToolPool([spec(crash=True)], trusted=[path], workers=2) as pool:
        assert pool.observe(CLIP)[0].error.startswith("crash: in setup")
    with ToolPool([spec()], trusted=[path], workers=1) as pool:
        assert pool.observe(CLIP)[0].error == ""
    assert len(seen()) == 1


def test_a_tool_in_this_process_waits_for_a_pool_and_shares_its_folder(
    slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, path, seen = slow
    trust = TrustedImports([path])
    trust.import_all()
    with ToolPool([spec()], trusted=[path], workers=1) as pool:
        pool.start()
        thread = threading.Thread(target=pool.observe, args=(CLIP,))
        thread.start()
        build_tool(spec(), trust)(CLIP)
        thread.join()
    (_, end, folder), (start, _, same) = seen()
    assert start >= end
    assert folder == same == str(compiled.folder()) == os.environ["NUMBA_CACHE_DIR"]


def test_a_setup_that_prepares_another_tool_does_not_wait_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled, "_WAIT_S", 60.0)
    start = time.monotonic()
    with compiled.alone(), compiled.alone():
        pass
    assert time.monotonic() - start < 30
    (compiled.folder() / "lock").unlink()
    with compiled.alone(wait=False), compiled.alone():
        assert not (compiled.folder() / "lock").exists()


def test_the_folder_is_routerlab_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert compiled.folder().is_relative_to(tmp_path / "home" / "routerlab")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "set"))
    assert compiled.folder().is_relative_to(tmp_path / "set" / "routerlab")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(compiled.folder()))
    assert compiled.folder().parts.count("routerlab") == 1


def test_a_user_without_a_home_has_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    assert compiled.folder().is_relative_to(tempfile.gettempdir())


def test_where_no_file_can_be_locked_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "below"))
    with compiled.alone():
        assert not os.path.isdir(os.environ["NUMBA_CACHE_DIR"])


def test_the_lock_is_let_go_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled, "_WAIT_S", 5.0)
    with pytest.raises(ValueError, match="in it"), compiled.alone():
        raise ValueError("in it")
    import fcntl

    with (compiled.folder() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
