"""`diagnostics=true`: the two failure modes and the controls, on a trained router.

    keyword_twins   a trap and its twin differ in words that are not asked about
    kinds, scope    outputs from beyond a limit, and right ones that say nothing of what is asked
    limits          the same outputs with the card's limits beside them
    router_hearing, reasoner_hearing    without sound, apart; silence in place of the clip
    cards, new_tool    for routers that read cards

What needs new answers is asked through the oracle, each control under its own key, so that a second
look costs nothing. What does not apply to a run's data or router is left out, and a note says why.
Figures are computed in `report.diagnostics`, tables laid out in `report.diagnostics_tables`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from routerlab.data.module import RouterDataModule
from routerlab.diagnostics.asking import Absent
from routerlab.diagnostics.hearing import reasoner_hearing, router_hearing
from routerlab.diagnostics.reading import cards, limits, new_tool
from routerlab.diagnostics.subject import Subject, set_aside
from routerlab.report import diagnostics as figures
from routerlab.report.diagnostics_tables import show_diagnostics
from routerlab.report.evaluation import Evaluation
from routerlab.routing import Probabilities


def diagnosed(
    model: Any,
    datamodule: RouterDataModule,
    evaluation: Evaluation,
    routes: Probabilities,
) -> dict[str, Any]:
    """Diagnose, print the tables, and return them under the key that results have for them."""
    began = time.monotonic()
    found = diagnose(model, datamodule, evaluation, routes)
    found["cost"]["seconds"] = round(time.monotonic() - began, 2)
    show_diagnostics(found, Console())
    return {"diagnostics": found}


def diagnose(
    model: Any,
    datamodule: RouterDataModule,
    evaluation: Evaluation,
    routes: Probabilities,
) -> dict[str, Any]:
    """Every diagnostic of a router on `test`, in JSON's types.

    Returns:
        One entry a diagnostic that applies; `notes` says of the others why they do not, and `cost`
        what was asked for them.
    """
    before = dict(datamodule.counters)
    subject = Subject(model.policy, datamodule, evaluation, routes, datamodule.truth("test"))
    found, notes = routers_part(subject)
    with set_aside(model.policy):
        more, missing = reasoners_part(subject)
    costs = {name: count - before[name] for name, count in datamodule.counters.items()}
    return {**found, **more, "notes": notes | missing, "cost": costs}


def routers_part(subject: Subject) -> tuple[dict[str, Any], dict[str, str]]:
    """What the outcomes and the router alone can tell, and why the rest is missing."""
    return _all_of(
        subject,
        {
            "keyword_twins": keyword_twins,
            "kinds": kinds,
            "scope": scope,
            "router_hearing": router_hearing,
            "cards": cards,
            "new_tool": new_tool,
        },
    )


def reasoners_part(subject: Subject) -> tuple[dict[str, Any], dict[str, str]]:
    """What the Reasoner is asked for, and why the rest is missing."""
    return _all_of(subject, {"limits": limits, "reasoner_hearing": reasoner_hearing})


def _all_of(
    subject: Subject, sections: Mapping[str, Callable[[Subject], dict[str, Any]]]
) -> tuple[dict[str, Any], dict[str, str]]:
    found: dict[str, Any] = {}
    notes: dict[str, str] = {}
    for name, section in sections.items():
        try:
            found[name] = section(subject)
        except Absent as why:
            notes[name] = str(why)
    return found, notes


# --- from the table ---------------------------------------------------------------------------


def keyword_twins(subject: Subject) -> dict[str, Any]:
    """Does the policy change because a word is there that is not asked about?"""
    twins = figures.twin_rows(subject.table, subject.truth)
    if not twins:
        raise Absent(
            "the data marks no pairs (sub-category keyword_trap and keyword_twin on one clip)"
        )
    scored = {k: v for k, v in subject.evaluation.scored.items() if k != "oracle"}
    return figures.keyword_twins(subject.table, twins, scored, subject.truth, subject.routes)


def kinds(subject: Subject) -> dict[str, Any]:
    """Accuracy and calls on the questions marked boundary, over_inference and so on."""
    marked = {q.sub_category for q in subject.table.questions}
    if not marked & {"boundary", "over_inference"}:
        raise Absent("the data marks no boundary or over_inference questions (sub-category)")
    try:
        cells = subject.scopes
    except Absent:
        cells = {}
    return figures.by_kind(subject.table, subject.evaluation.scored, cells)


def scope(subject: Subject) -> dict[str, Any]:
    """P(the answer changes | a valid output), in scope and out of it."""
    return figures.over_inference(subject.table, subject.scopes, subject.actions)
