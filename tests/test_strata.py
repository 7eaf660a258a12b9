"""Drawing training questions by outcome: kinds, shares, numbers, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routerlab.data.strata import (
    STRATA,
    UNUSABLE,
    Stratify,
    allot,
    draw,
    drawn_from,
    pool_of,
    strata_note,
    strata_of,
    wanted_shares,
)
from routerlab.errors import UserError
from routerlab.types import OutcomeTable, Question

FIX, BREAK, REDUNDANT = range(3)


def table(correct: Any, valid: Any = None) -> OutcomeTable:
    right = np.array(correct, dtype=bool)
    fine = np.ones_like(right) if valid is None else np.array(valid, dtype=bool)
    questions = tuple(Question(str(i), "", "?", ("a", "b"), "a") for i in range(len(right)))
    return OutcomeTable(
        questions, ("direct", *(f"t{k}" for k in range(right.shape[1] - 1))), right & fine, fine
    )


@st.composite
def tables(draw_: Any) -> OutcomeTable:
    rows = draw_(st.integers(1, 60))
    bits = st.lists(st.booleans(), min_size=3 * rows, max_size=3 * rows)
    shape = (rows, 3)
    mostly = np.array(draw_(bits)) | np.array(draw_(bits)) | np.array(draw_(bits))
    return table(np.array(draw_(bits)).reshape(shape), mostly.reshape(shape))


pools = st.lists(st.integers(0, 50), min_size=3, max_size=3)
shares = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), min_size=3, max_size=3)


def test_a_question_is_of_the_kind_that_some_tool_makes_it() -> None:
    found = strata_of(
        table(
            [[0, 1, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0], [0, 1, 1], [1, 0, 1], [0, 0, 0]],
            [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 0, 0]],
        )
    )
    kinds = [FIX, BREAK, REDUNDANT, REDUNDANT, UNUSABLE, REDUNDANT, UNUSABLE]
    assert found.tolist() == kinds


def test_the_ratio_of_fixes_to_breaks_stays_where_no_share_is_given() -> None:
    fix, broken, same = wanted_shares(Stratify(redundant=0.2), (30, 10, 960))
    assert (fix / broken, same) == (pytest.approx(3), 0.2)
    assert wanted_shares(Stratify(fix=2, break_=1, redundant=1), (1, 1, 1)) == (0.5, 0.25, 0.25)
    assert wanted_shares(Stratify(fix=0.5, redundant=0.3), (9, 1, 90)) == (0.5, 0.2, 0.3)
    assert wanted_shares(Stratify(redundant=0.5), (0, 0, 9)) == (0, 0, 1)


@given(pools, shares, st.integers(0, 200))
def test_numbers_are_as_many_as_can_be_and_near_the_shares(
    pool: list[int], wanted: list[float], count: int
) -> None:
    taken = allot(pool, wanted, count)
    usable = [n if share else 0 for n, share in zip(pool, wanted, strict=True)]
    assert sum(taken) == min(count, sum(usable))
    assert all(0 <= t <= n for t, n in zip(taken, usable, strict=True))
    if count >= 3:
        assert all(t for t, n in zip(taken, usable, strict=True) if n)
    # A kind of which some is left gets its share of the kinds that are not used up, to one or two.
    free = [i for i in range(3) if taken[i] < usable[i]]
    total, asked = sum(taken[i] for i in free), sum(wanted[i] for i in free)
    assert all(abs(taken[i] - total * wanted[i] / asked) <= 2 for i in free)


@settings(max_examples=50)
@given(tables(), st.integers(1, 70), st.integers(0, 5), st.sampled_from([None, 0.2]))
def test_a_draw_is_of_the_pool_without_repeats_and_says_what_it_took(
    pool: OutcomeTable, count: int, seed: int, share: float | None
) -> None:
    kinds = strata_of(pool)
    asked = Stratify(questions=count, fix=share)
    if (kinds == UNUSABLE).all():
        with pytest.raises(UserError, match="none of the"):
            draw(pool, asked, seed)
        return
    found = draw(pool, asked, seed)
    assert found == draw(pool, asked, seed)
    assert list(found.rows) == sorted(set(found.rows))
    assert UNUSABLE not in kinds[list(found.rows)]
    assert found.drawn == tuple((kinds[list(found.rows)] == k).sum() for k in range(3))
    assert sum(found.pool) + found.unusable == len(pool)
    assert sum(found.wanted) == pytest.approx(1)
    record = found.record()
    assert record["questions"] == len(found.rows) == sum(record[kind]["drawn"] for kind in STRATA)


def test_seeds_draw_different_questions_and_a_kind_alike() -> None:
    pool = table([[0, 1]] * 40 + [[1, 0]] * 20 + [[1, 1]] * 240)
    asked = Stratify(questions=60, redundant=0.5)
    first, other = draw(pool, asked, 0), draw(pool, asked, 1)
    assert first.drawn == other.drawn == (20, 10, 30)
    assert first.rows != other.rows
    half, record = drawn_from(pool, asked, 0)
    assert len(half) == record["questions"] == 60
    assert record["settings"]["redundant"] == 0.5
    assert strata_note(record) == (
        "training questions drawn: 60 (fix 20 of 40, break 10 of 20, redundant 30 of 240)"
    )
    _, record = drawn_from(pool, Stratify(questions=900), 0)
    assert strata_note(record).startswith("training questions drawn: 300 of 900 asked for (")


def test_an_empty_kind_is_refused_only_if_asked() -> None:
    pool = table([[0, 1]] * 3 + [[1, 1]] * 5)
    assert draw(pool, Stratify(questions=8), 0).drawn == (3, 0, 5)
    with pytest.raises(UserError, match=r"no break question among the 8 .*3 fix, 0 break"):
        draw(pool, Stratify(questions=8, strict=True), 0)
    assert draw(pool, Stratify(questions=8, break_=0, strict=True), 0).drawn == (3, 0, 5)
    looked, record = drawn_from(pool, Stratify(questions=6, strict=True), 0, whole=True)
    assert looked is pool
    assert record["break"] == {"pool": 0, "wanted": 0.0, "drawn": 0}


def test_a_pool_is_a_random_part_in_the_order_of_the_file() -> None:
    questions = table([[0, 1]] * 30).questions
    assert pool_of(questions, None, 0) == pool_of(questions, 30, 0) == list(questions)
    part = pool_of(questions, 10, 0)
    numbers = [int(q.id) for q in part]
    assert len(part) == 10
    assert numbers == sorted(numbers)
    assert part == pool_of(questions, 10, 0) != pool_of(questions, 10, 1)
    assert pool_of(part, 10, 0) == part


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"questions": 0}, "questions is 0"),
        ({"pool": 9}, "a pool of 9 cannot give 1500"),
        ({"fix": -0.1}, "fix is -0.1"),
        ({"redundant": float("nan")}, "redundant is nan"),
        ({"fix": 0, "break_": 0, "redundant": 0}, "all shares are 0"),
        ({"fix": 0.5, "redundant": 0.5}, "leaves nothing"),
    ],
)
def test_odd_settings_are_named(given_: dict[str, Any], said: str) -> None:
    (line,) = Stratify(**given_).problems()
    assert line.startswith("data.stratify: ")
    assert said in line
    assert Stratify().problems() == []
