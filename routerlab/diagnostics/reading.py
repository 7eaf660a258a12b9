"""Who reads? The Reasoner, shown where a tool stops; the Router, shown other cards and a new tool.

Which cards are shown is in `cards`; how new answers are got in `asking`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routerlab import rivals, statistics
from routerlab.diagnostics import cards as other
from routerlab.diagnostics.asking import Absent, ask, with_new_tool
from routerlab.diagnostics.subject import Subject, set_aside
from routerlab.report import diagnostics as figures
from routerlab.rivals import Scored
from routerlab.routing import best_actions

# --- limits -----------------------------------------------------------------------------------


def limits(subject: Subject) -> dict[str, Any]:
    """What it helps the Reasoner to read where a tool stops, beside its output."""
    table = subject.table
    told = np.array([False, *(bool(card.stops_at) for card in subject.datamodule.cards)])
    if not told.any():
        raise Absent("no tool's card says where it stops (stops_at)")
    called = np.zeros_like(table.valid)
    called[np.arange(len(table)), subject.actions] = True
    masks = {"called": called & told & table.valid}
    with suppress(Absent):
        masks["beyond"] = subject.scopes["beyond"] & told
    wanted = np.logical_or.reduce(list(masks.values()))
    again = ask(subject.datamodule, table, wanted, "limits shown", limits=True)
    return {name: figures.asked_otherwise(table, again, mask) for name, mask in masks.items()}


# --- cards ------------------------------------------------------------------------------------

BY_HEART = (
    "the router was trained with fixed labels (shuffle_labels is off), so it need not read its "
    "cards"
)


def cards(subject: Subject) -> dict[str, Any]:
    """The same router under other labels, and with other texts and names on its cards."""
    policy, own = subject.policy, _own(subject)
    found = {"other_labels": _under_labels(subject)}
    changes = {
        "exchanged": other.exchanged,
        "anonymous": other.anonymous,
        "paraphrased": other.paraphrased,
        "decoys": other.with_decoys,
    }
    for name, change in changes.items():
        with other.shown(policy, change(own)):
            chosen = best_actions(other.chances(policy, subject.batches()))
        found[name] = _beside(subject, chosen)
        if name == "exchanged":
            found[name]["follows_text"] = _followed(subject.actions, chosen, len(own))
        if name == "decoys":
            found[name]["decoy_calls"] = statistics.share(chosen > len(own))
    return found


def _own(subject: Subject) -> other.Cards:
    if not other.reads_cards(subject.policy):
        raise Absent(BY_HEART)
    return other.own_cards(subject.policy)


def _under_labels(subject: Subject) -> dict[str, Any]:
    """The mean over several orders of the labels."""
    found = other.under_other_labels(subject.policy, subject.batches)
    scored = [rivals.score("routed", subject.table, best_actions(it)) for it in found]
    mean = Scored(
        "routed",
        np.mean([it.right for it in scored], axis=0),
        np.mean([it.called for it in scored], axis=0),
    )
    same = [statistics.share(best_actions(it) == subject.actions) for it in found]
    return figures.beside(mean, subject.routed) | {"same_action": float(np.mean(same))}


def _beside(subject: Subject, chosen: NDArray[np.int64]) -> dict[str, Any]:
    """What choices earn; a call of a decoy gives nothing, so direct's answer stands."""
    real = np.where(chosen < len(subject.table.actions), chosen, 0)
    scored = rivals.score("routed", subject.table, real)
    called = replace(scored, called=(chosen > 0).astype(np.float64), actions=chosen)
    return figures.beside(called, subject.routed)


def _followed(before: NDArray[np.int64], after: NDArray[np.int64], tools: int) -> float | None:
    """How often the call goes to where the text now stands of the tool that was called before."""
    called = before > 0
    if not called.any():
        return None
    return statistics.share(after[called] == (before[called] - 2) % tools + 1)


def new_tool(subject: Subject) -> dict[str, Any]:
    """A tool that was there in no training: one card more, under a label of its own."""
    own = _own(subject)
    with set_aside(subject.policy):
        table, card = with_new_tool(subject.datamodule, subject.table)
    with other.shown(subject.policy, (*own, card)):
        chosen = best_actions(other.chances(subject.policy, subject.batches()))
    column = len(table.actions) - 1
    alone = rivals.earned(table)
    only = alone[:, column] & (alone.sum(axis=1) == 1)
    scored = rivals.score("routed", table, chosen)
    return figures.beside(scored, subject.routed) | {
        "tool": card.name,
        "always": float(alone[:, column].mean()),
        "tool_calls": statistics.share(chosen == column),
        "only_it": int(only.sum()),
        "called_where_only_it": statistics.share(chosen[only] == column) if only.any() else None,
    }
