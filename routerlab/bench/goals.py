"""Memory that follows from configurations, and the goals for one H100 beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from routerlab.bench.router import Step
from routerlab.bench.sizes import PUBLISHED, parts
from routerlab.bench.survey import Rung
from routerlab.report.grid import Grid

_SURVEYED, _STEPS, _STEP = 1_500, 200, 16
"""Questions, optimizer steps and questions a step of `recipes/qwen25omni.yaml`'s order."""


def memory_grid(seconds: float) -> Grid:
    """Bytes by part at the published sizes: parameters counted on the `meta` device."""
    rows = []
    for name in PUBLISHED:
        it = parts(name)
        rows.append(
            [
                name,
                *(f"{n / 1e9:.3f}" for n in (it.layers, it.words + it.head, it.tower, it.total)),
                f"{2 * it.total / 1e9:.1f}",
                f"{it.position / 1e3:.0f}",
                f"{2 * 25 * seconds * it.width / 1e6:.1f}",
                f"{it.lora / 1e6:.1f}",
                f"{16 * it.lora / 1e9:.2f}",
            ]
        )
    heads = (
        "10^9 parameters", "layers", "words, head", "tower", "all", "GB in bfloat16",
        "kB a position", "MB a clip", "LoRA r8, 10^6", "GB with AdamW",
    )  # fmt: skip
    title = "computed, not measured: memory at published sizes (no talker, no vision)"
    return Grid(title, heads, rows)


def goal_grid(
    scored: Sequence[Rung],
    written: Sequence[Rung],
    trained: Sequence[Step],
    one: float,
) -> Grid:
    """What was reached here; the goals are for one H100 and the 7B size."""
    # The fastest way of adapting all layers that memory allows; one that it does not has no rate.
    able = [step for step in trained[:3] if step.rate > 0]
    survey, step = scored[-1], max(able, key=lambda step: step.rate, default=trained[0])
    rate = survey.questions / survey.seconds
    minutes = (_SURVEYED / rate + _STEPS * _STEP / step.rate) / 60
    held = [m for m in (survey.memory, step.memory) if m is not None]
    rows = [
        [
            "survey by likelihood, × direct alone",
            f"{survey.seconds / scored[0].seconds:.2f}",
            "2.5 at most",
        ],
        [
            "survey by generate, × direct by likelihood",
            f"{written[-1].seconds / scored[0].seconds:.2f}",
            "–",
        ],
        ["questions × actions a second", f"{survey.answers / survey.seconds:.3g}", "–"],
        [f"router training, questions a second ({step.what})", f"{step.rate:.3g}", "15 at least"],
        ["ask, seconds without the tool", f"{one:.3g}", "–"],
        ["most GPU memory, GB", f"{max(held):.1f}" if held else "–", "60 at most"],
        [
            f"{_SURVEYED:,} questions surveyed and {_STEPS} steps of {_STEP}, minutes",
            f"{minutes:.3g}",
            "under 30",
        ],
    ]
    return Grid("goals", ("", "here", "on one H100 at 7b"), rows)
