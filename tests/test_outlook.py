"""The survey's figures and words: bounds, references, predictors, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

from routerlab import references, statistics
from routerlab.predictors import best_gain, fold_of, foretell, ridge, sound_features, text_features
from routerlab.report.outlook import Evidence, greedy_shares, outlook, paired_interval
from routerlab.report.sampling import drawn, limited
from routerlab.report.survey_tables import survey_text
from routerlab.report.verdict import verdict
from routerlab.types import Answer, Clip, Outcome, OutcomeTable, Question

ACTIONS = ("direct", "pitch", "emotion", "idle")
CHOICES = ("w", "xx", "yyy", "zzzz")


def world(n: int = 300, seed: int = 0, replicate: int = 0) -> OutcomeTable:
    """Direct is half right; pitch mends what asks for a note, emotion breaks much, idle nothing.

    Direct's margin is large where it is right.
    """
    rng, luck = np.random.default_rng(seed), np.random.default_rng(seed + 100 + replicate)
    questions, cells = [], {}
    for i in range(n):
        asks = "note" if i % 2 else "gap"
        gold = int(rng.integers(4))
        q = Question(f"q{i}", "a.wav", f"Which {asks} is heard?", CHOICES, CHOICES[gold],
                     category=asks)  # fmt: skip
        direct = rng.random() < 0.5
        pitch = rng.random() < 0.95 if asks == "note" else direct and rng.random() < 0.9
        emotion = direct and rng.random() < 0.6
        row = (direct, pitch, emotion, direct)
        for action, good in zip(ACTIONS, row, strict=True):
            good ^= luck.random() < 0.05
            said = gold if good else (gold + 1) % 4
            gap = (1.0 if good else 0.2) + 0.1 * luck.random()
            scores = tuple(gap if c == said else 0.0 for c in range(4))
            answer = Answer(said, CHOICES[said], log_probs=scores)
            cells[q.id, action] = Outcome(q.id, action, "ok", bool(good), answer,
                                          replicate=replicate)  # fmt: skip
        questions.append(q)
    return OutcomeTable.of(questions, ACTIONS, cells)


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return world()


def test_the_verdict_says_what_the_table_was_made_to_hold(table: OutcomeTable) -> None:
    figures = outlook(Evidence(table, [world(replicate=1)]))
    said = " ".join(verdict(figures))
    assert "Routing can gain up to" in said
    assert "cross-fitted oracle; the raw one, which luck inflates" in said
    assert "`emotion` breaks more than it fixes" in said
    assert "comes from `pitch`" in said
    assert "can be foretold" in said
    text = survey_text(figures, "Survey", ["a note"])
    for row in ("oracle (cross-fitted)", "best tool where direct is unsure", "a note", "place 4"):
        assert row in text


def test_a_predictor_that_knows_more_than_the_oracle_is_the_bound(table: OutcomeTable) -> None:
    figures = outlook(Evidence(table, [world(replicate=1)]))
    fair = figures["policies"]["oracle_cross_fitted"]
    more = figures["policies"]["predictable"] | {"gain": fair["gain"] + 0.02}
    known = figures | {"policies": figures["policies"] | {"predictable": more}}
    assert verdict(figures)[0].startswith("Routing can gain up to")
    assert f"Routing can gain about {100 * more['gain']:.1f} ± " in verdict(known)[0]


def test_bounds_are_in_order(table: OutcomeTable) -> None:
    figures = outlook(Evidence(table, [world(replicate=1)]))["policies"]
    accuracy = {name: it["accuracy"] for name, it in figures.items()}
    assert accuracy["direct"] == statistics.share(statistics.direct(table))
    assert accuracy["oracle"] >= accuracy["oracle_cross_fitted"] >= accuracy["predictable"]
    assert accuracy["predictable"] > accuracy["best_tool"]
    assert accuracy["cascade"] > accuracy["direct"]
    for it in figures.values():
        assert it["ci95"][0] <= it["gain"] <= it["ci95"][1]


def test_predictors_never_see_the_row_they_foretell() -> None:
    """With outcomes of pure luck nothing can be foretold, though every row could be learned."""
    rng = np.random.default_rng(0)
    right = (rng.random((400, 4)) < 0.5).astype(float)
    noise = rng.standard_normal((400, 60))
    for foretold in foretell({"text": noise}, {"right": right}).values():
        earned = right[np.arange(400), foretold["right"]].mean()
        assert abs(earned - 0.5) < 0.08


def test_ridge_is_the_regression_it_claims_to_be() -> None:
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((200, 5)), rng.standard_normal((5, 2))
    y = x @ w + 0.01 * rng.standard_normal((200, 2))
    assert np.abs(ridge(x, y, fold_of(200)) - y).max() < 0.1
    flat = ridge(np.ones((20, 3)), np.arange(20.0)[:, None], fold_of(20))
    assert np.isfinite(flat).all()


def test_no_tool_pays_means_direct() -> None:
    assert best_gain(np.array([[-0.1, 0.0], [0.2, 0.1]])).tolist() == [0, 1]


def test_sound_tells_what_words_do_not() -> None:
    rate = 16_000
    time = np.arange(rate) / rate
    clips = [np.sin(2 * np.pi * f * time).astype(np.float32) for f in (200, 3000)]
    low, high = (sound_features(Clip(s, rate, "f")) for s in clips)
    assert np.abs(low - high).max() > 1
    assert np.isfinite(sound_features(Clip(np.zeros(3, np.float32), rate, "f"))).all()


def test_words_and_pairs_of_words(table: OutcomeTable) -> None:
    features = text_features(table.questions)
    assert np.allclose(np.linalg.norm(features, axis=1), 1)
    assert not np.allclose(features[0], features[1])
    assert np.allclose(features[0], features[2])


def test_greedy_shares_reach_all_that_can_be_fixed(table: OutcomeTable) -> None:
    shares = greedy_shares(table)
    assert shares[0]["tool"] == "pitch"
    assert [it["share"] for it in shares] == sorted(it["share"] for it in shares)
    assert shares[-1]["share"] == 1.0


def test_votes_and_flips(table: OutcomeTable) -> None:
    again = world(replicate=1)
    assert references.vote(table).accuracy > 0
    same = references.permutation_vote(table, [table])
    assert same.accuracy == statistics.share(statistics.direct(table))
    assert references.flips(table, table) == {"right": 0.0, "answer": 0.0, "cells": 1200}
    changed = references.flips(table, again)
    assert 0.05 < changed["answer"] < 0.15


def test_leans_on_place_and_length() -> None:
    """A reasoner that always takes the first option, which is the shortest, is seen to do so."""
    fixed = world()
    cells = {
        key: Outcome(
            o.question_id, o.action, "ok", fixed_gold(fixed, key[0]) == "w", Answer(0, "w")
        )
        for key, o in fixed.cells.items()
    }
    leaning = OutcomeTable.of(fixed.questions, ACTIONS, cells)
    places, lengths = references.by_position(leaning), references.by_length(leaning)
    assert places[0]["chosen"] == 1.0
    assert places[0]["direct"] == 1.0
    assert places[3]["direct"] == 0.0
    assert lengths[0] | {"questions": 0, "gold": 0} == {
        "option": "shortest", "questions": 0, "direct": 1.0, "gold": 0, "chosen": 1.0,
    }  # fmt: skip
    assert references.margins(leaning) is None


def fixed_gold(table: OutcomeTable, ident: str) -> str:
    return next(q.answer for q in table.questions if q.id == ident)


def test_a_part_is_drawn_and_its_interval_is_wider(table: OutcomeTable) -> None:
    part = limited(Evidence(table), 60, seed=1)
    assert len(part.table) == 60
    assert part.of == 300
    assert drawn(300, 60, 1).tolist() != list(range(60))
    wide, narrow = (outlook(e)["policies"]["oracle"]["ci95"] for e in (part, Evidence(table)))
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])


def test_intervals_of_few_questions_cover() -> None:
    """Of 400 tables of 25 questions with a true gain of 10 points, about 95 % cover it."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        drawn_ = rng.random(25)
        a, b = (drawn_ < 0.2).astype(float), ((drawn_ >= 0.2) & (drawn_ < 0.3)).astype(float)
        _, low, high = paired_interval(a, b)
        covered += low <= 0.1 <= high
    assert covered >= 0.92 * 400


def test_few_questions_promise_nothing(table: OutcomeTable) -> None:
    said = verdict(outlook(Evidence(table.select(range(8)))))
    assert any("too few to foretell" in line for line in said)
    alone = OutcomeTable(table.questions, ("direct",), table.correct[:, :1], table.valid[:, :1])
    assert "no tool" in verdict(outlook(Evidence(alone)))[0]
