"""Draw one question: a family's clip, a wording, shuffled options.

`pool` says from which wordings and timbres: "train" for the router's own splits, "ood" for the
shifted split, "lalm" for the LALM's schooling (everything, so that it understands both).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numpy.random import Generator

from routerlab.data.synth import levelled, pitched, timed
from routerlab.data.synth.item import Draft, Item, Pool
from routerlab.data.synth.sounds import OOD_TIMBRES, TIMBRES, finish
from routerlab.data.synth.wordings import LEADS, OOD, OOD_LEADS, TRAIN, TRAPS

MAKERS: dict[str, Callable[[Generator, Sequence[str]], Draft]] = {
    "note": pitched.note,
    "interval": pitched.interval,
    "direction": pitched.direction,
    "chord": pitched.chord,
    "key": pitched.key,
    "tempo": timed.tempo,
    "count": timed.count,
    "order": timed.order,
    "longer": timed.longer,
    "gap": timed.gap,
    "trend": levelled.trend,
    "louder": levelled.louder,
    "timbre": levelled.timbre,
    "brightness": levelled.brightness,
    "voiced": levelled.voiced,
    "highest": pitched.highest,
    "duration": timed.duration,
}
OOD_FAMILIES = ("highest", "duration")
FAMILIES = tuple(name for name in MAKERS if name not in OOD_FAMILIES)

WEIGHTS: dict[str, float] = {
    "note": 4.2,
    "tempo": 2.0,
    **dict.fromkeys(OOD_FAMILIES, 1.5),
    **dict.fromkeys(("chord", "key"), 1.3),
    "longer": 1.2,
    "count": 0.9,
    "trend": 0.7,
    "interval": 0.6,
    **dict.fromkeys(("direction", "gap", "louder"), 0.4),
    **dict.fromkeys(("order", "timbre"), 0.3),
    **dict.fromkeys(("brightness", "voiced"), 0.15),
}
"""How often a family is drawn, relative to the others: more where the right action depends on the
clip, less where an ear is all that is needed."""

TASKS: dict[str, str] = {
    **dict.fromkeys(
        ("note", "interval", "direction", "chord", "key", "timbre", "highest"), "music"
    ),
    **dict.fromkeys(("tempo", "count", "trend"), "music"),
}
"""Family -> MMAU's `task`; the rest are "sound"."""

TRAP_TARGETS = tuple(f for f in FAMILIES if f not in ("brightness", "voiced"))
NAMED_BY: dict[str, tuple[str, ...]] = {
    "note": ("pitch", "chord"),
    "interval": ("pitch",),
    "direction": ("pitch",),
    "chord": ("chord",),
    "key": ("chord",),
    "tempo": ("tempo", "onsets"),
    "count": ("onsets",),
    "order": ("onsets", "segments"),
    "longer": ("segments",),
    "gap": ("segments",),
    "trend": ("loudness",),
    "louder": ("loudness", "segments"),
}
"""Tools whose quantity a family really asks about, and which a trap must therefore not name."""


def _timbres(rng: Generator, pool: Pool) -> tuple[str, ...]:
    if pool == "lalm":
        return tuple(OOD_TIMBRES) if rng.random() < 0.25 else tuple(TIMBRES)
    return tuple(OOD_TIMBRES if pool == "ood" else TIMBRES)


def _wording(rng: Generator, family: str, pool: Pool) -> tuple[str, str]:
    """A wording with a lead-in: its name and its text."""
    tables = {"train": (TRAIN,), "ood": (OOD,), "lalm": (TRAIN, OOD)}[pool]
    texts = [t for table in tables for t in table.get(family, ())]
    leads = OOD_LEADS if pool == "ood" else LEADS if pool == "train" else (*LEADS, *OOD_LEADS)
    index, lead = int(rng.integers(len(texts))), leads[int(rng.integers(len(leads)))]
    return f"{family}/{pool}{index}", f"{lead} {texts[index]}".strip()


def trap(rng: Generator, family: str, text: str) -> tuple[str, str]:
    """Put a lead-in before a question that names a quantity it does not ask: (tool, text)."""
    tools = [t for t in TRAPS if t not in NAMED_BY.get(family, ())]
    tool = tools[int(rng.integers(len(tools)))]
    lead = TRAPS[tool][int(rng.integers(2))]
    return tool, f"{lead} {text[0].lower()}{text[1:]}"


def _kind(draft: Draft) -> str:
    if draft.outside and not draft.fits:
        return "boundary" if draft.condition in _HIDDEN else "over_inference"
    return "boundary" if draft.outside else "plain"


_HIDDEN = ("noisy", "drone", "duo", "slow", "echo", "crowded", "over_noise", "rumble")


def draw(rng: Generator, family: str, pool: Pool, *, lead: bool = True) -> Item:
    """One question of a family. The LALM's pool holds traps as well (one in eight).

    Raises:
        KeyError: no such family.
    """
    timbres = _timbres(rng, pool)
    draft = MAKERS[family](rng, timbres)
    wording, text = _wording(rng, family, pool)
    kind = _kind(draft)
    if not lead:
        text = text[text.index(_bare(family, text)) :]
    if pool == "lalm" and family in TRAP_TARGETS and rng.random() < 0.125:
        text = trap(rng, family, _bare(family, text))[1]
    order = rng.permutation(len(draft.choices))
    return Item(
        samples=finish(rng, draft.sound),
        question=text,
        choices=tuple(draft.choices[i] for i in order),
        answer=draft.answer,
        family=family,
        condition=draft.condition,
        difficulty=draft.difficulty,
        kind=kind,
        wording=wording,
        fits=draft.fits,
        outside=draft.outside,
        truth={
            **draft.truth,
            "cell": f"{family}/{draft.difficulty}/{draft.condition}",
            "describe": draft.describe,
        },
    )


def _bare(family: str, text: str) -> str:
    """A question without its lead-in."""
    wordings = (*TRAIN.get(family, ()), *OOD.get(family, ()))
    return next(w for w in sorted(wordings, key=len, reverse=True) if text.endswith(w))


def task_of(family: str) -> str:
    """MMAU's coarse group."""
    return TASKS.get(family, "sound")
