"""The records that travel from a question to the report: small, frozen, free of torch.

    Question ─► Observation ─► Answer ─► Outcome ─► OutcomeTable ─► reward, survey, report

Indices into a row of actions are the same everywhere: column 0 is `DIRECT`, column k is the k-th
named tool of the recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

DIRECT = "direct"
"""The action of answering without a tool. Always column 0."""

ALL_OUTPUTS = "all_outputs"
"""A pseudo-action for comparison: every tool's output at once. Never offered to a router."""

State: TypeAlias = Literal["ok", "tool_error", "reasoner_error"]


@dataclass(frozen=True)
class Clip:
    """Decoded sound, bounded and resampled by `routerlab.audio`.

    Attributes:
        samples: float32 [n], mono, finite, nominally in [-1, 1].
        sample_rate: Hz.
        fingerprint: SHA-256 (hex) of the decoded samples and rate; the path does not enter.
        cut_seconds: how much of the end was dropped at the seconds limit, 0.0 if nothing.
        path: where it came from, for messages only.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    fingerprint: str
    cut_seconds: float = 0.0
    path: str = ""

    @property
    def seconds(self) -> float:
        """Length of what was kept, in seconds."""
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class Question:
    """One multiple-choice question about one sound file.

    Attributes:
        choices: at least two option texts, in the order in which they are shown.
        answer: the gold option's text; one of `choices`. Never reaches a tool, reasoner or router.
        wording: which template the text came from, where the data says so; used only in analysis.
    """

    id: str
    audio: str
    question: str
    choices: tuple[str, ...]
    answer: str
    task: str = ""
    category: str = ""
    sub_category: str = ""
    difficulty: str = ""
    split: str = ""
    wording: str = ""

    @property
    def gold(self) -> int:
        """Index of the gold option (the first, if options repeat)."""
        return self.choices.index(self.answer)


@dataclass(frozen=True)
class ToolCard:
    """What a router and a reader may know of a tool.

    Attributes:
        name: the action's name, unique among a recipe's tools.
        measures: what it measures, a short phrase.
        unit: the unit of its main value ("Hz and note name", "events").
        stops_at: where it stops being right; what it does not measure.
        sees_choices: whether `run` is given the question's options too: `run(clip, choices)`. They
            then enter the observation's cache key. The answer is never given.
        needs: extras or packages beyond the core, as `pip install` names them ("routerlab[tools]").
        licence: of the algorithm or weights; "" for routerlab's own, or not said.
    """

    name: str
    measures: str
    unit: str
    stops_at: str
    sees_choices: bool = False
    needs: tuple[str, ...] = ()
    licence: str = ""

    def __post_init__(self) -> None:
        """A card read from JSON has a list, one of an older file a text."""
        needs = self.needs.split() if isinstance(self.needs, str) else self.needs
        object.__setattr__(self, "needs", tuple(needs))


@dataclass(frozen=True)
class Observation:
    """A tool's output for one clip.

    Attributes:
        tool: the name of the tool instance (the action).
        values: JSON-serialisable; keys carry the unit (`f0_hz`, `tempo_bpm`); a count is `count`.
        text: what the reasoner reads: short, with units, and saying what was not found.
        version: package version + weight revision + settings; part of the cache key.
        error: "" or "kind: message" of a ToolError; then `values` is empty and `text` is "".
        seconds: wall-clock time of the call.
    """

    tool: str
    values: Mapping[str, Any]
    text: str
    version: str
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Answer:
    """A reasoner's answer, read.

    Attributes:
        choice: index into the question's own `choices` (permutations undone); None if unparsed.
        text: the chosen option's text, "" if unparsed.
        raw: what the model wrote, or "" under `likelihood`.
        log_probs: one a choice in the question's own order (the protocol's score), or ().
        read: how it was read: "likelihood", "exact", "letter", "tag", "contained", "unparsed".
    """

    choice: int | None
    text: str
    raw: str = ""
    log_probs: tuple[float, ...] = ()
    read: str = "likelihood"


@dataclass(frozen=True)
class Outcome:
    """One cell of the outcome table: what happened to one question under one action.

    Attributes:
        correct: strict match of the answer with gold; False unless `state` is "ok".
        replicate: 0, or the number of a run with permuted options.
        seconds: of the reasoner's part of this cell.
        cut_seconds: how much of the clip's end was dropped at the seconds limit.
    """

    question_id: str
    action: str
    state: State
    correct: bool
    answer: Answer | None = None
    observation: Observation | None = None
    replicate: int = 0
    seconds: float = 0.0
    error: str = ""
    cut_seconds: float = 0.0


@dataclass(frozen=True)
class OutcomeTable:
    """Correctness of every question under every action.

    Attributes:
        questions: N questions, in order.
        actions: K+1 names; `actions[0]` is "direct".
        correct: bool [N, K+1]; False where not valid.
        valid: bool [N, K+1]; False where infrastructure failed (masked in training).
        cells: {(question_id, action): Outcome}, for the records behind the table.
    """

    questions: tuple[Question, ...]
    actions: tuple[str, ...]
    correct: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    cells: Mapping[tuple[str, str], Outcome] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        questions: Sequence[Question],
        actions: Sequence[str],
        cells: Mapping[tuple[str, str], Outcome],
    ) -> OutcomeTable:
        """Build from outcomes; a missing cell is a KeyError (a bug, not a user's mistake)."""
        grid = [[cells[q.id, a] for a in actions] for q in questions]
        shape = (len(questions), len(actions))
        correct = np.array([[c.correct for c in row] for row in grid], dtype=bool).reshape(shape)
        valid = np.array([[c.state == "ok" for c in row] for row in grid], dtype=bool)
        return cls(tuple(questions), tuple(actions), correct, valid.reshape(shape), cells)

    def __len__(self) -> int:
        return len(self.questions)

    @cached_property
    def chances(self) -> NDArray[np.float64]:
        """How probable the reasoner found the gold option, [N, K+1] in [0, 1]; 0 where not valid.

        The softmax over the options' scores. A row with an answer without scores has what is right
        instead (0 or 1), so that the actions of a row are always compared by one measure.
        """
        found = self.correct.astype(np.float64)
        for row, question in enumerate(self.questions):
            asked = np.flatnonzero(self.valid[row])
            cells = [self.cells.get((question.id, self.actions[action])) for action in asked]
            scores = [c.answer.log_probs if c and c.answer else () for c in cells]
            if all(scores):
                found[row, asked] = [_softmax(each)[question.gold] for each in scores]
        return found

    def outcome(self, row: int, action: int) -> Outcome:
        """The record behind one cell."""
        return self.cells[self.questions[row].id, self.actions[action]]

    def select(self, rows: Sequence[int] | NDArray[Any]) -> OutcomeTable:
        """The table of some rows, in the order given (a boolean mask works too)."""
        picked = np.arange(len(self))[np.asarray(rows)]
        return replace(
            self,
            questions=tuple(self.questions[i] for i in picked),
            correct=self.correct[picked],
            valid=self.valid[picked],
        )

    def column(self, action: str) -> int:
        """Index of an action's column; ValueError if there is none."""
        return self.actions.index(action)


def _softmax(scores: Sequence[float]) -> NDArray[np.float64]:
    odds = np.exp(np.asarray(scores) - max(scores))
    return np.asarray(odds / odds.sum())


@dataclass(frozen=True)
class QuestionBatch:
    """What the router sees of B questions, and where their outcomes stand.

    A plain frozen dataclass inside a batch crashes Lightning's `apply_to_collection`; a batch
    object with `.to()` is moved as one (Lightning calls `.to(device)` on it).

    Attributes:
        questions: B questions, without their sound.
        clips: B clips.
        valid: torch.bool [B, K+1] or None at inference.
        rows: row of each question in its outcome table.
    """

    questions: tuple[Question, ...]
    clips: tuple[Clip, ...]
    valid: Any = None
    rows: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.questions)

    def to(self, device: Any, non_blocking: bool = False) -> QuestionBatch:
        """The same batch with its tensors on `device`."""
        moved = {
            f.name: getattr(self, f.name).to(device, non_blocking=non_blocking)
            for f in fields(self)
            if hasattr(getattr(self, f.name), "to")
        }
        return replace(self, **moved)

    def __iter__(self) -> Iterator[Question]:
        return iter(self.questions)
