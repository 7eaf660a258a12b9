"""The text router: the best that a question's words alone can tell, without any sound.

TF-IDF of question and choices, one logistic regression for each action. An honest, cheap rival:
a router that listens must beat it.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]


class TextRouter:
    """Predicts what each action pays from the words, and takes the best.

    For each action two logistic regressions say how likely it is to pay more, and how likely to
    pay less, than the mean action of the row; their difference orders the actions.

    Args:
        strength: inverse regularisation of the regressions.
        choices: read the options too, or the question only.
    """

    def __init__(self, strength: float = 1.0, choices: Literal["on", "off"] = "on") -> None:
        self.strength = strength
        self.choices = choices
