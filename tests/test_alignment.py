"""The alignment report: what a reward's own optimum costs, for a router that sees only so much."""

from __future__ import annotations

import numpy as np
import pytest

from routerlab.errors import UserError
from routerlab.rewards import PRESETS, RelativeOutcomeReward, alignment_report
from routerlab.types import OutcomeTable, Question

EASY, HARD = 0, 1


def table(rows: int = 3000) -> tuple[OutcomeTable, np.ndarray]:
    """Easy questions: direct 0.9, the tool useless. Hard ones: direct 0.5, the tool 0.7.

    Where the tool is right for its own reasons, many hard rows are right both ways: these vote
    against it under a reward that pays direct for being right.
    """
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, rows)
    direct = rng.random(rows) < np.where(kind == EASY, 0.9, 0.5)
    tool = rng.random(rows) < np.where(kind == EASY, 0.3, 0.7)
    correct = np.stack([direct, tool], axis=1)
    questions = tuple(Question(f"q{i}", "", "?", ("a", "b"), "a") for i in range(rows))
    whole = OutcomeTable(questions, ("direct", "tool"), correct, np.ones_like(correct))
    return whole, kind


def test_an_aligned_reward_gives_nothing_away_and_a_greedy_one_does() -> None:
    whole, kind = table()
    report = {entry.reward: entry for entry in alignment_report(whole, kind)}
    assert set(report) == set(PRESETS)
    best = report["relative"].best
    assert best == pytest.approx((0.9 + 0.7) / 2, abs=0.02)
    assert abs(report["relative"].given_away) < 0.005
    assert report["relative"].calls == pytest.approx(0.5, abs=0.03)
    # 0.35 * (1 - 0) + 0.15 * (-1 - 1) + 0.35 * (-0.1 - 1) + 0.15 * (-0.1) = -0.35: never call
    assert report["paper_guess"].calls == 0.0
    assert report["paper_guess"].given_away == pytest.approx(0.1, abs=0.02)


def test_row_by_row_every_preset_looks_perfect() -> None:
    """Why the report does not do it this way."""
    whole, _ = table(500)
    for preset in PRESETS:
        chosen = RelativeOutcomeReward(preset)(whole.correct).argmax(axis=1)
        right = whole.correct[np.arange(len(whole)), chosen]
        assert (right == whole.correct.any(axis=1)).all()


def test_a_router_that_sees_nothing_takes_one_action_for_all() -> None:
    whole, _ = table()
    entry = alignment_report(whole, ["same"] * len(whole), RelativeOutcomeReward())[0]
    assert entry.calls in (0.0, 1.0)
    assert entry.best == pytest.approx(0.7, abs=0.02)


def test_features_serve_as_labels_do() -> None:
    whole, kind = table()
    noise = np.random.default_rng(1).normal(size=len(whole))
    features = np.stack([kind * 40.0, noise, np.ones(len(whole))], axis=1)
    entry = alignment_report(whole, features, {"mine": RelativeOutcomeReward()})[0]
    assert entry.reward == "mine"
    assert entry.best == pytest.approx(0.8, abs=0.02)
    assert abs(entry.given_away) < 0.02


def test_noise_that_tells_nothing_promises_nothing() -> None:
    """Fitted and scored on the same rows, 300 random labels would promise several points."""
    whole, _ = table(1000)
    labels = np.random.default_rng(2).integers(0, 300, len(whole))
    entry = alignment_report(whole, labels, RelativeOutcomeReward())[0]
    assert entry.best <= 0.72


def test_rows_that_failed_are_left_out() -> None:
    whole, kind = table()
    valid = whole.valid.copy()
    valid[::2, 1] = False
    half = OutcomeTable(whole.questions, whole.actions, whole.correct & valid, valid)
    assert alignment_report(half, kind) == alignment_report(whole.select(valid[:, 1]), kind[1::2])


def test_mistakes_are_named() -> None:
    whole, kind = table(20)
    with pytest.raises(UserError, match="folds must be at least 2"):
        alignment_report(whole, kind, folds=1)
    with pytest.raises(UserError, match="3 usable rows are too few"):
        alignment_report(whole.select(range(3)), kind[:3])
