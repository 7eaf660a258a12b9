"""The subject of the diagnostics: a trained router on one split, and what it did there.

Records only; what is asked about it is in `run`, `hearing` and
`reading`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routerlab.data.module import RouterDataModule
from routerlab.diagnostics.asking import Absent
from routerlab.report import diagnostics as figures
from routerlab.report.evaluation import Evaluation
from routerlab.rivals import Scored
from routerlab.routing import Probabilities, best_actions
from routerlab.types import OutcomeTable, QuestionBatch


@dataclass(frozen=True)
class Subject:
    """A trained router on one split, and what it did there.

    Attributes:
        routes: its probabilities [N, A].
        truth: what generated data says of each question; {} for other data.
    """

    policy: Any
    datamodule: RouterDataModule
    evaluation: Evaluation
    routes: Probabilities
    truth: Mapping[str, Mapping[str, Any]]
    split: str = "test"

    @property
    def table(self) -> OutcomeTable:
        """The outcomes."""
        return self.evaluation.table

    @property
    def routed(self) -> Scored:
        """The router as it was trained."""
        return self.evaluation.scored["routed"]

    @property
    def actions(self) -> NDArray[np.int64]:
        """Its choices [N]."""
        return best_actions(self.routes)

    @cached_property
    def scopes(self) -> dict[str, NDArray[np.bool_]]:
        """Which cells are in scope, beyond a limit, or about something else.

        Raises:
            Absent: the data does not say.
        """
        if not any("fits" in it or "outside" in it for it in self.truth.values()):
            raise Absent(
                "the data has no truth file that says which tools fit a question "
                "(only generated data has)"
            )
        return figures.scopes(self.table, self.truth)

    def batches(self) -> Iterator[QuestionBatch]:
        """The split's questions with their clips."""
        return iter(self.datamodule.batches(self.split))


@contextmanager
def set_aside(policy: Any) -> Iterator[None]:
    """The router's weights in the host's memory while the Reasoner answers on the accelerator."""
    device = next((p.device for p in policy.parameters()), None)
    if device is None or device.type == "cpu":
        yield
        return
    policy.to("cpu")
    try:
        yield
    finally:
        policy.to(device)
