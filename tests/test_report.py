"""Tables, intervals and files of a run, on tables small enough to check by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from routerlab import rivals
from routerlab.data.progress import progress
from routerlab.data.writers import write_json
from routerlab.errors import ProblemList
from routerlab.report import results, summary
from routerlab.report.evaluation import (
    RIVALS,
    Evaluation,
    changed,
    compare,
    crossed,
    moved,
    pairs,
    verbatim,
)
from routerlab.report.grid import Grid
from routerlab.report.meters import PeakMemory, Stopwatch
from routerlab.report.survey import gate_note, survey, survey_grid
from routerlab.report.tables import final_grid
from routerlab.rivals import Scored
from routerlab.types import Answer, Observation, Outcome, OutcomeTable, Question

ACTIONS = ("direct", "pitch", "tempo")
#          direct pitch tempo
GRID = [
    [0, 1, 0],
    [0, 1, 0],
    [1, 0, 1],
    [1, 1, 1],
    [0, 0, 0],
    [0, 0, 1],
    [1, 0, 0],
    [1, 1, 1],
]
ROUTED = [1, 1, 0, 0, 0, 2, 0, 2]


def outcome(question: Question, action: str, right: bool) -> Outcome:
    seen = (
        Observation(action, {"f0_hz": 440.0}, f"{action}: A4 and 13 beats", "1")
        if action != "direct"
        else None
    )
    answer = Answer(int(not right), question.choices[int(not right)])
    return Outcome(question.id, action, "ok", right, answer, seen)


@pytest.fixture
def table() -> OutcomeTable:
    kinds = ["plain"] * 4 + ["keyword_trap", "keyword_twin"] * 2
    questions = [
        Question(f"q{i}", f"{i}.wav", "?", ("A4" if i else "3", "B4"), "A4" if i else "3",
                 category="note", sub_category=kind)
        for i, kind in enumerate(kinds)
    ]  # fmt: skip
    cells = {
        (q.id, a): outcome(q, a, bool(GRID[i][j]))
        for i, q in enumerate(questions)
        for j, a in enumerate(ACTIONS)
    }
    return OutcomeTable.of(questions, ACTIONS, cells)


@pytest.fixture
def evaluation(table: OutcomeTable) -> Evaluation:
    scored = {
        "direct": rivals.constant("direct", table, "direct"),
        "random": rivals.uniform(table),
        "best_tool": rivals.constant("best_tool", table, "pitch"),
        "keyword": rivals.score("keyword", table, np.array([1] * 8)),
        "routed": rivals.score("routed", table, np.array(ROUTED)),
        "oracle": rivals.oracle(table),
    }
    return Evaluation(table, scored, {"predictable": "no truth file"}, cross_fitted=0.75)


@pytest.fixture
def probabilities() -> np.ndarray:
    return np.eye(3, dtype=np.float32)[ROUTED]


def test_a_comparison_is_paired(evaluation: Evaluation) -> None:
    it = compare(evaluation.scored["routed"], evaluation.scored["direct"])
    assert it.difference == pytest.approx(3 / 8)
    assert it.low >= 0.0
    assert it.p == pytest.approx(0.25)  # three questions won, none lost: 2 / 2**3
    assert compare(evaluation.scored["routed"], evaluation.scored["random"]).p is None


def test_headroom_closed_of_each_bound(evaluation: Evaluation) -> None:
    closed = evaluation.headroom_closed()
    assert closed["raw"] == pytest.approx(1.0)
    assert closed["cross_fitted"] == pytest.approx((7 / 8 - 4 / 8) / (0.75 - 4 / 8))
    assert closed["predictable"] is None


def test_the_cross_fitted_oracle_of_equal_replicates_is_the_raw_one(table: OutcomeTable) -> None:
    assert crossed(table, table) == pytest.approx(7 / 8)


def test_pairs_and_the_change_of_policy_between_them(
    table: OutcomeTable, probabilities: np.ndarray
) -> None:
    truth = {"q4": {"pair": "p"}, "q5": {"pair": "p"}, "q6": {"pair": "r"}, "q7": {"pair": "r"}}
    twins = pairs(table, truth)
    assert twins == [(4, 5), (6, 7)]
    assert changed(np.array(ROUTED), twins) == 1.0
    assert changed(np.array([1] * 8), twins) == 0.0
    assert moved(probabilities, twins) == pytest.approx(1.0)
    assert changed(None, twins) is None
    assert moved(probabilities, []) is None


def test_gold_stands_in_an_output_as_whole_words_only(table: OutcomeTable) -> None:
    assert verbatim(table) == pytest.approx(7 / 8)  # "3" is not in "13 beats"


def test_results_have_the_keys_that_scripts_rely_on(evaluation: Evaluation) -> None:
    figures = results.split_results(evaluation)
    assert set(figures["accuracy"]) == set(RIVALS)
    assert figures["accuracy"]["routed"] == pytest.approx(7 / 8)
    assert figures["accuracy"]["predictable"] is None
    assert figures["notes"] == {"predictable": "no truth file"}
    low, high = figures["ci95"]["routed_minus"]["direct"]
    assert low <= 3 / 8 <= high
    assert set(figures["ci95"]["routed_minus"]) >= {"direct", "random", "tool.pitch", "tool.tempo"}
    assert figures["tools"]["pitch"]["break_rate"] == pytest.approx(2 / 4)
    assert figures["calls"]["fix"] == 3
    json.dumps(figures)


def test_keyword_traps_are_scored_apart(evaluation: Evaluation, probabilities: np.ndarray) -> None:
    truth = {"q4": {"pair": "p"}, "q5": {"pair": "p"}}
    figures = results.keyword_traps(evaluation, truth, probabilities)
    assert figures["questions"] == 2
    assert (figures["routed"], figures["keyword"]) == (0.5, 0.0)
    assert figures["policy_change"]["routed"] == 1.0


def test_prediction_rows_say_what_happened(
    evaluation: Evaluation, probabilities: np.ndarray
) -> None:
    rows = list(results.prediction_rows("test", evaluation, probabilities))
    assert rows[0]["action"] == "pitch"
    assert rows[0]["observation"]["text"] == "pitch: A4 and 13 beats"
    assert rows[0]["answers"] == {"direct": "B4", "pitch": "3", "tempo": "B4"}
    assert (rows[0]["answer"], rows[0]["gold"], rows[0]["correct"]) == ("3", "3", True)
    assert rows[0]["outputs"] == {t: f"{t}: A4 and 13 beats" for t in ("pitch", "tempo")}
    assert (rows[0]["audio"], rows[0]["choices"]) == ("0.wav", ("3", "B4"))
    assert (rows[0]["category"], rows[0]["sub_category"]) == ("note", "plain")
    assert rows[2]["observation"] is None
    assert not any(row["fallback"] for row in rows)


def test_the_final_table_is_shown_three_ways(evaluation: Evaluation) -> None:
    grid = final_grid(evaluation, "test")
    assert grid.rows[0][0] == "direct"
    plain = io.StringIO()
    grid.show(Console(file=plain, width=40))
    assert "trained router" in plain.getvalue()
    assert "predictable: no truth file" in plain.getvalue()
    drawn = io.StringIO()
    grid.show(Console(file=drawn, width=120, force_terminal=True))
    assert "87.5" in drawn.getvalue()
    assert "**trained router**" in grid.markdown()


def test_text_from_data_is_never_read_as_markup() -> None:
    drawn = io.StringIO()
    Grid("t", ["[bold]a"], [["[red]x[/red]"]]).show(
        Console(file=drawn, width=80, force_terminal=True)
    )
    assert "[red]x[/red]" in drawn.getvalue()


def test_the_survey_counts_fixes_and_breaks(table: OutcomeTable) -> None:
    figures = survey({"train": table, "test": table})
    assert figures["test"]["direct"] == 0.5
    assert figures["test"]["oracle"] == pytest.approx(7 / 8)
    pitch = figures["test"]["tools"]["pitch"]
    assert (pitch["fix"], pitch["break"], pitch["redundant"]) == (2, 2, 4)
    plain = survey_grid(figures, ["a note"]).plain()
    assert "best single tool" in plain
    assert plain.endswith("a note")


def test_the_gate_says_what_only_sound_gives() -> None:
    figures = {"predictable": 0.7, "by_wording": 0.5, "by_wording_same_table": 0.55, "gap": 0.15}
    assert "+15.0 points" in gate_note(figures)
    assert gate_note({"why": "no map"}) == "predictable: no map"


def run_folder(folder: Path, evaluation: Evaluation, data: str = "d", seed: int = 0) -> Path:
    figures = results.split_results(evaluation) | {"seed": seed, "seconds": {"total": 10.0}}
    folder.mkdir()
    (folder / "asked.json").write_text(data)
    asked = {"test": folder / "asked.json"}
    results.write_run(folder, figures, [], results.scores({"test": evaluation}, asked))
    return folder


def test_seeds_are_pooled_by_question(tmp_path: Path, evaluation: Evaluation) -> None:
    same = [run_folder(tmp_path / str(i), evaluation, seed=i) for i in range(3)]
    runs = summary.read_runs(same)
    one, three = summary.pool(runs[:1]), summary.pool(runs)
    assert [it.name for it in one][:2] == ["direct", "random"]
    # Three equal runs on the same questions are no more sure than one.
    assert [(it.difference, it.low, it.high) for it in one] == [
        (it.difference, it.low, it.high) for it in three
    ]
    other = run_folder(tmp_path / "x", evaluation, data="other")
    wider = summary.read_runs([*same, other])
    grid = summary.summary_grid(wider)
    assert grid is not None
    assert "4 runs, 16 questions" in grid.title
    assert summary.summary_grid(wider, "ood") is None
    shown = io.StringIO()
    summary.show(same, markdown=True, console=Console(file=shown, width=60))
    assert "| **trained router** |" in shown.getvalue()


def test_folders_without_results_are_named_together(tmp_path: Path) -> None:
    write_json(tmp_path / "half" / results.RESULTS, {})
    with pytest.raises(ProblemList) as caught:
        summary.read_runs([tmp_path / "none", tmp_path / "half"])
    assert len(caught.value.problems) == 2


def test_progress_is_one_bar_or_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal in (True, False):
        out = io.StringIO()
        monkeypatch.setattr("routerlab.data.progress.EVERY_SECONDS", 0.0)
        with progress(10, Console(file=out, width=80, force_terminal=terminal)) as advance:
            advance(5, "filling")
        assert "filling" in out.getvalue()


def test_meters_measure() -> None:
    watch = Stopwatch()
    with PeakMemory() as memory, watch.part("a"):
        held = np.ones(2**22)
    assert memory.mb > held.nbytes / 2**20
    assert 0.0 <= watch.seconds["a"] <= watch.total


def test_scored_of_nothing_has_no_accuracy() -> None:
    empty = Scored("x", np.zeros(0), np.zeros(0))
    assert np.isnan(empty.accuracy)
    assert np.isnan(empty.call_rate)
