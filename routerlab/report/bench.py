"""How long a survey's report takes: `python -m routerlab.report.bench` on 1,500 x 7 made-up cells.

From the exported table on disk to the whole text; starting Python and making the table are not part
of it. No torch is needed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from routerlab.report.outlook import Evidence, outlook
from routerlab.report.survey_tables import survey_text
from routerlab.table_files import read_table, write_table
from routerlab.types import Answer, Observation, Outcome, OutcomeTable, Question

QUESTIONS = 1_500
ACTIONS = ("direct", "pitch", "chord", "tempo", "onsets", "loudness", "segments")
TIMES = 3

_WORDS = ("which", "note", "tempo", "is", "last", "how", "many", "beats", "louder", "first", "key")


def make_table(questions: int, seed: int = 0) -> OutcomeTable:
    """A whole table, with options' scores and tools' outputs; the same for the same seed."""
    rng = np.random.default_rng(seed)
    asked = [_question(rng, number) for number in range(questions)]
    cells = {(q.id, action): _cell(rng, q, action) for q in asked for action in ACTIONS}
    return OutcomeTable.of(asked, ACTIONS, cells)


def timed(path: Path) -> tuple[str, float, float]:
    """The report of a table on disk; seconds of the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    table, replicates, together = read_table(path)
    text = survey_text(outlook(Evidence(table, replicates, together)), "Survey", ())
    return text, time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    """Print what it took, each time anew."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_table(Path(folder) / "table.jsonl", make_table(QUESTIONS))
        took = [timed(path)[1:] for _ in range(TIMES)]
    loaded = "loaded" if "torch" in sys.modules else "not loaded"
    for clock, processor in took:
        print(
            f"{QUESTIONS} x {len(ACTIONS)} cells: {clock:.2f} s, {processor:.2f} s of the "
            f"processor; torch {loaded}"
        )


def _question(rng: np.random.Generator, number: int) -> Question:
    choices = tuple(f"{rng.choice(_WORDS)} {rng.integers(900)} {sign}" for sign in "abcd")
    return Question(
        id=str(number),
        audio=f"./audio/{number}.wav",
        question=f"{' '.join(rng.choice(_WORDS, 9))}?",
        choices=choices,
        answer=choices[int(rng.integers(4))],
        task="music",
        category=f"category {number % 14}",
        difficulty=("easy", "medium", "hard")[number % 3],
    )


def _cell(rng: np.random.Generator, question: Question, action: str) -> Outcome:
    said = int(rng.integers(4))
    if rng.random() < 0.5:
        said = question.choices.index(question.answer)
    scores = tuple(rng.normal(size=4).tolist())
    answer = Answer(said, question.choices[said], question.choices[said], scores)
    seen = None
    if action != "direct":
        seen = Observation(action, {"value": float(rng.random())}, f"{action}: about A4", "1")
    right = question.choices[said] == question.answer
    return Outcome(question.id, action, "ok", right, answer, seen)


if __name__ == "__main__":
    main()
