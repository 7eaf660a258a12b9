"""What could be known in advance: each action's gain, foretold from cheap features of a question.

On real data nobody knows which tool a question needs, so the best that a router can be asked for is
estimated: simple predictors (ridge regression, nearest neighbours) learn from other questions of
the same table which action pays, and are scored on those they have not seen. Pure numpy; nothing
of this is a router that ships.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routerlab.types import Clip, Question

Floats = NDArray[np.float64]
Actions = NDArray[np.int64]

FOLDS = 5
VOCABULARY = 256
"""Most frequent words and pairs of words: enough to tell wordings apart, few enough for ridge."""
NEIGHBOURS = 16
BANDS = 24
_ALPHAS = np.logspace(-2, 3, 11)
_WORD = re.compile(r"\w+")


# -- features ---------------------------------------------------------------------------------


def text_features(questions: Sequence[Question]) -> Floats:
    """TF-IDF of words and pairs of words of question and choices, rows of length 1: [N, V].

    The vocabulary is of all questions: it knows texts, no outcome.
    """
    terms = [_terms(q) for q in questions]
    often = Counter(term for row in terms for term in row)
    known = [(-count, term) for term, count in often.items() if count > 1]
    columns = {term: i for i, (_, term) in enumerate(sorted(known)[:VOCABULARY])}
    rarity = {term: math.log((1 + len(questions)) / (1 + often[term])) + 1 for term in columns}
    out = np.zeros((len(questions), max(1, len(columns))))
    for row, counted in enumerate(terms):
        for term, count in counted.items():
            if term in columns:
                out[row, columns[term]] = (1 + math.log(count)) * rarity[term]
    return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12))


def sound_features(clip: Clip) -> Floats:
    """Mean and spread of log energy in bands, of its change, and length and zero crossings: [F]."""
    samples = np.asarray(clip.samples, dtype=np.float64)
    size = 512
    if len(samples) < 2 * size:
        samples = np.pad(samples, (0, 2 * size - len(samples)))
    frames = samples[: len(samples) // size * size].reshape(-1, size) * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, axis=1))[:, 1:] ** 2
    edges = np.unique(np.geomspace(1, power.shape[1], BANDS + 1).astype(int)) - 1
    bands = np.log10(np.add.reduceat(power, edges[:-1], axis=1) + 1e-8)
    change = np.abs(np.diff(bands, axis=0))
    crossings = np.mean(np.signbit(samples[1:]) != np.signbit(samples[:-1]))
    parts = (bands.mean(0), bands.std(0), change.mean(0), [clip.seconds, crossings])
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])


def standard(features: Floats) -> Floats:
    """Columns centred and scaled, each row then shrunk by the number of columns' root."""
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.asarray(scaled / np.sqrt(max(1, features.shape[1])))


# -- cross-fitted predictions -----------------------------------------------------------------


def fold_of(rows: int, folds: int = FOLDS, seed: int = 0) -> NDArray[np.int64]:
    """The fold [N] in which each row is held out."""
    return np.asarray(np.random.default_rng(seed).permutation(rows) % folds, dtype=np.int64)


def ridge(features: Floats, targets: Floats, fold: NDArray[np.int64]) -> Floats:
    """Ridge predictions [N, T] of each row by a regression fitted on the other folds.

    The penalty is the one of lowest leave-one-out error, which a ridge has in closed form:
    residual / (1 - leverage) (Golub, Heath and Wahba 1979).
    """
    out = np.zeros_like(targets)
    for held_out in (fold == k for k in np.unique(fold)):
        if not held_out.all():
            out[held_out] = _ridge_once(features[~held_out], targets[~held_out], features[held_out])
    return out


def neighbours(features: Floats, targets: Floats, fold: NDArray[np.int64]) -> Floats:
    """The mean target [N, T] of the most similar rows of other folds (cosine of the features)."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    out = np.zeros_like(targets)
    for held_out in (fold == k for k in np.unique(fold)):
        known = targets[~held_out]
        near = min(NEIGHBOURS, len(known))
        if near:
            alike = unit[held_out] @ unit[~held_out].T
            nearest = np.argpartition(-alike, near - 1, axis=1)[:, :near]
            # Drawn to the mean of all as if by a few rows more: near-ties are luck.
            out[held_out] = (known[nearest].sum(axis=1) + 4 * known.mean(axis=0)) / (near + 4)
    return out


def best_gain(gains: Floats) -> Actions:
    """The tool [N] of highest foretold gain [N, K] over direct, or direct where none is above 0."""
    if not gains.shape[1]:
        return np.zeros(len(gains), dtype=np.int64)
    return np.where(gains.max(axis=1) > 0, gains.argmax(axis=1) + 1, 0).astype(np.int64)


def foretell(
    views: Mapping[str, Floats], payoffs: Mapping[str, Floats], *, folds: int = FOLDS, seed: int = 0
) -> dict[str, dict[str, Actions]]:
    """What each predictor would do to get each payoff: predictor -> payoff -> actions [N].

    Args:
        views: features [N, F] by name; "text" also gives the neighbours' predictor "kNN".
        payoffs: what an action earns [N, K+1], by name (being right, or a reward).
    """
    names, stacked = list(payoffs), []
    for name in names:
        paid = np.asarray(payoffs[name], dtype=np.float64)
        # The gain over direct is foretold, not each payoff: a tie then goes to direct.
        stacked.append(paid[:, 1:] - paid[:, :1])
    targets = np.concatenate(stacked, axis=1)
    fold = fold_of(len(targets), min(folds, max(2, len(targets))), seed)
    foretold = {name: ridge(view, targets, fold) for name, view in views.items()}
    if "text" in views:
        foretold["kNN"] = neighbours(views["text"], targets, fold)
    return {
        view: dict(zip(names, map(best_gain, np.split(gains, len(names), axis=1)), strict=True))
        for view, gains in foretold.items()
    }


def _ridge_once(known: Floats, targets: Floats, asked: Floats) -> Floats:
    centre, mean = known.mean(axis=0), targets.mean(axis=0)
    x, y = known - centre, targets - mean
    values, vectors = np.linalg.eigh(x.T @ x)
    kept = values > 1e-9
    values, vectors = values[kept], vectors[:, kept]
    if not len(values):
        return np.broadcast_to(mean, (len(asked), len(mean))).copy()
    turned = x @ vectors
    fitted = turned.T @ y
    alpha = min(_ALPHAS, key=lambda a: _left_out_error(turned, values, fitted, y, a))
    weights = fitted / (values + alpha)[:, None]
    return np.asarray((asked - centre) @ vectors @ weights + mean)


def _left_out_error(
    turned: Floats, values: Floats, fitted: Floats, y: Floats, alpha: float
) -> float:
    shrunk = 1.0 / (values + alpha)
    leverage = (turned**2) @ shrunk + 1.0 / len(y)
    residual = y - turned @ (fitted * shrunk[:, None])
    return float(np.mean((residual / np.maximum(1 - leverage, 1e-3)[:, None]) ** 2))


def _terms(question: Question) -> Counter[str]:
    words = _WORD.findall(f"{question.question} | {' | '.join(question.choices)}".lower())
    return Counter([*words, *(f"{a} {b}" for a, b in pairwise(words))])


def views_of(questions: Sequence[Question], sounds: Any = None) -> dict[str, Floats]:
    """The features of a survey: words, and words with sound where the sound [N, F] is given."""
    words = text_features(questions)
    if sounds is None:
        return {"text": words}
    return {"text": words, "text and sound": np.hstack([words, standard(np.asarray(sounds))])}
