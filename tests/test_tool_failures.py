"""One tool call in twenty fails, in every way there is: no reward is made of it, nothing stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_world import Loader, Scripted, make_questions

from routerlab.oracle.cache import Cache
from routerlab.oracle.oracle import Oracle
from routerlab.policy.objectives import Expected
from routerlab.rewards import RelativeOutcomeReward
from routerlab.tools import processes
from routerlab.tools.isolation import ToolPool
from routerlab.tools.specs import ToolSpec

FLAKY = """
import ctypes, os, subprocess, sys, time
import numpy as np
from routerlab import Tool, ToolCard


class Flaky(Tool):
    card = ToolCard("flaky", "the peak", "ratio", "fails at times")
    schema = {"peak": float}

    def __init__(self, bad):
        self.bad = bad

    def run(self, clip):
        kind = self.bad.get(clip.fingerprint)
        if kind == "hang":
            subprocess.Popen(["sleep", "600"], start_new_session=True)
            time.sleep(600)
        if kind == "crash":
            subprocess.Popen(["sleep", "600"])
            ctypes.string_at(0)
        if kind == "memory":
            raise MemoryError
        if kind == "exception":
            sys.stdout.write("x" * 10**7)
            raise OSError("gone")
        return {"peak": float("nan") if kind == "schema" else float(clip.samples.max())}
"""
KINDS = ("timeout", "crash", "memory", "exception", "schema")


def test_failures_through_a_whole_table_make_no_reward(tmp_path: Path) -> None:
    path = tmp_path / "flaky_tools_of_a_test.py"
    path.write_text(FLAKY)
    questions, load = make_questions(tmp_path / "audio", 100), Loader()
    injected = {7 + 20 * i: kind for i, kind in enumerate(KINDS)}
    bad = {
        load(questions[row]).fingerprint: "hang" if kind == "timeout" else kind
        for row, kind in injected.items()
    }
    flaky = ToolSpec("flaky", "", "flaky_tools_of_a_test.Flaky", {"bad": bad}, timeout_s=2.0)
    with ToolPool([flaky, ToolSpec("segments")], trusted=[str(path)], workers=2) as pool:
        oracle = Oracle(pool, Scripted(), Cache(tmp_path / "cache"), load)
        table = oracle.fill(questions)
        assert oracle.counters.tool_calls == pool.calls == 200
        assert oracle.counters.reasoner_calls == 300 - len(injected)
        oracle.cache.close()
        mark = pool._dispatcher._mark
    assert not list(processes.marked(mark))

    failed = {row: table.outcome(row, 1) for row in range(100) if not table.valid[row, 1]}
    assert {row: o.error.split()[1].rstrip(":") for row, o in failed.items()} == injected
    assert table.valid[:, [0, 2]].all()
    assert not any(o.correct or o.answer for o in failed.values())
    assert all(o.state == "tool_error" for o in failed.values())

    paid = RelativeOutcomeReward().on(table)
    assert not paid[~table.valid].any()
    assert paid[table.valid].any()
    valid = torch.from_numpy(table.valid)
    rewards = RelativeOutcomeReward()(torch.from_numpy(table.correct)).float()
    losses = []
    for value in (0.0, 1e6, -1e6):
        logits = torch.zeros(100, 3, requires_grad=True)
        given = rewards.masked_fill(~valid, value)
        Expected()(logits, given, valid)[0].backward()
        assert logits.grad is not None
        losses.append(logits.grad.clone())
    assert all(torch.equal(losses[0], other) for other in losses[1:])
    assert losses[0].isfinite().all()


def test_more_failures_than_allowed_stop_the_table(tmp_path: Path) -> None:
    from routerlab.errors import UserError

    path = tmp_path / "flakier_tools_of_a_test.py"
    path.write_text(FLAKY)
    questions, load = make_questions(tmp_path / "audio", 10), Loader()
    bad = {load(question).fingerprint: "exception" for question in questions}
    flaky = ToolSpec("flaky", "", "flakier_tools_of_a_test.Flaky", {"bad": bad})
    with ToolPool([flaky], trusted=[str(path)], workers=1) as pool:
        oracle = Oracle(pool, Scripted(), Cache(tmp_path / "cache"), load)
        with pytest.raises(UserError, match="tool errors among 20 cells, more than max_error_rate"):
            oracle.fill(questions)
        oracle.cache.close()
