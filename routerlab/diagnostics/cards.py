"""Does a router read its cards? The same trained router, shown other cards at test time.

    labels exchanged, words kept       a reader's choice follows the card           (should stay)
    texts exchanged between tools      a reader calls the tool that is described    (should break)
    names taken away, texts reworded   the meaning is all that is left              (should stay)
    decoys and a new tool added        nothing was trained on these cards

Cards only: no outcome is asked here. A router with fixed labels may know them by heart, so these
figures mean something only for one trained with `shuffle_labels`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from routerlab.policy.prompt import LABELS
from routerlab.types import DIRECT, QuestionBatch, ToolCard

Cards: TypeAlias = tuple[ToolCard, ...]
Chances: TypeAlias = NDArray[np.float32]
Batches: TypeAlias = Callable[[], Iterable[QuestionBatch]]

ORDERS = 3
"""Orders of labels that are tried; figures are their mean."""

DECOYS = (
    ToolCard("humidity", "how damp the air was in the room", "percent", "not outdoors"),
    ToolCard("battery", "how full the recorder's battery was", "percent", "old recorders"),
)
"""Tools that can help with no question about sound."""

PARAPHRASES = {
    "pitch": ("names each tone of a single melody line, how well in tune, and when", "chords"),
    "chord": ("the harmony: root and type of the chord, and the probable key", "a lone tune"),
    "tempo": ("speed of a steady beat, and how many beats there are", "fewer than four strokes"),
    "onsets": ("counts attacks, with the moment of each and the time between", "soft entries"),
    "loudness": ("level of the recording and whether it grows or fades", "anything but level"),
    "segments": ("beginning, end, length and level of each piece of sound", "noisy gaps"),
    "brightness": ("whether the timbre is dull or sharp: the centre of its spectrum", "noise"),
    "quality": ("cleanness of the recording: hiss, distortion, bandwidth", "no silent spots"),
}
"""Tool -> what it measures and where it stops, in other words than its card's."""


# --- other cards ------------------------------------------------------------------------------


def exchanged(cards: Cards) -> Cards:
    """Every tool under the next one's name and text; direct stays.

    >>> [c.name for c in exchanged(tuple(ToolCard(n, "", "", "") for n in "abc"))]
    ['b', 'c', 'a']
    """
    return tuple(cards[(i + 1) % len(cards)] for i in range(len(cards)))


def anonymous(cards: Cards) -> Cards:
    """Every tool named by its number; what it measures and where it stops is still said."""
    return tuple(replace(card, name=f"tool {i + 1}") for i, card in enumerate(cards))


def paraphrased(cards: Cards) -> Cards:
    """The cards in other words: by hand for tools that come along, else in another frame."""
    return tuple(_reworded(card) for card in cards)


def _reworded(card: ToolCard) -> ToolCard:
    if card.name in PARAPHRASES:
        measures, stops_at = PARAPHRASES[card.name]
        return replace(card, measures=measures, unit="", stops_at=stops_at)
    return replace(
        card,
        measures=f"call it to learn {card.measures}, given as {card.unit or 'text'}",
        unit="",
        stops_at=f"cases such as: {card.stops_at}",
    )


def with_decoys(cards: Cards) -> Cards:
    """The cards and as many decoys as there are labels left for."""
    room = len(LABELS) - 1 - len(cards)
    return (*cards, *DECOYS[: max(0, room)])


# --- asking -----------------------------------------------------------------------------------


def reads_cards(policy: Any) -> bool:
    """Whether a router was trained so that it has to read its cards."""
    return bool(getattr(policy, "shuffle_labels", False)) and hasattr(policy, "configure")


def chances(policy: Any, batches: Iterable[QuestionBatch]) -> Chances:
    """π of a policy over some batches, [N, A]."""
    return _asked(policy, batches, policy.probabilities)


def under_other_labels(policy: Any, batches: Batches, seed: int = 0) -> list[Chances]:
    """π in action order, with the cards under other labels, once for each of some orders."""
    count, found = len(policy.cards), []
    for turn in range(ORDERS):
        order = _order(count, [seed, turn])

        def ask(batch: QuestionBatch, order: Sequence[int] = order) -> torch.Tensor:
            return policy(batch, order).softmax(-1)  # type: ignore[no-any-return]

        found.append(_asked(policy, batches(), ask))
    return found


def _order(count: int, seed: Sequence[int]) -> list[int]:
    """A permutation that leaves no card under its own label."""
    rng, own = np.random.default_rng(seed), np.arange(count)
    order = np.roll(own, 1)
    for _ in range(100):
        drawn = rng.permutation(count)
        if (drawn != own).all():
            order = drawn
            break
    return [int(i) for i in order]


@contextmanager
def shown(policy: Any, cards: Cards) -> Iterator[None]:
    """Show a router other tools' cards inside the block; afterwards all is as it was.

    A label's own attraction was measured before training; that of a label which was not there then
    is taken to be the mean of the others.
    """
    before, centre = policy.cards, policy.centre
    policy.configure(cards)
    known = centre[: len(policy.cards)]
    more = len(policy.cards) - len(known)
    policy.centre = torch.cat([known, centre.mean().repeat(more)])
    try:
        yield
    finally:
        policy.configure(before)
        policy.centre = centre


def _asked(
    policy: torch.nn.Module,
    batches: Iterable[QuestionBatch],
    ask: Callable[[QuestionBatch], torch.Tensor],
) -> Chances:
    was_training = policy.training
    policy.eval()
    try:
        with torch.no_grad():
            return np.concatenate([ask(batch).float().cpu().numpy() for batch in batches])
    finally:
        policy.train(was_training)


def own_cards(policy: Any) -> Cards:
    """The tools' cards that a router was trained with, direct's left out."""
    return tuple(card for card in policy.cards if card.name != DIRECT)
