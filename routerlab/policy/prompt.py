"""The router's prompt as text: cards under labels, then the question, then a cue for one label.

    system:  instruction, cards (the same for a whole batch)
    user:    clip, question, choices
    router:  "action:" and then one label

Knows nothing of token ids or models: `routerlab.policy.router` turns this text into ids.
Torch-free.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

from routerlab.errors import UserError
from routerlab.types import DIRECT, ToolCard

PROMPT_VERSION = "cards-1"
"""Stands in every saved router: a label's logit means nothing under another prompt."""

LABELS = tuple(string.ascii_uppercase)
"""One label an action; each must be a single token when written after a space."""

INSTRUCTION = "Pick the action that measures what is asked. Actions:"
CUE = "action:"

DIRECT_CARD = ToolCard(
    name=DIRECT,
    measures="answer by ear, no tool",
    unit="",
    stops_at="fine pitch, counts and times",
)


def one_line(text: str) -> str:
    """Text with every run of white space made one blank: data cannot forge a card."""
    return " ".join(text.split())


def with_direct(cards: Sequence[ToolCard]) -> tuple[ToolCard, ...]:
    """The cards in the order of the actions: direct's own card first, added where it is missing."""
    given = tuple(cards)
    return given if given and given[0].name == DIRECT else (DIRECT_CARD, *given)


def labels_for(actions: int) -> tuple[str, ...]:
    """The first labels, one an action.

    >>> labels_for(3)
    ('A', 'B', 'C')
    """
    if actions > len(LABELS):
        raise UserError(
            f"tools: {actions - 1} tools and direct need {actions} labels, "
            f"but there are {len(LABELS)}. Name at most {len(LABELS) - 1} tools."
        )
    return LABELS[:actions]


def label_text(label: str) -> str:
    """A label as it is written in the cards and after the cue: the same token in both places."""
    return f" {label}"


def card_text(card: ToolCard) -> str:
    """One card in one short line.

    >>> card_text(ToolCard("tempo", "beats per minute", "bpm", "fewer than four beats"))
    'tempo: beats per minute (bpm); stops at fewer than four beats'
    """
    unit = f" ({card.unit})" if card.unit else ""
    limit = f"; stops at {card.stops_at}" if card.stops_at else ""
    return one_line(f"{card.name}: {card.measures}{unit}{limit}")


def cards_text(
    cards: Sequence[ToolCard],
    labels: Sequence[str] | None = None,
    order: Sequence[int] | None = None,
) -> str:
    """The cards, a line each, in the order of the labels.

    Args:
        cards: one an action, in action order.
        labels: one an action; the first letters by default.
        order: `order[i]` is the action whose card stands under `labels[i]`.

    >>> print(cards_text([DIRECT_CARD, ToolCard("tempo", "beats", "bpm", "noise")], order=[1, 0]))
     A tempo: beats (bpm); stops at noise
     B direct: answer by ear, no tool; stops at fine pitch, counts and times
    """
    shown = labels_for(len(cards)) if labels is None else labels
    under = range(len(cards)) if order is None else order
    lines = (
        f"{label_text(label)} {card_text(cards[action])}"
        for label, action in zip(shown, under, strict=True)
    )
    return "\n".join(lines)


def system_text(
    cards: Sequence[ToolCard],
    labels: Sequence[str] | None = None,
    order: Sequence[int] | None = None,
) -> str:
    """The part of the prompt that a whole batch shares: instruction and cards."""
    return f"{INSTRUCTION}\n{cards_text(cards, labels, order)}"


def question_text(question: str, choices: Sequence[str]) -> str:
    """The question and its choices, as they follow the clip.

    >>> print(question_text("Which note?", ["C4", "E4"]))
    Which note?
    choices: C4 | E4
    """
    shown = " | ".join(one_line(choice) for choice in choices)
    return f"{one_line(question)}\nchoices: {shown}"
