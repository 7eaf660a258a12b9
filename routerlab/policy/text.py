"""The text router: what a question's words alone can tell, without any sound.

TF-IDF of question and choices, then logistic regression with the learning-to-defer weights of
`routerlab.policy.objectives.CostWeighted`: the same rows, the same rewards, a linear policy. An
honest, cheap rival, which a router that listens must beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from routerlab.policy.prompt import question_text
from routerlab.types import Question

Floats: TypeAlias = NDArray[np.floating[Any]]


class TextRouter:
    """One softmax over actions, linear in the words and pairs of words.

    Args:
        strength: inverse regularisation of the regression.
        read_choices: read the options too, or the question only.
    """

    def __init__(self, strength: float = 10.0, read_choices: bool = True) -> None:
        self.strength = strength
        self.read_choices = read_choices
        self._words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
        self._model: LogisticRegression | None = None
        self._actions = 0
        self._only = 0

    def fit(
        self,
        questions: Sequence[Question],
        rewards: Floats,
        valid: NDArray[np.bool_] | None = None,
    ) -> TextRouter:
        """Learn from the rewards [N, A] of all actions; returns itself."""
        usable = np.ones(rewards.shape, bool) if valid is None else np.asarray(valid, bool)
        weights = np.where(usable, rewards - _lowest(rewards, usable), 0.0)
        rows, actions = np.nonzero(weights > 0)
        self._actions = rewards.shape[1]
        self._model, self._only = None, int(actions[0]) if len(actions) else 0
        features = self._words.fit_transform(self._texts(questions))
        if len(set(actions.tolist())) > 1:
            self._model = LogisticRegression(C=self.strength, max_iter=500)
            self._model.fit(features[rows], actions, sample_weight=weights[rows, actions])
        return self

    def probabilities(self, questions: Sequence[Question]) -> Floats:
        """π, float64 [N, A]."""
        out = np.zeros((len(questions), self._actions))
        if self._model is None:
            out[:, self._only] = 1.0
        elif questions:
            features = self._words.transform(self._texts(questions))
            out[:, self._model.classes_] = self._model.predict_proba(features)
        return out

    def choose(self, questions: Sequence[Question]) -> NDArray[np.int64]:
        """The most likely action of each question, int [N]; 0 is direct."""
        return np.asarray(self.probabilities(questions).argmax(axis=1), dtype=np.int64)

    def _texts(self, questions: Sequence[Question]) -> list[str]:
        return [
            question_text(q.question, q.choices if self.read_choices else ()) for q in questions
        ]


def _lowest(rewards: Floats, usable: NDArray[np.bool_]) -> Floats:
    """The lowest valid reward of each row [N, 1]; 0 where no action is valid."""
    lowest = np.where(usable, rewards, np.inf).min(axis=1, keepdims=True)
    return np.where(np.isfinite(lowest), lowest, 0.0)
