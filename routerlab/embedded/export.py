"""What comes out of training: the exam's figures, the bf16 folder and its model card."""

from __future__ import annotations

import copy
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from routerlab.embedded.batch import Example


@dataclass
class Exam:
    """Right answers by "sort of prompt/family" on held-out clips."""

    marks: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))

    def add(self, example: Example, scores: Sequence[float], branch: Sequence[int]) -> None:
        """Mark one row.

        Args:
            scores: log-probability of each target id of the row.
            branch: which branch (from 1) each belongs to; branches run prompt by prompt,
                option by option.
        """
        total = torch.zeros(len(example.encoded.branches), dtype=torch.float64)
        count = torch.zeros_like(total)
        place = torch.tensor(branch) - 1
        total.index_add_(0, place, torch.tensor(scores, dtype=torch.float64))
        count.index_add_(0, place, torch.ones(len(scores), dtype=torch.float64))
        best = (total / count).view(len(example.names), -1).argmax(1)
        for name, choice in zip(example.names, best.tolist(), strict=True):
            self.marks[name].append(choice == example.gold)

    def accuracy(self) -> dict[str, float]:
        """Accuracy by sort, then by sort/family."""
        by_sort: dict[str, list[bool]] = defaultdict(list)
        for name, marks in self.marks.items():
            by_sort[name.split("/")[0]] += marks
        both = {**by_sort, **dict(sorted(self.marks.items()))}
        return {name: sum(marks) / len(marks) for name, marks in both.items()}


def export(model: Any, built: Path, out: Path, exam: Exam, facts: Mapping[str, Any]) -> None:
    """Write the trained model as a `from_pretrained` folder, weights in bf16.

    Args:
        built: the folder that `build` wrote; tokenizer and settings are taken from it.
    """
    out.mkdir(parents=True, exist_ok=True)
    for file in built.iterdir():
        if not file.name.startswith("model"):
            shutil.copy(file, out / file.name)
    copy.deepcopy(model).to("cpu", torch.bfloat16).save_pretrained(out)
    size = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    parameters = sum(p.numel() for p in model.parameters())
    shown = {"parameters": f"{parameters:,}", "weights in bytes": f"{size:,}", **facts}
    (out / "README.md").write_text(model_card(exam, shown, type(model).__name__), encoding="utf-8")


def model_card(exam: Exam, facts: Mapping[str, Any], model: str) -> str:
    """The card's text; every number in it was measured or set in the run that wrote it."""
    accuracy = exam.accuracy()
    sorts = [s for s in ("direct", "fitting", "irrelevant", "misleading") if s in accuracy]
    families = sorted({name.split("/")[1] for name in accuracy if name.startswith("direct/")})
    rows = [("all", *(_cell(exam, accuracy, s) for s in sorts))]
    rows += [(f, *(_cell(exam, accuracy, f"{s}/{f}") for s in sorts)) for f in families]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    head = f"| family | {' | '.join(sorts)} |\n|---|{'---|' * len(sorts)}"
    settings = "\n".join(f"| {key} | {value} |" for key, value in facts.items())
    reading = accuracy.get("text_task")
    read = "" if reading is None else f"\nRight label picked in text-only lists: {reading:.3f}.\n"
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: audio-text-to-text
---
# The embedded LALM

A very small `{model}`, trained from nothing on generated clips
by routerlab's own recipe (`recipes/embedded_*.yaml`). It stands in for a large audio language model
where none can be downloaded: the table says what it hears, and whether it reads and believes a
tool's output. It was never shown that a tool stops somewhere, and knows nothing of routing. It is
of no use on recordings of the world.

Accuracy on held-out clips, by the mean log-probability of the options: asked by ear, with a tool's
output that fits, with one that says nothing of what is asked, and with one of a tool that is beyond
its reach on that clip (in brackets: how many).

{head}
{table}
{read}
| setting | |
|---|---|
{settings}
"""


def _cell(exam: Exam, accuracy: Mapping[str, float], name: str) -> str:
    if name not in accuracy:
        return "–"
    count = sum(len(m) for key, m in exam.marks.items() if f"{key}/".startswith(f"{name}/"))
    return f"{accuracy[name]:.3f} ({count})"
