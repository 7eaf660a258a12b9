"""The policies that a trained router is compared with, each over an outcome table.

A rival says, for every question, which action it takes; what that earns is read from the table.
Nothing here is trained by gradient and nothing imports torch: the text router, the untrained
router and the deaf one are made elsewhere and enter as actions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routerlab import statistics
from routerlab.errors import UserError
from routerlab.types import DIRECT, OutcomeTable, Question, ToolCard

Actions = NDArray[np.int64]

SHRINK = 4.0
"""Pseudo-questions by which a cell's estimate is drawn to its family's: small cells are luck."""


@dataclass(frozen=True)
class Scored:
    """What a policy does on N questions.

    Attributes:
        right: [N] 0 or 1, or the expected value of a policy that draws lots.
        called: [N] whether (or how likely) a tool is called.
        actions: [N] columns of the table, None where there is no single action.
    """

    name: str
    right: NDArray[np.float64]
    called: NDArray[np.float64]
    actions: Actions | None = None

    @property
    def accuracy(self) -> float:
        """Share of right answers; NaN on no questions."""
        return float(self.right.mean()) if len(self.right) else float("nan")

    @property
    def call_rate(self) -> float:
        """Share of questions on which a tool is called."""
        return float(self.called.mean()) if len(self.called) else float("nan")


def earned(table: OutcomeTable) -> NDArray[np.bool_]:
    """Correctness [N, A] with the fallback: where a tool failed, direct's answer counts."""
    columns = [statistics.routed(table, statistics.always(table, a)) for a in table.actions]
    return np.stack(columns, axis=1)


def score(name: str, table: OutcomeTable, actions: Actions) -> Scored:
    """What `actions` [N] earn on the table."""
    picked = np.asarray(actions, dtype=np.int64)
    right = statistics.routed(table, picked)
    return Scored(name, right.astype(np.float64), (picked > 0).astype(np.float64), picked)


def constant(name: str, table: OutcomeTable, action: str) -> Scored:
    """Always the same action."""
    return score(name, table, statistics.always(table, action))


def uniform(table: OutcomeTable) -> Scored:
    """An action drawn evenly: its exact expected value, no lots drawn."""
    right = earned(table).mean(axis=1)
    share = 1.0 - 1.0 / len(table.actions)
    return Scored("random", right, np.full(len(table), share))


def best_tool(train: OutcomeTable) -> str:
    """The tool that, forced on every question of `train`, is right most often."""
    accuracy = statistics.action_accuracy(train)
    return max(train.actions[1:], key=accuracy.__getitem__, default=DIRECT)


def oracle(table: OutcomeTable) -> Scored:
    """A right action where the row has one, direct first; raw, so inflated by luck."""
    return score("oracle", table, statistics.oracle_actions(table))


def keyword(table: OutcomeTable, cards: Sequence[ToolCard]) -> Scored:
    """The tool whose name or measure the question mentions, as surface keyword bias would."""
    return score("keyword", table, keyword_actions(table.questions, cards))


# --- keywords -------------------------------------------------------------------------------

_WORD = re.compile(r"[a-z]+")
_DULL = frozenset(
    _WORD.findall(
        """a an the and or of in on to is it its what which how does do did at by for with from this
    that are was were be as per than each not no any over one two level many much sound sounds
    clip audio"""
    )
)
_NAME_WEIGHT = 2.0


def keyword_actions(questions: Sequence[Question], cards: Sequence[ToolCard]) -> Actions:
    """For each question the action with most words in common with it; direct on none.

    A word of the tool's name counts twice as much as a word of what it measures, and a word that
    several cards share is divided among them.

    Args:
        cards: one a tool, in the order of the table's columns after direct.
    """
    weights = _keyword_weights(cards)
    actions = np.zeros(len(questions), dtype=np.int64)
    for row, question in enumerate(questions):
        words = _stems(question.question)
        hits = [sum(weight.get(word, 0.0) for word in words) for weight in weights]
        if hits and max(hits) > 0:
            actions[row] = 1 + int(np.argmax(hits))
    return actions


def _keyword_weights(cards: Sequence[ToolCard]) -> list[dict[str, float]]:
    weights: list[dict[str, float]] = []
    for card in cards:
        own = dict.fromkeys(_stems(card.measures), 1.0)
        own.update(dict.fromkeys(_stems(card.name), _NAME_WEIGHT))
        weights.append(own)
    shared = {word: sum(word in own for own in weights) for own in weights for word in own}
    return [{word: value / shared[word] for word, value in own.items()} for own in weights]


def _stems(text: str) -> set[str]:
    words = set(_WORD.findall(text.lower())) - _DULL
    return {_stem(word) for word in words}


def _stem(word: str) -> str:
    """Enough that "notes" meets "note" and "louder" meets "loudness".

    >>> [_stem(w) for w in ("notes", "louder", "loudness", "pitches", "beats")]
    ['note', 'loud', 'loud', 'pitch', 'beat']
    """
    for ending in ("ness", "ings", "ing", "est", "er", "es", "s"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= 4:
            return stem
    return word


# --- the best action by something known in advance -------------------------------------------


def best_by(
    keys: Sequence[str],
    table: OutcomeTable,
    parents: Sequence[str] | None = None,
    shrink: float = SHRINK,
) -> dict[str, str]:
    """The best action of each group of rows.

    A group's accuracy is drawn to its parent's by `shrink` pseudo-questions, and the parent's to
    the whole table's likewise; ties go to the earlier action, so to direct first.

    Args:
        keys: [N] the group of each row.
        parents: [N] a coarser group of each row; the whole table if None.
    """
    if not len(table):
        return {}
    right = earned(table).astype(np.float64)
    whole = right.mean(axis=0)
    names = np.asarray(parents if parents is not None else [""] * len(table))
    coarse = {p: _drawn(right[names == p], whole, shrink) for p in np.unique(names)}
    keyed = np.asarray(keys)
    best: dict[str, str] = {}
    for key in np.unique(keyed):
        rows = np.flatnonzero(keyed == key)
        means = _drawn(right[rows], coarse[names[rows[0]]], shrink)
        best[str(key)] = table.actions[int(means.argmax())]
    return best


def apply(
    name: str, table: OutcomeTable, keys: Sequence[str], best: Mapping[str, str], default: str
) -> Scored:
    """The policy that takes each group's best action, and `default` in an unknown group."""
    columns = [table.column(best.get(key, default)) for key in keys]
    return score(name, table, np.asarray(columns, dtype=np.int64))


def wording_keys(questions: Sequence[Question]) -> list[str]:
    """The template of each question; what is put before it ("family/3+trap") is left off."""
    return [(q.wording or q.question).split("+")[0] for q in questions]


def cell_keys(questions: Sequence[Question], truth: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The latent cell of each question, from the truth beside a generated split."""
    return [str(truth[q.id]["cell"]) for q in questions]


def family_of(cell: str) -> str:
    """A cell's family: what stands before the first slash."""
    return cell.split("/", 1)[0]


def best_overall(table: OutcomeTable) -> str:
    """The single action, direct among them, that is right most often."""
    accuracy = statistics.action_accuracy(table)
    return max(table.actions, key=accuracy.__getitem__)


def by_wording(train: OutcomeTable, table: OutcomeTable) -> Scored:
    """The best action per wording, chosen on `train`: all that a question's text can tell."""
    best = best_by(wording_keys(train.questions), train)
    keys = wording_keys(table.questions)
    return apply("best_by_wording", table, keys, best, best_overall(train))


def _drawn(
    right: NDArray[np.float64], towards: NDArray[np.float64], shrink: float
) -> NDArray[np.float64]:
    means: NDArray[np.float64] = (right.sum(axis=0) + shrink * towards) / (len(right) + shrink)
    return means


# --- the shipped map: latent cell -> best action ---------------------------------------------

PREDICTABLE_FILE = Path(__file__).parent / "embedded" / "predictable.json"


@dataclass(frozen=True)
class PredictableMap:
    """The best action per latent cell, fitted on a fresh table from a seed of its own.

    Attributes:
        lalm: fingerprint of the model whose answers filled the table.
        tools: name -> version of the tools whose outputs it read.
        actions: cell -> action, for data drawn as `test` is.
        ood: cell -> action, for data drawn as `test_ood` is.
        wordings: wording -> action on the same table, for the gate that compares the two.
    """

    lalm: str
    tools: Mapping[str, str]
    actions: Mapping[str, str]
    ood: Mapping[str, str] = field(default_factory=dict)
    wordings: Mapping[str, str] = field(default_factory=dict)
    questions: int = 0
    seed: int = 0

    @classmethod
    def load(cls, path: Path = PREDICTABLE_FILE) -> PredictableMap:
        """Read a map.

        Raises:
            UserError: when there is no such file.
        """
        if not path.is_file():
            raise UserError(
                f"predictable: no map {path.name}. Make one: routerlab data predictable --n 4000"
            )
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def as_json(self) -> dict[str, Any]:
        """The map in JSON's types."""
        return asdict(self)

    def mismatch(self, lalm: str, tools: Mapping[str, str]) -> str:
        """Why the map says nothing about this LALM and these tools; "" when it does."""
        if lalm != self.lalm:
            return f"made for LALM {self.lalm[:12]}, this is {lalm[:12]}"
        if dict(tools) != dict(self.tools):
            differ = sorted(set(tools.items()) ^ set(self.tools.items()))
            return f"made for other tools or versions: {', '.join(sorted({n for n, _ in differ}))}"
        return ""

    def policy(
        self,
        table: OutcomeTable,
        truth: Mapping[str, Mapping[str, Any]],
        lalm: str,
        tools: Mapping[str, str],
        *,
        shifted: bool = False,
    ) -> Scored:
        """The predictable router on a table.

        Raises:
            UserError: in one line, when the map or the truth does not fit the table.
        """
        reason = self.mismatch(lalm, tools)
        if not truth:
            reason = "the data has no truth file (only generated data has)"
        if reason:
            raise UserError(f"predictable: {reason}")
        cells = cell_keys(table.questions, truth)
        known = self.ood if shifted else self.actions
        if new := {family_of(cell) for cell in cells} - {family_of(cell) for cell in known}:
            raise UserError(f"predictable: the map has no questions about {', '.join(sorted(new))}")
        return apply("predictable", table, cells, known, DIRECT)


def fit_cells(table: OutcomeTable, truth: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The best action of each latent cell, a small cell leaning on its family."""
    cells = cell_keys(table.questions, truth)
    return best_by(cells, table, [family_of(cell) for cell in cells])
