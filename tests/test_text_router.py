"""The text router learns from words, and from nothing else."""

from __future__ import annotations

import numpy as np

from routerlab.policy.text import TextRouter
from routerlab.types import Question


def ask(text: str, number: int = 0) -> Question:
    return Question(f"{text}-{number}", "a.wav", text, ("C4", "E4"), "C4")


ASKED = ["Which note is played?", "How many events are there?", "Who is speaking?"]


def test_it_learns_which_words_want_which_action() -> None:
    questions = [ask(text, n) for n in range(20) for text in ASKED]
    best = np.array([1, 2, 0] * 20)
    rewards = np.where(np.arange(3) == best[:, None], 1.0, -0.05)
    router = TextRouter().fit(questions, rewards)
    assert router.choose([ask("Which note is heard?"), ask("How many beeps?")]).tolist() == [1, 2]
    assert np.allclose(router.probabilities(questions).sum(axis=1), 1.0)


def test_one_question_with_two_answers_gets_the_better_on_average() -> None:
    # A tool that fixes 20 % and breaks 40 % of the same words is left alone.
    questions = [ask("Which note is played?", n) for n in range(10)]
    rewards = np.array([[0.0, 1.0]] * 2 + [[0.05, -1.0]] * 4 + [[0.05, -0.05]] * 4)
    assert TextRouter().fit(questions, rewards).choose(questions[:1]).tolist() == [0]


def test_masked_actions_are_not_learnt() -> None:
    questions = [ask(text, n) for n in range(5) for text in ASKED]
    rewards = np.tile([0.05, 0.5, 9.0], (15, 1))
    valid = np.tile([True, True, False], (15, 1))
    assert set(TextRouter().fit(questions, rewards, valid).choose(questions).tolist()) == {1}


def test_no_difference_in_rewards_means_direct() -> None:
    questions = [ask(text) for text in ASKED]
    assert TextRouter().fit(questions, np.zeros((3, 4))).choose(questions).tolist() == [0, 0, 0]
