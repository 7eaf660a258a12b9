"""Who listens? Router and Reasoner without sound, apart.

Silence is a clip of zeros as long as the real one; "no audio" leaves the sound out altogether (a
router's features are set to zero, as in the no-audio control). Tools always hear the real clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from routerlab import rivals, statistics
from routerlab.audio import fingerprint
from routerlab.diagnostics import cards as cards
from routerlab.diagnostics.asking import Absent, Silenced, ask, without_audio
from routerlab.diagnostics.subject import Subject
from routerlab.report import diagnostics as figures
from routerlab.rivals import Scored
from routerlab.routing import best_actions
from routerlab.types import Clip, Outcome

DEAF = "zeroed/1:"
"""Before the fingerprint of a clip whose features are zeroed: a router keeps what it heard."""


def router_hearing(subject: Subject) -> dict[str, Any]:
    """The trained router on silence, and with the sound's features set to zero."""
    settings = getattr(subject.policy, "settings", {})
    if settings.get("audio") == "zero":
        raise Absent("the router was trained on silence (audio: zero), so it hears nothing anyway")
    found = {"silence": _routed_on(subject, silence)}
    if "audio" in settings:
        with _deafened(subject.policy):
            found["no_audio"] = _routed_on(subject, zeroed)
    return found


def _routed_on(subject: Subject, change: Callable[[Clip], Clip]) -> dict[str, Any]:
    batches = (replace(batch, clips=tuple(map(change, batch.clips))) for batch in subject.batches())
    chosen = best_actions(cards.chances(subject.policy, batches))
    return figures.beside(rivals.score("routed", subject.table, chosen), subject.routed)


def silence(clip: Clip) -> Clip:
    """Silence as long as a clip; the same for every clip of that length."""
    samples = np.zeros_like(clip.samples)
    return replace(clip, samples=samples, fingerprint=fingerprint(samples, clip.sample_rate))


def zeroed(clip: Clip) -> Clip:
    """A clip of which nothing is heard, under a name of its own in what a router keeps."""
    still = silence(clip)
    return replace(still, fingerprint=f"{DEAF}{still.fingerprint}")


@contextmanager
def _deafened(policy: Any) -> Iterator[None]:
    """The no-audio setting for the length of the block."""
    before = policy.settings["audio"]
    policy.settings["audio"] = "zero"
    try:
        yield
    finally:
        policy.settings["audio"] = before


def reasoner_hearing(subject: Subject) -> dict[str, Any]:
    """The Reasoner on silence, and without the clip; tools and router hear as before."""
    data = subject.datamodule
    wanted = np.zeros_like(subject.table.valid)
    wanted[:, 0] = True
    wanted[np.arange(len(wanted)), statistics.effective(subject.table, subject.actions)] = True
    asked = {"silence": ask(data, subject.table, wanted, "on silence", load=Silenced(data.clip))}
    deaf = without_audio(data.reasoner)
    if deaf is not None:
        asked["no_audio"] = ask(data, subject.table, wanted, "no audio", reasoner=deaf)
    return {name: _deaf(subject, again) for name, again in asked.items()}


def _deaf(subject: Subject, again: Mapping[tuple[int, int], Outcome]) -> dict[str, Any]:
    """Direct and routed answers of a Reasoner under a control, on questions that it answered."""
    found = {}
    used = statistics.effective(subject.table, subject.actions)
    for name, columns in (("direct", np.zeros_like(used)), ("routed", used)):
        cells = [(row, int(column)) for row, column in enumerate(columns)]
        rows = [row for row, cell in enumerate(cells) if cell in again and _answered(again[cell])]
        right = np.array([again[cells[row]].correct for row in rows], dtype=np.float64)
        base = subject.evaluation.scored[name]
        called = base.called[rows]
        found[name] = figures.beside(
            Scored(name, right, called), Scored(name, base.right[rows], called)
        )
        found[name]["questions"] = len(rows)
    return found


def _answered(outcome: Outcome) -> bool:
    return outcome.state == "ok"
