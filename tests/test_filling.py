"""Two ranks fill one table: the table and the calls of one process, and one end for both."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fill_run
import pytest
from toy_world import make_questions
from warm import WARM, ended

from routerlab.data.filling import share
from routerlab.ranks import Ranks, end_others
from routerlab.types import Question

ALONE = Ranks()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], list[Any]]:
    """What two gloo processes told of every scenario, and how each of them ended."""
    home = tmp_path_factory.mktemp("pair")
    make_questions(home / "clips")
    started = [WARM.Process(target=fill_run.rank_of_two, args=(home, rank)) for rank in (0, 1)]
    for process in started:
        process.start()
    codes = [ended(process, 220) for process in started]
    ends = [((home / f"{rank}.log").read_text(), code) for rank, code in enumerate(codes)]
    files = [home / f"{rank}.json" for rank in (0, 1)]
    assert all(file.is_file() for file in files), ends
    return [json.loads(file.read_text()) for file in files], ends


def test_all_ranks_have_the_table_and_the_counters_of_one_process(
    pair: Any, tmp_path: Path
) -> None:
    alone = fill_run.filled(tmp_path / "alone", ALONE)
    assert alone["counters"] == {"reasoner_calls": 120, "tool_calls": 40, "cache_hits": 0}
    for told in pair[0]:
        assert told["whole"] == alone


def test_what_one_rank_asked_is_known_to_all_in_the_next_run(pair: Any) -> None:
    for told in pair[0]:
        assert told["again"]["counters"] == {
            "reasoner_calls": 0,
            "tool_calls": 0,
            "cache_hits": 120,
        }
        assert told["again"]["texts"] == told["whole"]["texts"]


def test_failures_are_masked_once_for_all_and_asked_again_by_the_next_run(pair: Any) -> None:
    first, second = pair[0]
    assert first["masked"] == second["masked"]
    assert sum(text is None for row in first["masked"]["texts"] for text in row) == 4
    assert first["masked"]["counters"]["reasoner_calls"] == 120
    assert first["later"]["counters"]["reasoner_calls"] == 4
    assert first["later"]["texts"] == first["whole"]["texts"]


def test_the_error_rate_is_that_of_the_whole_table(pair: Any) -> None:
    """Two failures on each rank: neither alone is more than 3 of 60 cells."""
    for told in pair[0]:
        assert told["refused"].startswith("oracle: 4 reasoner errors among 60 cells")


def test_ranks_with_other_tools_or_without_them_stop_together(pair: Any) -> None:
    for told in pair[0]:
        assert told["other"].startswith("tools: rank 1 has {")
        assert told["closed"] == "tools: none here"


def test_a_bug_on_one_rank_ends_both(pair: Any) -> None:
    (first, first_code), (second, second_code) = pair[1]
    assert first_code == second_code == 1
    assert "rank 1 stopped: ZeroDivisionError: an unlucky clip" in first
    assert "ZeroDivisionError: an unlucky clip" in second
    assert "in answer_many" in second


def test_questions_about_one_clip_stay_together() -> None:
    asked = [Question(f"q{i}", f"{i % 5}.wav", "?", ("a", "b"), "a") for i in range(12)]
    parts = [share(asked, Ranks(rank, 3)) for rank in range(3)]
    assert sorted(q.id for part in parts for q in part) == sorted(q.id for q in asked)
    clips = [{q.audio for q in part} for part in parts]
    assert not any(clips[i] & clips[j] for i in range(3) for j in range(i))


def test_alone_an_error_is_what_it_was() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ALONE.together(fail)
    assert ALONE.agreed("numbers", lambda: 3) == 3


class Launched:
    """What a strategy's launcher holds of the ranks that it started."""

    def __init__(self, *commands: str) -> None:
        self.procs = [subprocess.Popen([sys.executable, "-c", command]) for command in commands]


def test_the_first_rank_ends_a_rank_that_hangs() -> None:
    launcher = Launched("pass", "import time; time.sleep(600)")
    launched, began = list(launcher.procs), time.monotonic()
    end_others(launcher, grace_s=3)
    assert [process.wait(timeout=30) for process in launched] == [0, -9]
    assert time.monotonic() - began < 60
    assert not launcher.procs
    end_others(None)
