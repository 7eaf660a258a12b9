"""Tools that misbehave, run for real: each must end as a typed error, and nothing may stay."""

import subprocess
import sys
import textwrap
import time

import numpy as np
import psutil
import pytest

from routerlab.audio import make_clip
from routerlab.errors import InfrastructureError, ProblemList
from routerlab.tools import processes
from routerlab.tools.isolation import ToolPool
from routerlab.tools.specs import ToolSpec

NASTY = """
import ctypes, os, subprocess, sys, time
import numpy as np
from routerlab import Tool, ToolCard


def card(name):
    return ToolCard(name=name, measures="m", unit="u", stops_at="s")


def sleeper(**kwargs):
    return subprocess.Popen(["sleep", "600"], **kwargs)


class Fine(Tool):
    card = card("fine")
    schema = {"peak": float, "torch": bool, "threads": str, "pid": int}

    def run(self, clip):
        return {
            "peak": np.abs(clip.samples).max(),
            "torch": "torch" in sys.modules,
            "threads": os.environ["OMP_NUM_THREADS"],
            "pid": os.getpid(),
        }


class Hang(Tool):
    card = card("hang")

    def run(self, clip):
        sleeper()
        sleeper(start_new_session=True)
        time.sleep(600)


class Crash(Tool):
    card = card("crash")

    def run(self, clip):
        sleeper(start_new_session=True)
        ctypes.string_at(0)


class Leave(Tool):
    card = card("leave")

    def run(self, clip):
        sleeper(start_new_session=True)
        return {}


class Fat(Tool):
    card = card("fat")

    def run(self, clip):
        kept = []
        while True:
            kept.append(np.ones(10**6))


class FatChild(Tool):
    card = card("fat_child")

    def run(self, clip):
        subprocess.run(
            [sys.executable, "-c", "import time; x = b'1' * 300_000_000; time.sleep(600)"],
        )




class Flood(Tool):
    card = card("flood")
    schema = {"count": int}

    def run(self, clip):
        for _ in range(2000):
            sys.stdout.write("x" * 10_000)
            sys.stderr.write("y" * 10_000)
        os.write(1, b"z" * 10**6)
        return {"count": 1}


class Wrong(Tool):
    card = card("wrong")
    schema = {"f0_hz": float}

    def run(self, clip):
        return {"f0_hz": float("nan")}


class NoSetup(Tool):
    card = card("no_setup")

    def setup(self):
        raise OSError("no weights")

    def run(self, clip):
        return {}


class CrashSetup(NoSetup):
    card = card("crash_setup")

    def setup(self):
        os._exit(7)
"""
CLASSES = {
    "fine": "Fine",
    "hang": "Hang",
    "crash": "Crash",
    "leave": "Leave",
    "fat": "Fat",
    "fat_child": "FatChild",
    "flood": "Flood",
    "wrong": "Wrong",
    "no_setup": "NoSetup",
    "crash_setup": "CrashSetup",
}
CLIP = make_clip(0.5 * np.sin(np.arange(8000) / 5), 16_000)


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    file = tmp_path_factory.mktemp("tools") / "nasty_tools_of_a_test.py"
    file.write_text(NASTY)
    return str(file)


@pytest.fixture
def pool_of(nasty):
    """Builds pools; after the test none of their processes may live."""
    pools = []

    def build(*names, **kwargs):
        specs = [ToolSpec(n, class_path=f"nasty_tools_of_a_test.{CLASSES[n]}") for n in names]
        pools.append(ToolPool(specs, trusted=[nasty], **({"workers": 1} | kwargs)))
        return pools[-1]

    yield build
    for pool in pools:
        pool.close()
        assert not list(processes.marked(pool._dispatcher._mark))


def test_workers_import_no_torch_though_the_main_process_has(pool_of):
    import torch

    assert torch.__name__ in sys.modules
    pool = pool_of("fine", workers=2)
    seen = dict(pool.observe_many([(CLIP, ("fine",))] * 20))
    assert sorted(seen) == list(range(20))
    for (observation,) in seen.values():
        assert observation.error == ""
        assert observation.values["torch"] is False
        assert observation.values["threads"] == "1"
        assert observation.values["peak"] == pytest.approx(0.5, abs=1e-3)
    assert pool.calls == 20


def test_own_tools_in_a_worker_import_no_torch(nasty):
    specs = [
        ToolSpec("pitch"),
        ToolSpec("segments"),
        ToolSpec("low", "pitch", "", {"fmax_hz": 300}),
    ]
    specs.append(ToolSpec("fine", class_path="nasty_tools_of_a_test.Fine"))
    with ToolPool(specs, trusted=[nasty], workers=1) as pool:
        assert [card.name for card in pool.cards] == ["pitch", "segments", "low", "fine"]
        assert "fmax_hz 300" in pool.cards[2].measures
        assert pool.versions["low"] != pool.versions["pitch"]
        observations = pool.observe(CLIP)
    assert [o.tool for o in observations] == ["pitch", "segments", "low", "fine"]
    assert [o.error for o in observations] == [""] * 4
    assert observations[3].values["torch"] is False
    assert all(o.version == pool.versions[o.tool] for o in observations)


def test_a_pool_that_is_not_asked_starts_nothing(pool_of):
    pool = pool_of("fine", "hang")
    assert list(pool.observe_many([])) == []
    assert not list(processes.marked(pool._dispatcher._mark))
    assert pool.calls == 0


def test_a_hang_a_crash_and_a_flood_leave_the_others_their_turn(pool_of):
    pool = pool_of("hang", "crash", "flood", "wrong", "fine", timeout_s=2.0)
    observations = pool.observe(CLIP)
    kinds = [o.error.split(":")[0] for o in observations]
    assert kinds == ["timeout", "crash", "", "schema", ""]
    assert "2 s" in observations[0].error
    assert "SIGSEGV" in observations[1].error
    assert observations[0].values == {}
    assert observations[0].text == ""
    assert pool.calls == 5
    alive = {p.pid for p in processes.marked(pool._dispatcher._mark)}
    assert alive == {observations[4].values["pid"]}, "children of the dead were left"


@pytest.mark.parametrize("name", ["fat", "fat_child"])
def test_excess_memory_ends_the_process(pool_of, name):
    pool = pool_of(name, "fine", timeout_s=60.0, memory_mb=400 if name == "fat" else 250)
    fat, fine = pool.observe(CLIP)
    assert fat.error.startswith("memory:")
    assert fine.error == ""


def test_what_a_good_tool_leaves_running_ends_with_the_pool(pool_of):
    pool = pool_of("leave")
    assert pool.observe(CLIP)[0].error == ""
    # Between fork and exec a child's environment cannot be read, and the mark stands there.
    while len(list(processes.marked(pool._dispatcher._mark))) < 2:
        time.sleep(0.05)
    pool.close()
    assert not list(processes.marked(pool._dispatcher._mark))


def test_a_tool_that_cannot_be_set_up_is_an_error_of_its_own(pool_of):
    pool = pool_of("no_setup", "crash_setup", "fine", workers=1)
    seen = dict(pool.observe_many([(CLIP, ("no_setup", "crash_setup", "fine"))] * 3))
    for no_setup, crash_setup, fine in seen.values():
        assert no_setup.error.startswith("exception: ")
        assert "no weights" in no_setup.error
        assert crash_setup.error == "crash: in setup: the process ended with exit code 7"
        assert fine.error == ""


def test_a_consumer_that_leaves_early_leaves_a_working_pool(pool_of):
    pool = pool_of("fine", workers=2)
    stream = pool.observe_many((CLIP, ("fine",)) for _ in range(1000))
    next(stream)
    stream.close()
    assert pool.observe(CLIP)[0].error == ""


def test_an_error_while_jobs_are_made_reaches_the_consumer(pool_of):
    def jobs():
        yield CLIP, ("fine",)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(pool_of("fine").observe_many(jobs()))


def test_a_worker_that_cannot_start_stops_the_run(pool_of, nasty, tmp_path):
    pool = pool_of("fine")
    pool._dispatcher._trusted = (str(tmp_path / "absent.py"),)
    with pytest.raises(InfrastructureError, match="no such file"):
        pool.observe(CLIP)


def test_mistakes_in_specs_are_listed_together():
    with pytest.raises(ProblemList) as caught:
        ToolPool([ToolSpec("pitchh"), ToolSpec("direct", "pitch"), ToolSpec("tempo")] * 2)
    text = str(caught.value)
    assert "Did you mean 'pitch'?" in text
    assert "'direct' is not a tool's name" in text
    assert "2 tools are named 'tempo'" in text


def test_workers_end_when_the_main_process_is_killed(nasty, tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import numpy as np
            from routerlab.audio import make_clip
            from routerlab.tools.isolation import ToolPool
            from routerlab.tools.specs import ToolSpec

            spec = ToolSpec("hang", class_path="nasty_tools_of_a_test.Hang")
            pool = ToolPool([spec], trusted=[{nasty!r}], workers=1, timeout_s=100)
            print(pool._dispatcher._mark, flush=True)
            pool.observe(make_clip(np.ones(100), 16_000))
            """
        )
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as main:
        assert main.stdout is not None
        mark = main.stdout.readline().strip()
        _until(lambda: len(list(processes.marked(mark))) == 3)
        main.kill()
    _until(lambda: not list(processes.marked(mark)))


def _until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, [p.cmdline() for p in psutil.process_iter()][-5:]
        time.sleep(0.1)
