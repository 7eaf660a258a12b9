"""The relative outcome reward: its table, its linter, and what holds for any cells."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from routerlab.errors import UserError
from routerlab.rewards import PRESETS, Cells, RelativeOutcomeReward
from routerlab.types import Answer, Outcome, OutcomeTable, Question

numbers = st.floats(-2, 2)
cells = st.builds(Cells, *[numbers] * 6)
right = st.integers(1, 12).flatmap(
    lambda n: st.integers(1, 6).flatmap(lambda a: arrays(np.bool_, (n, a)))
)


def with_cells(given_: Cells) -> RelativeOutcomeReward:
    return RelativeOutcomeReward(**vars(given_))


@pytest.mark.parametrize(
    ("preset", "direct_wrong_tool", "direct_right_tool"),
    [
        # direct wrong: [direct, tool wrong, tool right]; direct right: the same
        ("relative", [0, -0.05, 1], [0.05, -1, -0.05]),
        ("paper_guess", [0, -0.1, 1], [1, -1, -0.1]),
        ("autagent", [0, 0, 1], [0, -1, 0]),
        ("vista", [0, 0, 1], [1, -0.5, 1]),
    ],
)
def test_the_table_of_each_preset(
    preset: str, direct_wrong_tool: list[float], direct_right_tool: list[float]
) -> None:
    rewards = RelativeOutcomeReward(preset)(np.array([[0, 0, 1], [1, 0, 1]], dtype=bool))
    assert rewards.tolist() == [direct_wrong_tool, direct_right_tool]
    assert rewards.dtype == np.float64


@given(cells, right)
def test_each_cell_by_the_definition(c: Cells, correct: np.ndarray) -> None:
    named = {
        (False, True): c.fix,
        (True, False): c.break_,
        (True, True): c.redundant_right,
        (False, False): c.redundant_wrong,
    }
    rewards = with_cells(c)(correct)
    for row, column in product(*map(range, correct.shape)):
        d, t = bool(correct[row, 0]), bool(correct[row, column])
        expected = named[d, t] if column else (c.direct_right if d else c.direct_wrong)
        assert rewards[row, column] == expected


@given(cells, right)
def test_torch_gives_what_numpy_gives(c: Cells, correct: np.ndarray) -> None:
    rewards = with_cells(c)(torch.from_numpy(correct))
    assert rewards.dtype == torch.get_default_dtype()
    assert rewards.numpy() == pytest.approx(with_cells(c)(correct), abs=1e-6)


@given(cells, right)
def test_expected_gain_is_the_mean_over_rows(c: Cells, correct: np.ndarray) -> None:
    d, t = correct[:, 0], correct[:, -1]
    chances = {
        "wr": (~d & t).mean(),
        "rw": (d & ~t).mean(),
        "rr": (d & t).mean(),
        "ww": (~d & ~t).mean(),
    }
    rewards = with_cells(c)(np.stack([d, t], axis=1))
    gain = (rewards[:, 1] - rewards[:, 0]).mean()
    assert with_cells(c).expected_gain(**chances) == pytest.approx(gain, abs=1e-12)


@given(st.lists(st.integers(1, 100), min_size=4, max_size=4))
def test_the_default_follows_accuracy_but_for_the_price_of_a_call(often: list[int]) -> None:
    wr, rw, rr, ww = np.array(often) / sum(often)
    gain = RelativeOutcomeReward().expected_gain(wr=wr, rw=rw, rr=rr, ww=ww)
    assert gain == pytest.approx(wr - rw, abs=0.1 + 1e-9)


def test_rewards_leave_the_table_as_it_is() -> None:
    correct = np.array([[True, False], [False, True]])
    before = correct.copy()
    RelativeOutcomeReward()(correct)
    assert (correct == before).all()


@pytest.mark.parametrize("bad", [np.ones(3), np.ones((2, 3), int), np.ones(3, bool)])
def test_anything_but_a_table_of_verdicts_or_chances_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="right must be bool"):
        RelativeOutcomeReward()(bad)


@given(cells, st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_of_probabilities_it_is_the_expected_reward(c: Cells, chances: list[float]) -> None:
    reward = with_cells(c)
    expected = np.zeros(len(chances))
    for column, t in enumerate(chances):
        for d_right, t_right in product((False, True), repeat=2):
            weight = chances[0] if d_right else 1 - chances[0]
            weight *= 1.0 if not column else (t if t_right else 1 - t)
            drawn = np.array([[d_right, t_right]])
            share = 1.0 if column else 0.5  # a tool's outcome does not matter to direct's pay
            expected[column] += share * weight * reward(drawn)[0, min(column, 1)]
    assert reward(np.array([chances]))[0] == pytest.approx(expected, abs=1e-9)


def scored(*scores: tuple[float, ...]) -> OutcomeTable:
    """One question whose gold option is the second of the two."""
    asked = Question("q", "q.wav", "Which?", ("C4", "Eb4"), "Eb4")
    names = ("direct", "pitch", "tempo")[: len(scores)]
    answers = [Answer(int(np.argmax(s)) if s else 1, "", log_probs=s) for s in scores]
    cells = {
        ("q", name): Outcome("q", name, "ok", answer.choice == 1, answer)
        for name, answer in zip(names, answers, strict=True)
    }
    return OutcomeTable.of([asked], names, cells)


def test_graded_pays_how_sure_the_reasoner_was_of_the_right_option() -> None:
    table = scored((-1.0, -1.0 + math.log(3)), (-0.5, -0.5), (-2.0, -2.0 - math.log(4)))
    assert table.correct.tolist() == [[True, False, False]]
    assert table.chances == pytest.approx(np.array([[0.75, 0.5, 0.2]]))
    for graded, right in ((0, [1, 0, 0]), (0.5, [0.875, 0.25, 0.1]), (1, [0.75, 0.5, 0.2])):
        reward = RelativeOutcomeReward(graded=graded)
        assert reward.on(table) == pytest.approx(reward(np.array([right], dtype=float)))
        assert reward.unusable(table) == []


def test_a_row_with_an_answer_without_scores_is_judged_by_verdicts() -> None:
    table = scored((-1.0, -2.0), ())
    assert table.chances.tolist() == [[0.0, 1.0]]
    (line,) = RelativeOutcomeReward(graded=1).unusable(table)
    assert "no answer of the reasoner has log-probabilities" in line
    assert RelativeOutcomeReward().unusable(table) == []


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_a_share_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(UserError, match=r"must be in \[0, 1\]"):
        RelativeOutcomeReward(graded=bad)


def test_what_failed_has_no_chance() -> None:
    table = scored((-1.0, -2.0), (-2.0, -1.0))
    failed = dict(table.cells) | {("q", "pitch"): Outcome("q", "pitch", "tool_error", False)}
    chances = OutcomeTable.of(table.questions, table.actions, failed).chances
    assert chances[0].tolist() == pytest.approx([1 / (1 + math.e), 0.0])


def test_a_given_cell_replaces_the_presets() -> None:
    reward = RelativeOutcomeReward("vista", fix=2.0, break_=0.0)
    assert reward.cells == Cells(2.0, 0.0, 1.0, 0.0, 1.0, 0.0)


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="Did you mean 'relative'"):
        RelativeOutcomeReward("relativ")
    with pytest.raises(UserError, match="break_ must be finite"):
        RelativeOutcomeReward(break_=float("-inf"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fix": 0.0}, "a fix does not pay"),
        ({"break_": 0.1}, "a break costs nothing"),
        ({"redundant_wrong": 0.01}, "useless calls are paid"),
        ({"redundant_right": 0.06}, "needless calls are paid"),
        ({"preset": "paper_guess"}, "Lower direct_right"),
        ({"preset": "vista"}, "accuracy weighs them equally"),
        ({"preset": "autagent"}, "a redundant call is free"),
    ],
)
def test_the_linter_says_what_is_unwise(settings: dict[str, float], words: str) -> None:
    assert any(words in problem for problem in RelativeOutcomeReward(**settings).problems())


def test_the_linter_finds_nothing_in_the_default() -> None:
    assert RelativeOutcomeReward().problems() == []
    assert [name for name in PRESETS if not RelativeOutcomeReward(name).problems()] == ["relative"]
