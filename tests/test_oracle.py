"""The oracle: every cell paid for once, failures never answers, replicates undone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from toy_world import CHOICES, Bench, Loader, Scripted, make_questions, oracle

from routerlab.errors import ReasonerError, UserError
from routerlab.oracle.oracle import Counters
from routerlab.reasoners.base import ReasonRequest, Reply
from routerlab.types import ALL_OUTPUTS, Answer, Clip, Observation, Question


@pytest.fixture
def questions(tmp_path: Path) -> list[Question]:
    return make_questions(tmp_path / "audio")


def test_a_table_agrees_with_asking_one_by_one(tmp_path: Path, questions: list[Question]) -> None:
    table = oracle(tmp_path, batch_size=3).fill(questions)
    assert table.actions == ("direct", "pitch", "tempo")
    assert table.valid.all()
    bench, reasoner, load = Bench(), Scripted(), Loader()
    for row, question in enumerate(questions):
        clip = load(question)
        ((_, (pitch, tempo)),) = bench.observe_many([(clip, ("pitch", "tempo"))])
        prompts = ((), (pitch,), (tempo,))
        (answers,) = reasoner.answer_many(
            [ReasonRequest(clip, question.question, CHOICES, prompts)]
        )
        right = [a.text == question.answer for a in answers if isinstance(a, Answer)]
        assert table.correct[row].tolist() == right
        assert table.outcome(row, 1).observation == pitch
        assert table.outcome(row, 0).cut_seconds == 1.5


def test_the_reasoner_makes_room_only_while_tools_are_at_work(
    tmp_path: Path, questions: list[Question]
) -> None:
    beside, asked, go = [], 0, threading.Event()

    class Slow(Bench):
        """Waits with every chunk but the first until the reasoner has been asked once."""

        def observe_many(self, jobs: Any) -> Any:
            if self.seen:
                assert go.wait(60)
            return super().observe_many(jobs)

    class Counted(Scripted):
        def answer_many(self, requests: Any) -> Any:
            nonlocal asked
            asked += 1
            go.set()
            return super().answer_many(requests)

    @contextmanager
    def room() -> Iterator[None]:
        beside.append(asked)
        yield

    made = oracle(tmp_path, pool=Slow(), reasoner=Counted(), batch_size=2, beside_tools=room)
    made.fill(questions)
    assert asked == 10
    assert beside[0] == 0
    assert 9 not in beside
    count = len(beside)
    made.fill(questions)
    assert len(beside) == count


def test_filling_again_costs_nothing_and_decodes_nothing(
    tmp_path: Path, questions: list[Question]
) -> None:
    first = oracle(tmp_path)
    table = first.fill(questions)
    assert first.counters == Counters(reasoner_calls=60, tool_calls=40, cache_hits=0)
    again = oracle(tmp_path)
    same = again.fill(questions)
    assert again.counters == Counters(cache_hits=60)
    assert again._load.decoded == []
    assert dict(same.cells) == dict(table.cells)
    assert (same.correct == table.correct).all()


def test_a_loader_that_does_not_say_what_it_does_is_not_remembered(
    tmp_path: Path, questions: list[Question]
) -> None:
    oracle(tmp_path, load=Loader(settings=None)).fill(questions)
    again = oracle(tmp_path, load=Loader(settings=None))
    again.fill(questions)
    assert len(again._load.decoded) == len(questions)
    assert again.counters == Counters(cache_hits=60)


def test_a_new_reasoner_reuses_every_observation(tmp_path: Path, questions: list[Question]) -> None:
    oracle(tmp_path).fill(questions)
    other = oracle(tmp_path, reasoner=Scripted(model="m2"))
    other.fill(questions)
    assert other.counters == Counters(reasoner_calls=60)


def test_a_corrected_gold_answer_costs_nothing(tmp_path: Path, questions: list[Question]) -> None:
    table = oracle(tmp_path).fill(questions)
    mended = [replace(q, answer=table.outcome(i, 0).answer.text) for i, q in enumerate(questions)]
    again = oracle(tmp_path)
    assert again.fill(mended).correct[:, 0].all()
    assert again.counters.reasoner_calls == 0


def test_questions_about_one_clip_share_its_observations(
    tmp_path: Path, questions: list[Question]
) -> None:
    twin = replace(questions[0], id="twin", question="And without the keyword?")
    bench = Bench()
    oracle(tmp_path, pool=bench).fill([questions[0], twin])
    assert len(bench.seen) == 2


def test_all_outputs_stand_in_recipe_order(tmp_path: Path, questions: list[Question]) -> None:
    reasoner = Scripted()
    table = oracle(tmp_path, reasoner=reasoner).fill(questions[:1], ["direct", ALL_OUTPUTS])
    assert [[o.tool for o in p] for p in reasoner.asked[0].observations] == [[], ["pitch", "tempo"]]
    seen = table.outcome(0, 1).observation
    assert seen is not None
    assert seen.tool == ALL_OUTPUTS
    assert list(seen.values) == ["pitch", "tempo"]


def test_a_replicate_shows_another_order_and_undoes_it(
    tmp_path: Path, questions: list[Question]
) -> None:
    reasoner = Scripted()
    world = oracle(tmp_path, reasoner=reasoner)
    first = world.fill(questions, ["direct"])
    reasoner.asked.clear()
    second = world.fill(questions, ["direct"], replicate=1)
    assert all(sorted(r.choices) == sorted(CHOICES) for r in reasoner.asked)
    assert all(r.choices != CHOICES for r in reasoner.asked)
    assert (first.correct == second.correct).all()  # it minds the texts, not their places
    for row in range(len(questions)):
        a, b = first.outcome(row, 0).answer, second.outcome(row, 0).answer
        assert a is not None
        assert b is not None
        assert (a.choice, a.log_probs) == (b.choice, b.log_probs)
        assert second.outcome(row, 0).replicate == 1


def test_gold_is_never_sent_on(tmp_path: Path) -> None:
    names = {f for r in (ReasonRequest, Observation, Clip) for f in r.__dataclass_fields__}
    assert not names & {"answer", "gold", "correct"}


def test_a_tool_error_is_masked_and_never_an_answer(
    tmp_path: Path, questions: list[Question]
) -> None:
    bench = Bench(broken={"tempo": "exception: too short"})
    world = oracle(tmp_path, pool=bench, max_error_rate=0.5)
    table = world.fill(questions, (*world.actions, ALL_OUTPUTS))
    assert table.valid.tolist() == [[True, True, False, False]] * 20
    assert not table.correct[:, 2:].any()
    outcome = table.outcome(0, 2)
    assert (outcome.state, outcome.answer, outcome.error) == (
        "tool_error", None, "tempo: exception: too short"
    )  # fmt: skip


@pytest.mark.parametrize(("error", "runs"), [("exception: odd", 0), ("timeout: 20 s", 20)])
def test_only_errors_that_may_pass_are_tried_again(
    tmp_path: Path, questions: list[Question], error: str, runs: int
) -> None:
    for expected in (40, runs):
        bench = Bench(broken={"tempo": error})
        oracle(tmp_path, pool=bench, max_error_rate=0.5).fill(questions)
        assert len(bench.seen) == expected


def test_a_refused_prompt_is_asked_again(tmp_path: Path, questions: list[Question]) -> None:
    world = oracle(tmp_path, reasoner=Scripted(refuse=4), retries=2)
    assert world.fill(questions).valid.all()
    assert world.counters.reasoner_calls == 64


def test_a_prompt_refused_to_the_end_is_masked_and_asked_in_the_next_run(
    tmp_path: Path, questions: list[Question]
) -> None:
    world = oracle(tmp_path, reasoner=Scripted(refuse=5), retries=0, max_error_rate=0.1)
    table = world.fill(questions)
    assert (~table.valid).sum() == 5
    assert not table.correct[~table.valid].any()
    later = oracle(tmp_path)
    assert later.fill(questions).valid.all()
    assert later.counters.reasoner_calls == 5


def test_above_the_error_rate_the_fill_stops_and_keeps_what_it_has(
    tmp_path: Path, questions: list[Question]
) -> None:
    world = oracle(tmp_path, reasoner=Scripted(refuse=4), retries=0, batch_size=4)
    with pytest.raises(UserError, match=r"4 reasoner errors among 60 cells.*HTTP 429"):
        world.fill(questions)
    later = oracle(tmp_path)
    later.fill(questions)
    assert later.counters.cache_hits == 8


def test_a_raised_refusal_is_an_outcome_too(tmp_path: Path, questions: list[Question]) -> None:
    class Down(Scripted):
        def answer_many(self, requests: Sequence[ReasonRequest]) -> list[list[Reply]]:
            raise ReasonerError("connection refused")

    world = oracle(tmp_path, reasoner=Down(), max_error_rate=1.0)
    assert not world.fill(questions).valid.any()
    assert world.outcome(questions[0], "pitch").error == "connection refused"


def test_one_cell_at_a_time(tmp_path: Path, questions: list[Question]) -> None:
    world = oracle(tmp_path)
    outcome = world.outcome(questions[3], "tempo")
    assert world.counters == Counters(reasoner_calls=1, tool_calls=1)
    assert world.fill(questions).cells["q3", "tempo"] == outcome
    assert world.counters.cache_hits == 1


def test_mistakes_are_named(tmp_path: Path, questions: list[Question]) -> None:
    world = oracle(tmp_path)
    with pytest.raises(UserError, match="Did you mean 'pitch'"):
        world.fill(questions, ["direct", "pitchh"])
    with pytest.raises(UserError, match="'q0' is used twice"):
        world.fill([questions[0], questions[0]])


def test_a_file_that_changed_unnoticed_is_refused(
    tmp_path: Path, questions: list[Question]
) -> None:
    oracle(tmp_path).fill(questions[:1])
    path = Path(questions[0].audio)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(b"9999")
    os.utime(path, ns=times)
    with pytest.raises(UserError, match="Touch the file"):
        oracle(tmp_path, reasoner=Scripted(model="m2")).fill(questions[:1])
    os.utime(path)
    assert oracle(tmp_path).fill(questions[:1]).valid.all()


def test_progress_ends_once(tmp_path: Path, questions: list[Question]) -> None:
    steps: list[tuple[int, int]] = []
    note = partial(lambda log, done, total, text: log.append((done, total)), steps)
    world = oracle(tmp_path, batch_size=4, progress=note)
    world.fill(questions)
    assert steps == [(12, 60), (24, 60), (36, 60), (48, 60), (60, 60)]
    world.fill([])
    assert steps[-1] == (0, 0)


def test_close_lets_go_of_everything(tmp_path: Path) -> None:
    bench, reasoner = Bench(), Scripted()
    with oracle(tmp_path, pool=bench, reasoner=reasoner):
        pass
    assert bench.closed
    assert reasoner.closed


def test_tools_observe_the_next_questions_while_the_reasoner_answers(tmp_path: Path) -> None:
    further = threading.Event()

    class Counting(Bench):
        def _observe(self, clip: Clip, name: str) -> Observation:
            if len(self.seen) > 2 * 32:  # past the first chunk of 4 batches of 8
                further.set()
            return super()._observe(clip, name)

    class Waiting(Scripted):
        def answer_many(self, requests: Sequence[ReasonRequest]) -> list[list[Reply]]:
            assert further.wait(timeout=30)
            return super().answer_many(requests)

    questions = make_questions(tmp_path / "audio", 80)
    table = oracle(tmp_path, pool=Counting(), reasoner=Waiting(), batch_size=8).fill(questions)
    assert table.valid.all()


KILLED = """
import os, signal, sys
from dataclasses import dataclass
from pathlib import Path
from toy_world import Scripted, make_questions, oracle

@dataclass
class Mortal(Scripted):
    left: int = 5

    def answer_many(self, requests):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answer_many(requests)

folder = Path(sys.argv[1])
oracle(folder, reasoner=Mortal(), batch_size=4).fill(make_questions(folder / "audio", 40))
"""


def test_a_killed_survey_goes_on_where_it_stopped(tmp_path: Path) -> None:
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], env=here, check=False)
    assert done.returncode == -signal.SIGKILL
    questions = make_questions(tmp_path / "audio", 40)
    later = oracle(tmp_path, batch_size=4)
    assert later.fill(questions).valid.all()
    assert (later.counters.reasoner_calls, later.counters.cache_hits) == (120 - 48, 48)
    assert later.counters.tool_calls <= 16  # of the third chunk, if it was not under way yet


def test_flip_rate_counts_answers_that_change(tmp_path: Path, questions: list[Question]) -> None:
    world = oracle(tmp_path)
    table = world.fill(questions, (*world.actions, ALL_OUTPUTS))
    again = world.fill(questions, replicate=2)
    assert world.flip_rate(table, share=1.0) == 0.0
    assert world.flip_rate(again, share=0.5) == 0.0
    calls = world.counters.reasoner_calls
    world.reasoner = Scripted(model="a model that answers otherwise")
    assert 0.4 < world.flip_rate(table, share=1.0) < 0.95  # 2/3 by chance
    assert world.counters.reasoner_calls == calls + 60
    assert world.flip_rate(table, share=0.0) == 0.0


def test_reading_a_table_back_asks_nobody(tmp_path: Path) -> None:
    names = ("pitch", "chord", "tempo", "onsets", "loudness", "segments", "brightness")
    questions = make_questions(tmp_path / "audio", 250)
    oracle(tmp_path, pool=Bench(names)).fill(questions)
    again = oracle(tmp_path, pool=Bench(names))
    again.fill(questions)
    counters = again.counters
    assert counters.cache_hits == 2000
    assert (counters.reasoner_calls, counters.tool_calls) == (0, 0)
