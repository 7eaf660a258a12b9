"""Text-only schooling: pick the label whose line fits, so that the LALM can read labelled cards.

The words come from a general vocabulary (animals, food, everyday measures). No card of a shipped
tool, no question about sound and no hint of routing is in here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routerlab.policy.prompt import CUE, INSTRUCTION, LABELS, card_text, label_text
from routerlab.types import ToolCard

_QUANTITIES = (
    ("weight", "grams", ("how heavy is the {o}?", "what does the {o} weigh?")),
    ("height", "cm", ("how tall is the {o}?", "how high does the {o} reach?")),
    ("temperature", "degrees", ("how warm is the {o}?", "is the {o} hot or cold?")),
    ("price", "coins", ("what does the {o} cost?", "how expensive is the {o}?")),
    ("age", "years", ("how old is the {o}?", "since when is the {o} there?")),
    ("colour", "colour name", ("what colour is the {o}?", "is the {o} red or blue?")),
    ("speed", "km/h", ("how fast is the {o}?", "how quickly does the {o} move?")),
    ("depth", "metres", ("how deep is the {o}?", "how far down is the {o}?")),
    ("taste", "word", ("how does the {o} taste?", "is the {o} sweet or bitter?")),
    ("owner", "name", ("who owns the {o}?", "whose is the {o}?")),
    ("place", "map square", ("where is the {o}?", "in which place is the {o}?")),
    ("origin", "country", ("where does the {o} come from?", "who sent the {o}?")),
    ("smell", "word", ("how does the {o} smell?", "what scent has the {o}?")),
    ("width", "cm", ("how wide is the {o}?", "how broad is the {o}?")),
    ("stock", "pieces", ("how many of the {o} are left?", "what is the number of the {o}?")),
    ("shape", "figure", ("what shape is the {o}?", "is the {o} round or square?")),
)

_THINGS = {
    "animal": "fox cow hen owl wolf goat crab bear mouse horse eagle snake",
    "food": "bread apple soup cheese rice honey egg cake plum fish salt pear",
    "vehicle": "car ship train sledge bicycle tram truck boat plane cart",
    "plant": "oak rose fern moss pine tulip grass ivy cactus lily",
    "place": "lake hill desert cave island forest harbour bridge tower river",
    "garment": "coat hat sock glove scarf shirt belt boot dress apron",
    "music maker": "violin drum flute horn harp piano bell guitar organ",
    "tool": "hammer saw spoon broom ladder rope needle brush key lamp",
}

_INSTRUCTIONS = (
    INSTRUCTION,
    INSTRUCTION,
    "Pick the line that fits. Lines:",
    "Choose the label that answers the question. Options:",
    "Which entry is meant? Entries:",
)

_CUES = (CUE, CUE, CUE, "label:", "line:")


@dataclass(frozen=True)
class TextTask:
    """One labelled list and a question about it.

    Attributes:
        system: instruction and list, in the router prompt's form.
        user: the question.
        cue: opens the answer.
        answer: the label, with the blank before it.
    """

    system: str
    user: str
    cue: str
    answer: str


def draw_task(rng: np.random.Generator) -> TextTask:
    """One task of a random sort, with random labels, order and number of lines."""
    count = int(rng.integers(2, 10))
    make = (_measure_cards, _measure_cards, _members, _quotes)[int(rng.integers(4))]
    lines, question = make(rng, count)
    order = rng.permutation(count)
    labels = _labels(rng, count)
    shown = "\n".join(
        f"{label_text(label)} {lines[line]}" for label, line in zip(labels, order, strict=True)
    )
    answer = labels[int(np.flatnonzero(order == 0)[0])]
    return TextTask(
        f"{_pick(rng, _INSTRUCTIONS)}\n{shown}", question, _pick(rng, _CUES), label_text(answer)
    )


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _labels(rng: np.random.Generator, count: int) -> list[str]:
    # Mostly the first letters in order, as the router has them; at times any letters.
    if rng.random() < 0.7:
        return list(LABELS[:count])
    return [LABELS[i] for i in rng.permutation(len(LABELS))[:count]]


def _all_things() -> list[str]:
    return [thing for things in _THINGS.values() for thing in things.split()]


def _measure_cards(rng: np.random.Generator, count: int) -> tuple[list[str], str]:
    """Cards of made-up measuring devices; line 0 is the one asked for."""
    things = _all_things()
    quantities = [int(q) for q in rng.permutation(len(_QUANTITIES))]
    asked, thing = quantities[0], _pick(rng, things)
    question = _pick(rng, _QUANTITIES[asked][2]).format(o=thing)
    if rng.random() < 0.5:  # the quantity decides, whatever the thing
        shown = [(q, "things") for q in quantities[:count]]
    else:  # same quantity with other things, or other quantities of the same thing
        others = [str(t) for t in rng.permutation([t for t in things if t != thing])]
        shown = [(asked, thing)]
        for i in range(1, count):
            shown.append((asked, others[i]) if rng.random() < 0.5 else (quantities[i], thing))
    return [_card(rng, q, t) for q, t in shown], _extra_choices(rng, question)


def _card(rng: np.random.Generator, quantity: int, thing: str) -> str:
    noun, unit, _ = _QUANTITIES[quantity]
    other = _pick(rng, _all_things())
    limit = _pick(rng, ("", f"more than one {other}", "darkness", f"a wet {other}", "great size"))
    name = _pick(rng, (noun, f"{noun} meter", _pick(rng, _all_things())))
    return card_text(ToolCard(name, f"{noun} of the {thing}", unit, limit))


def _extra_choices(rng: np.random.Generator, question: str) -> str:
    if rng.random() < 0.5:
        return question
    shown = " | ".join(str(w) for w in rng.permutation(_all_things())[: int(rng.integers(2, 5))])
    return f"{question}\nchoices: {shown}"


def _members(rng: np.random.Generator, count: int) -> tuple[list[str], str]:
    """Things of different sorts; line 0 is of the sort asked for."""
    sorts = [str(s) for s in rng.permutation(list(_THINGS))]
    lines = [_pick(rng, _THINGS[sorts[0]].split())]
    for i in range(1, count):
        lines.append(_pick(rng, _THINGS[sorts[1 + i % (len(sorts) - 1)]].split()))
    form = _pick(rng, ("which one is a {s}?", "find the {s}.", "look for a {s}"))
    return lines, form.format(s=sorts[0])


def _quotes(rng: np.random.Generator, count: int) -> tuple[list[str], str]:
    """Random phrases; the question repeats words of line 0."""
    words = [str(w) for w in rng.permutation(_all_things())]
    lines = [" ".join(words[3 * i : 3 * i + 3]) for i in range(count)]
    quoted = " ".join(words[: int(rng.integers(1, 4))])
    return lines, _pick(rng, ("which line says {q}?", "where is {q}?")).format(q=quoted)
