"""How long scoring takes: `python -m routerlab.scoring.bench` scores 10,000 made-up rows.

Reading the file is part of it, starting Python is not. The rows are worded in four ways, so that
exact options, sentences, letters and texts that name no option are all there.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from routerlab.scoring.predictions import read_predictions
from routerlab.scoring.score import Scores, score

ROWS = 10_000

_WORDS = ("low", "high", "rising", "falling", "bright", "dark", "slow", "fast", "guitar", "voice")


def make_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of a prediction file in MMAU's format; the same for the same seed."""
    rng = random.Random(seed)
    return [_row(rng, number) for number in range(count)]


def timed(path: Path) -> tuple[Scores, float, float]:
    """The scores of a file; seconds of the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    scores = score(read_predictions(path, "mmau").predictions, "mmau")
    return scores, time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    """Print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.json"
        path.write_text(json.dumps(make_rows(ROWS)), encoding="utf-8")
        scores, clock, processor = timed(path)
    loaded = "loaded" if "torch" in sys.modules else "not loaded"
    print(
        f"{scores.total.rows} rows: {clock:.2f} s, {processor:.2f} s of the processor; "
        f"torch {loaded}"
    )


def _row(rng: random.Random, number: int) -> dict[str, Any]:
    choices = [f"{' then '.join(rng.sample(_WORDS, 2))} {rng.randrange(900)}" for _ in range(4)]
    gold, said = rng.randrange(4), rng.randrange(4)
    wordings = (
        choices[said],
        f"The answer is {choices[said]}.",
        f"({'ABCD'[said]}) {choices[said]}",
        "It is hard to say.",
    )
    return {
        "id": str(number),
        "audio_id": f"./audio/{number}.wav",
        "question": f"What is heard in clip {number}?",
        "choices": choices,
        "answer": choices[gold],
        "task": rng.choice(("sound", "music", "speech")),
        "category": "Reasoning",
        "sub-category": rng.choice(_WORDS),
        "difficulty": rng.choice(("easy", "medium", "hard")),
        "model_output": wordings[number % 4],
    }


if __name__ == "__main__":
    main()
