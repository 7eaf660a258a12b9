"""A router's figures over a split, for Lightning: a thin shell over `routerlab.statistics`.

The state is one integer a row of the outcome table: the action chosen there, or -1. Ranks are
joined by the larger one, so padded duplicates, uneven shares and empty ranks change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from routerlab import statistics
from routerlab.statistics import share
from routerlab.types import OutcomeTable, Question

_NOT_SEEN = -1


class RoutingMetrics(Metric):
    """What a policy's choices come to on a table of known outcomes.

    Args:
        table: of the whole split, the same on every rank.
        detail: also a call rate a tool and an accuracy a category.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    chosen: Tensor

    def __init__(self, table: OutcomeTable, *, detail: bool = True) -> None:
        super().__init__()
        self.table, self.detail = table, detail
        unseen = torch.full((len(table),), _NOT_SEEN, dtype=torch.int64)
        self.add_state("chosen", default=unseen, dist_reduce_fx="max")

    def update(self, rows: Tensor | Sequence[int], actions: Tensor) -> None:
        """Note the actions [B] chosen for some rows [B] of the table."""
        where = torch.as_tensor(rows, dtype=torch.int64, device=self.chosen.device)
        self.chosen[where] = actions.to(self.chosen)

    def compute(self) -> dict[str, Tensor]:
        """Figures of the rows seen so far, as float32 scalars; {} if there were none."""
        chosen = self.chosen.cpu().numpy()
        seen = chosen != _NOT_SEEN
        if not seen.any():
            return {}
        figures = routing_figures(self.table.select(seen), chosen[seen], detail=self.detail)
        return {
            name: torch.tensor(value, dtype=torch.float32, device=self.chosen.device)
            for name, value in figures.items()
        }


def routing_figures(
    table: OutcomeTable, actions: NDArray[np.int64], *, detail: bool = True
) -> dict[str, float]:
    """Every figure of a policy [N] on a table, by name; rates are shares of all questions.

    `headroom_closed` is NaN where the oracle does not beat direct.
    """
    right, calls = statistics.routed(table, actions), statistics.counts(table, actions)
    direct, oracle = share(statistics.direct(table)), share(statistics.oracle_raw(table))
    rows = max(len(table), 1)
    figures = {
        "accuracy": share(right),
        "direct": direct,
        "oracle": oracle,
        "headroom_closed": statistics.headroom_closed(share(right), direct, oracle),
        "regret": share(statistics.regret(table, actions)),
        "call_rate": calls.calls / rows,
        "fix_rate": calls.fix / rows,
        "break_rate": calls.break_ / rows,
        "redundant_rate": calls.redundant / rows,
        "fallback_rate": calls.failed / rows,
    }
    if detail:
        for index, name in enumerate(table.actions):
            figures[f"use/{name}"] = share(actions == index)
        for name, members in _categories(table.questions).items():
            figures[f"accuracy/{name}"] = share(right[members])
    return figures


def _categories(questions: Sequence[Question]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for row, question in enumerate(questions):
        if question.category:
            groups.setdefault(question.category, []).append(row)
    return dict(sorted(groups.items()))
