"""Table statistics: worked numbers, identities, and a second way to every p-value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from routerlab import statistics as stats
from routerlab.types import OutcomeTable, Question

ACTIONS = ("direct", "pitch", "tempo")
CORRECT = np.array([[0, 1, 0], [1, 0, 1], [1, 1, 1], [0, 0, 0], [1, 0, 1]], dtype=bool)


def table(correct: np.ndarray, valid: np.ndarray | None = None) -> OutcomeTable:
    n, a = correct.shape
    questions = tuple(Question(f"q{i}", "", "?", ("a", "b"), "a") for i in range(n))
    names = ("direct", *(f"tool{k}" for k in range(1, a))) if a != 3 else ACTIONS
    valid = np.ones_like(correct) if valid is None else valid
    return OutcomeTable(questions, names, correct & valid, valid)


@st.composite
def tables_and_choices(draw: st.DrawFn) -> tuple[OutcomeTable, np.ndarray]:
    n, a = draw(st.integers(1, 30)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    valid = rng.random((n, a)) > draw(st.sampled_from([0.0, 0.2, 1.0]))
    return table(rng.random((n, a)) > 0.5, valid), rng.integers(0, a, n)


def test_worked_example() -> None:
    valid = np.ones_like(CORRECT)
    valid[4, 1] = False
    whole, chosen = table(CORRECT, valid), [1, 1, 2, 0, 1]
    assert stats.routed(whole, chosen).tolist() == [True, False, True, False, True]
    assert stats.fallback(whole, chosen).tolist() == [False, False, False, False, True]
    assert stats.counts(whole, chosen) == stats.Counts(
        rows=5, fix=1, break_=1, redundant_right=1, redundant_wrong=0, failed=1
    )
    assert stats.counts(whole, chosen).calls == 4
    assert stats.call_rate(chosen) == 0.8
    assert stats.headroom(whole) == pytest.approx(0.2)
    assert stats.regret(whole, chosen).tolist() == [0, 1, 0, 0, 0]
    assert stats.action_accuracy(whole) == pytest.approx(
        {"direct": 0.6, "pitch": 0.6, "tempo": 0.6}
    )
    assert stats.tool_counts(whole)["pitch"].net == 0


@given(tables_and_choices())
def test_every_policy_stands_between_nothing_and_the_oracle(
    drawn: tuple[OutcomeTable, np.ndarray],
) -> None:
    whole, chosen = drawn
    right, oracle = stats.routed(whole, chosen), stats.oracle_raw(whole)
    assert not (right & ~oracle).any()
    assert (stats.regret(whole, chosen) == oracle.astype(float) - right).all()
    best = stats.oracle_actions(whole)
    assert (stats.routed(whole, best) == oracle).all()


@given(tables_and_choices())
def test_fixes_less_breaks_are_what_a_policy_gains(
    drawn: tuple[OutcomeTable, np.ndarray],
) -> None:
    whole, chosen = drawn
    counts = stats.counts(whole, chosen)
    assert counts.net == stats.routed(whole, chosen).sum() - stats.direct(whole).sum()
    assert counts.calls == (chosen != 0).sum()


def test_the_cross_fitted_oracle_is_not_fooled_by_luck() -> None:
    rng = np.random.default_rng(0)
    first, second = (table(rng.random((4000, 7)) < 0.5) for _ in range(2))
    assert stats.share(stats.oracle_raw(first)) > 0.98
    assert stats.share(stats.oracle_cross_fitted(first, second)) == pytest.approx(0.5, abs=0.03)


def test_the_cross_fitted_oracle_breaks_ties_towards_direct() -> None:
    chosen_on = table(np.array([[1, 1, 1], [0, 1, 1], [0, 0, 0], [0, 0, 1]], dtype=bool))
    scored_on = table(np.array([[0, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 1]], dtype=bool))
    scores = stats.oracle_cross_fitted(chosen_on, scored_on)
    assert scores.tolist() == [0.0, 0.5, 1.0, 1.0]
    assert chosen_on.correct[0].tolist() == [True, True, True]  # left as it was


def test_no_headroom_is_not_a_number() -> None:
    assert math.isnan(stats.headroom_closed(0.5, 0.5, 0.5))
    assert stats.headroom_closed(0.4, 0.5, 0.7) == pytest.approx(-0.5)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 20))
def test_mcnemar_is_scipys_exact_binomial_test(only_a: int, only_b: int, same: int) -> None:
    a = np.array([1] * only_a + [0] * only_b + [1] * same, dtype=bool)
    b = np.array([0] * only_a + [1] * only_b + [1] * same, dtype=bool)
    n = only_a + only_b
    expected = binomtest(only_a, n).pvalue if n else 1.0
    assert stats.mcnemar(a, b) == pytest.approx(expected)
    assert stats.mcnemar(a, b) == stats.mcnemar(b, a)


def test_mcnemar_of_thousands_does_not_overflow() -> None:
    a = np.arange(4000) % 3 == 0
    assert 0 < stats.mcnemar(a, ~a) < 1e-90


def test_the_bootstrap_is_that_of_resampled_rows() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(200) < 0.7, rng.random(200) < 0.6
    difference, low, high = stats.paired_bootstrap(a, b, n=20_000)
    rows = rng.integers(0, 200, (20_000, 200))
    plain = (a[rows].astype(float) - b[rows]).mean(axis=1)
    assert difference == pytest.approx(a.mean() - b.mean())
    assert (low, high) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.006)


def test_the_bootstrap_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(300):
        a, b = rng.random(400) < 0.65, rng.random(400) < 0.60
        _, low, high = stats.paired_bootstrap(a, b, n=1000, seed=trial)
        covered += low <= 0.05 <= high
    assert covered / 300 == pytest.approx(0.95, abs=0.035)


def test_the_bootstrap_repeats_and_takes_fractions() -> None:
    a, b = np.linspace(0, 1, 50), np.full(50, 0.5)
    assert stats.paired_bootstrap(a, b, seed=3) == stats.paired_bootstrap(a, b, seed=3)
    assert stats.paired_bootstrap(a, a) == (0.0, 0.0, 0.0)
    assert all(map(math.isnan, stats.paired_bootstrap(a[:0], b[:0])))


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_raises_p_values_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = stats.holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted)
