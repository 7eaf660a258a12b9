"""The folder of a run that never ran: real tables, figures and files, drawn questions and answers.

What the page's tests open. `python tests/page_run.py FOLDER N` writes one to look at.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from routerlab import rivals
from routerlab.data.writers import write_json, write_lines
from routerlab.report import results
from routerlab.report.evaluation import Evaluation
from routerlab.types import Answer, Observation, Outcome, OutcomeTable, Question

ACTIONS = ("direct", "pitch", "chord", "tempo", "onsets")
FAMILIES = {"note": 1, "triad quality": 2, "tempo": 3, "number of events": 4, "louder part": 0}
"""Category -> the column of the tool that measures it; 0 for none."""

HOSTILE = (
    '</script><script>window.hit="script"</script><img src=x onerror="window.hit=\'img\'">'
    "<!--<b id=hit>&lt;\u2028'\""
)
"""Text that would run, break out of a script element or make an element if it were markup."""


def write_run(
    folder: Path, count: int = 60, spice: str = "", clips: int = 4, ood: bool = True
) -> Path:
    """Write a tested run's folder.

    Args:
        count: questions of `test`; `ood` has half as many.
        spice: put after every text that comes from data.
        clips: sound files, in turn one a question; 0 for a run whose clips are gone.
    """
    sounds = [_tone(folder / f"audio/{i}.wav", 220.0 * (i + 1)) for i in range(clips)]
    rows: list[dict[str, Any]] = []
    evaluations = {}
    for split, size in (("test", count), ("ood", count // 2 if ood else 0)):
        if size:
            table, chances = _table(split, size, spice, sounds)
            evaluations[split] = _evaluation(table, chances)
            rows += results.prediction_rows(split, evaluations[split], chances)
    figures = results.split_results(evaluations["test"])
    if ood:
        figures["ood"] = results.split_results(evaluations["ood"])
    figures |= {"seed": 0, "seconds": {"survey": 2.0, "train": 60.0, "total": 90.0}}
    asked = {split: Path(sounds[0] if sounds else __file__) for split in evaluations}
    results.write_run(folder, figures, rows, results.scores(evaluations, asked))
    _beside(folder, spice)
    return folder


def _table(
    split: str, size: int, spice: str, sounds: Sequence[Path]
) -> tuple[OutcomeTable, np.ndarray]:
    """Questions with every action's outcome, and a router that has learnt most of it."""
    rng = np.random.default_rng(len(split))
    questions, cells, chances = [], {}, np.zeros((size, len(ACTIONS)), dtype=np.float32)
    for i in range(size):
        family, best = list(FAMILIES.items())[i % len(FAMILIES)]
        choices = tuple(f"{name} {i}{spice}" for name in ("first", "second", "third", "fourth"))
        gold = int(rng.integers(4))
        question = Question(
            id=f"{split}-{i}{spice}",
            audio=str(sounds[i % len(sounds)] if sounds else Path("gone.wav")),
            question=f"Which {family} is heard in clip {i}?{spice}",
            choices=choices,
            answer=choices[gold],
            category=family + spice,
            sub_category="plain" + spice,
            difficulty=("easy", "hard")[i % 2],
        )
        questions.append(question)
        for column, action in enumerate(ACTIONS):
            right = rng.random() < (0.95 if column == best and column else 0.55)
            said = gold if right else (gold + 1 + int(rng.integers(3))) % 4
            cells[question.id, action] = _outcome(question, action, said, right, spice)
        wanted = best if rng.random() < 0.85 else int(rng.integers(len(ACTIONS)))
        chances[i] = rng.dirichlet(np.where(np.arange(len(ACTIONS)) == wanted, 9.0, 0.5))
    return OutcomeTable.of(questions, ACTIONS, cells), chances


def _outcome(question: Question, action: str, said: int, right: bool, spice: str) -> Outcome:
    seen = None
    if action != "direct":
        text = f"{action}: about {len(question.id)}{spice}"
        seen = Observation(action, {"value": 440.0, "name": "A4" + spice}, text, "1" + spice)
    answer = Answer(said, question.choices[said])
    return Outcome(question.id, action, "ok", bool(right), answer, seen)


def _evaluation(table: OutcomeTable, chances: np.ndarray) -> Evaluation:
    scored = {
        "direct": rivals.constant("direct", table, "direct"),
        "random": rivals.uniform(table),
        "best_tool": rivals.constant("best_tool", table, "tempo"),
        "text": rivals.score("text", table, np.roll(chances.argmax(axis=1), 1)),
        "routed": rivals.score("routed", table, chances.argmax(axis=1)),
        "oracle": rivals.oracle(table),
    }
    return Evaluation(table, scored, {"predictable": "no truth file"}, cross_fitted=0.9)


def _beside(folder: Path, spice: str) -> None:
    """The files beside the results: metrics, cards, versions, recipe."""
    steps = range(5, 105, 5)
    write_lines(
        folder / results.METRICS,
        [{"step": s, "train/loss": 1 / s, "train/entropy": 2 - s / 100} for s in steps]
        + [{"step": 100, "val/accuracy": 0.8, "val/call_rate": 0.7}],
    )
    cards = [
        {"name": name, "measures": f"the {name}{spice}", "unit": "Hz", "stops_at": f"noise{spice}"}
        for name in ACTIONS
    ]
    write_json(folder / "adapters/last/router.json", {"cards": cards})
    write_json(folder / results.MANIFEST, {"routerlab": "0", "tools": {"pitch": "1" + spice}})
    write_json(folder / "run.json", {"recipe": "drawn" + spice, "status": "finished"})
    (folder / "recipe.yaml").write_text(f"seed_everything: 0  # {spice}\n", encoding="utf-8")


def _tone(path: Path, hertz: float, seconds: float = 0.6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(16_000 * seconds)) / 16_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * time), 16_000)
    return path.resolve()


if __name__ == "__main__":
    print(write_run(Path(sys.argv[1]), int(sys.argv[2])))
