"""Tools that see a question's options, and tools that take several clips at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from toy_world import make_questions, oracle

from routerlab import Tool, ToolCard
from routerlab.audio import make_clip
from routerlab.errors import ToolError
from routerlab.tools import processes
from routerlab.tools.isolation import ToolPool
from routerlab.tools.specs import ToolSpec, check_specs
from routerlab.types import Clip

CLIP = make_clip(np.full(1600, 0.25), 16_000)
LOUDER = make_clip(np.full(1600, 0.5), 16_000)


class Longest(Tool):
    card = ToolCard("longest", "the longest option", "text", "not the right one", sees_choices=True)
    schema: ClassVar = {"longest": str}

    def run(self, clip: Clip, choices: Sequence[str]) -> dict[str, Any]:
        return {"longest": max(choices, key=len)}


class Peaks(Tool):
    card = ToolCard("peaks", "the largest sample", "ratio", "one number")
    schema: ClassVar = {"peak": float}
    batch_size = 4
    batches: ClassVar[list[int]] = []

    def run(self, clip: Clip) -> dict[str, Any]:
        return {"peak": float(clip.samples.max())}

    def run_many(
        self, clips: Sequence[Clip], choices: Sequence[tuple[str, ...]] = ()
    ) -> list[dict[str, Any]]:
        self.batches.append(len(clips))
        return super().run_many(clips, choices)


def test_a_tool_is_given_the_choices_if_its_card_says_so() -> None:
    assert Longest()(CLIP, ["a", "bcd"]).values == {"longest": "bcd"}
    assert Peaks()(CLIP, ["a", "bcd"]).values == {"peak": 0.25}


def test_a_tool_that_needs_choices_refuses_to_go_without() -> None:
    with pytest.raises(ToolError, match="needs the question's choices") as caught:
        Longest()(CLIP)
    assert caught.value.kind == "refused"


def test_several_clips_at_once_are_observed_in_order() -> None:
    seen = Peaks().call_many([CLIP, LOUDER])
    assert [one.values["peak"] for one in seen] == [0.25, 0.5]
    assert Peaks.batches == [2]
    seen = Longest().call_many([CLIP, LOUDER], [("a", "bc"), ("def", "g")])
    assert [one.values["longest"] for one in seen] == ["bc", "def"]


def test_a_card_from_json_reads_what_older_files_hold() -> None:
    assert ToolCard("a", "b", "c", "d", needs=["x", "y"]).needs == ("x", "y")  # type: ignore[arg-type]
    assert ToolCard("a", "b", "c", "d", needs="").needs == ()  # type: ignore[arg-type]


# -- through processes and the oracle -------------------------------------------------------------

FILE = '''
import os, signal, time
from routerlab import Tool, ToolCard


class First(Tool):
    card = ToolCard("first", "the first option", "text", "not the right one", sees_choices=True)
    schema = {"first": str}

    def run(self, clip, choices):
        return {"first": choices[0]}


class Batched(Tool):
    """Does its clips together; dies on a loud one, hangs on a negative one."""

    card = ToolCard("batched", "how many clips came at once", "clips", "one number")
    schema = {"count": int}
    batch_size = 4

    def run(self, clip):
        return self.run_many([clip])[0]

    def run_many(self, clips, choices=()):
        if any(clip.samples.max() > 0.9 for clip in clips):
            os.kill(os.getpid(), signal.SIGKILL)
        if any(clip.samples.min() < 0 for clip in clips):
            time.sleep(60)
        return [{"count": len(clips)}] * len(clips)


class Where(Tool):
    card = ToolCard("where", "the process it runs in", "pid", "nothing else")
    schema = {"pid": int}

    def run(self, clip):
        if clip.samples.min() < 0:
            time.sleep(2.0)
        return {"pid": os.getpid()}
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tools") / "choosing_tools_of_a_test.py"
    path.write_text(FILE)
    return str(path)


def spec(name: str, **limits: Any) -> ToolSpec:
    return ToolSpec(name, class_path=f"choosing_tools_of_a_test.{name.title()}", **limits)


def clip(level: float, seconds: float = 0.1) -> Clip:
    return make_clip(np.full(round(16_000 * seconds), level), 16_000)


def test_choices_reach_a_tool_in_its_process_and_no_other(file: str) -> None:
    with ToolPool([spec("first"), ToolSpec("segments")], trusted=[file], workers=1) as pool:
        assert [card.sees_choices for card in pool.cards] == [True, False]
        first, segments = pool.observe(CLIP, choices=("cat", "dog"))
        assert (first.values, segments.error) == ({"first": "cat"}, "")
        (lacking,) = pool.observe(CLIP, ("first",))
        assert lacking.error.startswith("refused: first needs the question's choices")


def test_options_enter_the_observations_key_and_the_answer_never_does(
    file: str, tmp_path: Path
) -> None:
    asked = make_questions(tmp_path / "audio", 1)[0]
    turned = replace(asked, id="b", choices=asked.choices[::-1])
    other_gold = replace(asked, id="c", answer=asked.choices[2])
    reworded = replace(asked, id="d", question="Which?")
    with ToolPool([spec("first"), ToolSpec("segments")], trusted=[file], workers=1) as pool:
        world = oracle(tmp_path, pool=pool)
        table = world.fill([asked, turned, other_gold, reworded])
        assert world.counters.tool_calls == pool.calls == 3  # segments once, first twice
        seen = [table.outcome(row, 1).observation for row in range(4)]
        assert [o.values["first"] for o in seen if o] == ["one", "three", "one", "one"]
        world = oracle(tmp_path, pool=pool)
        world.fill([asked, turned, other_gold, reworded])
        assert (world.counters.tool_calls, world.counters.reasoner_calls) == (0, 0)


def test_a_batch_is_given_together_and_a_bad_clip_costs_only_itself(file: str) -> None:
    levels = [0.1, 0.2, 0.95, 0.3, 0.4, 0.5, 0.6, 0.7]
    jobs = [(clip(level), ("batched",)) for level in levels]
    with ToolPool([spec("batched")], trusted=[file], workers=1) as pool:
        seen = dict(pool.observe_many(jobs))
        assert pool.calls == len(jobs)
    errors = [seen[i][0].error for i in range(len(jobs))]
    assert [i for i, error in enumerate(errors) if error] == [2]
    assert errors[2] == "crash: the process ended with SIGKILL"
    counts = [seen[i][0].values["count"] for i in range(len(jobs)) if i != 2]
    assert max(counts) == 4


def test_a_batch_that_hangs_blames_the_clip_at_fault(file: str) -> None:
    jobs = [(clip(level), ("batched",)) for level in (0.1, -0.2, 0.3)]
    with ToolPool([spec("batched", timeout_s=1.0)], trusted=[file], workers=1) as pool:
        seen = dict(pool.observe_many(jobs))
    assert [seen[i][0].error for i in range(3)] == ["", "timeout: no answer within 1 s", ""]


def test_isolation_is_a_tools_own_choice(file: str) -> None:
    here = [spec("where", isolation="none"), ToolSpec("segments", isolation="thread")]
    with ToolPool(here, trusted=[file]) as pool:
        where, segments = pool.observe(clip(0.5))
        assert where.values == {"pid": os.getpid()}
        assert segments.values["count"] == 1
        assert not list(processes.marked(pool._dispatcher._mark))
    with ToolPool([spec("where")], trusted=[file], workers=1) as pool:
        assert pool.observe(clip(0.5))[0].values["pid"] != os.getpid()


def test_a_thread_that_hangs_is_given_up_and_not_called_again(file: str) -> None:
    spent = spec("where", isolation="thread", timeout_s=0.2)
    with ToolPool([spent], trusted=[file]) as pool:
        seen = dict(pool.observe_many([(clip(-0.5), ("where",)), (clip(0.5), ("where",))]))
    for index in range(2):
        assert seen[index][0].error.startswith("timeout: no answer within 0.2 s; its thread")


def test_a_tools_own_limits_stand_before_the_pools(file: str) -> None:
    specs = [spec("where", timeout_s=0.5), ToolSpec("segments")]
    with ToolPool(specs, trusted=[file], workers=1) as pool:
        where, segments = pool.observe(clip(-0.5))
    assert where.error == "timeout: no answer within 0.5 s"
    assert segments.error == ""


def test_wrong_limits_are_told_with_the_other_problems() -> None:
    wrong = ToolSpec("pitch", isolation="jail", timeout_s=0, memory_mb=-1)
    assert len(check_specs([wrong])) == 3
    assert "Allowed: process, thread, none." in check_specs([wrong])[0]
