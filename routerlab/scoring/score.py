"""A prediction file's scores: official, strict and letter, in all and by the benchmark's groups.

The official score is the published rule on every row; the strict one is the option that the words
mean, compared exactly; the letter is what the model wrote, read as a letter. Pure: records in,
counts out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from routerlab.answers import ambiguous, official_match, read_answer, read_letter, strict_match
from routerlab.scoring.predictions import Prediction
from routerlab.types import Question

RULES = ("official", "strict", "letter")


@dataclass(frozen=True)
class Group:
    """How a benchmark groups its questions.

    Attributes:
        title: of its table.
        order: names in the order of the benchmark's script; others follow as they come.
    """

    title: str
    of: Callable[[Question], str]
    order: tuple[str, ...] = ()


_SUB = Group("sub-category", lambda q: q.sub_category)

GROUPS: Mapping[str, tuple[Group, ...]] = {
    "mmau": (
        Group("task", lambda q: q.task, ("sound", "music", "speech")),
        Group("difficulty", lambda q: q.difficulty, ("easy", "hard", "medium")),
        _SUB,
    ),
    "mmar": (
        Group(
            "modality",
            lambda q: q.task,
            (
                "sound",
                "music",
                "speech",
                "mix-sound-music",
                "mix-sound-speech",
                "mix-music-speech",
                "mix-sound-music-speech",
            ),
        ),
        Group(
            "category",
            lambda q: q.category,
            ("Signal Layer", "Perception Layer", "Semantic Layer", "Cultural Layer"),
        ),
        _SUB,
    ),
}
"""Benchmark -> the groups of its official tables."""


@dataclass
class Tally:
    """Counts over some rows."""

    rows: int = 0
    right: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RULES, 0))

    def add(self, verdict: Mapping[str, bool]) -> None:
        """One more row."""
        self.rows += 1
        for rule in RULES:
            self.right[rule] += verdict[rule]

    def share(self, rule: str) -> float:
        """Accuracy under a rule, in [0, 1]; NaN without rows."""
        return self.right[rule] / self.rows if self.rows else float("nan")


@dataclass(frozen=True)
class Scores:
    """What a prediction file earned.

    Attributes:
        groups: title of a table -> name -> counts.
        missing: rows without a prediction; wrong here, passed over by the benchmark's script.
        unparsed: rows whose words name no option, or several.
        letters: rows that name a letter; without any, the letter score says nothing.
        ambiguous: rows on which the official rule takes a wrong option too.
        lenient: rows that are right by the official rule and wrong by the strict one.
    """

    total: Tally
    groups: Mapping[str, Mapping[str, Tally]]
    missing: int
    unparsed: int
    letters: int
    ambiguous: int
    lenient: int

    @property
    def official_without_missing(self) -> float:
        """Accuracy over the rows that have a prediction, as the benchmark's script has it."""
        counted = self.total.rows - self.missing
        return self.total.right["official"] / counted if counted else float("nan")

    def as_json(self) -> dict[str, Any]:
        """Every count and share, for a file."""
        return {
            **_figures(self.total),
            "missing": self.missing,
            "unparsed": self.unparsed,
            "letters": self.letters,
            "ambiguous": self.ambiguous,
            "official_but_not_strict": self.lenient,
            "groups": {
                title: {name: _figures(tally) for name, tally in named.items()}
                for title, named in self.groups.items()
            },
        }


def score(predictions: Sequence[Prediction], benchmark: str) -> Scores:
    """Score every row; one without a prediction is wrong by every rule.

    Args:
        benchmark: a key of `GROUPS`.
    """
    total = Tally()
    groups: dict[str, dict[str, Tally]] = {
        group.title: {name: Tally() for name in group.order} for group in GROUPS[benchmark]
    }
    counts: dict[str, int] = defaultdict(int)
    for it in predictions:
        verdict = _verdict(it)
        total.add(verdict)
        for group in GROUPS[benchmark]:
            groups[group.title].setdefault(group.of(it.question), Tally()).add(verdict)
        counts["missing"] += it.text is None
        counts["unparsed"] += verdict["unparsed"]
        counts["letters"] += verdict["letters"]
        counts["lenient"] += verdict["official"] and not verdict["strict"]
        counts["ambiguous"] += ambiguous(it.question.answer, it.question.choices)
    names = ("missing", "unparsed", "letters", "ambiguous", "lenient")
    return Scores(total, groups, **{name: counts[name] for name in names})


def _verdict(it: Prediction) -> dict[str, bool]:
    question, text = it.question, it.text or ""
    read, letter = read_answer(text, question.choices), read_letter(it.raw, question.choices)
    return {
        "official": official_match(text, question.answer, question.choices),
        "strict": read.choice is not None and strict_match(read.text, question.answer),
        "letter": letter is not None and strict_match(question.choices[letter], question.answer),
        "unparsed": read.choice is None,
        "letters": letter is not None,
    }


def _figures(tally: Tally) -> dict[str, Any]:
    return {
        "questions": tally.rows,
        "right": dict(tally.right),
        "accuracy": {rule: tally.share(rule) for rule in RULES},
    }
