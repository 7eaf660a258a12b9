"""Tools that see a question's options, and tools that take several clips at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from routerlab import Tool, ToolCard
from routerlab.audio import make_clip
from routerlab.errors import ToolError
from routerlab.types import Clip

CLIP = make_clip(np.full(1600, 0.25), 16_000)
LOUDER = make_clip(np.full(1600, 0.5), 16_000)


class Longest(Tool):
    card = ToolCard("longest", "the longest option", "text", "not the right one", sees_choices=True)
    schema: ClassVar = {"longest": str}

    def run(self, clip: Clip, choices: Sequence[str]) -> dict[str, Any]:
        return {"longest": max(choices, key=len)}


class Peaks(Tool):
    card = ToolCard("peaks", "the largest sample", "ratio", "one number")
    schema: ClassVar = {"peak": float}
    batch_size = 4
    batches: ClassVar[list[int]] = []

    def run(self, clip: Clip) -> dict[str, Any]:
        return {"peak": float(clip.samples.max())}

    def run_many(
        self, clips: Sequence[Clip], choices: Sequence[tuple[str, ...]] = ()
    ) -> list[dict[str, Any]]:
        self.batches.append(len(clips))
        return super().run_many(clips, choices)


def test_a_tool_is_given_the_choices_if_its_card_says_so() -> None:
    assert Longest()(CLIP, ["a", "bcd"]).values == {"longest": "bcd"}
    assert Peaks()(CLIP, ["a", "bcd"]).values == {"peak": 0.25}


def test_a_tool_that_needs_choices_refuses_to_go_without() -> None:
    with pytest.raises(ToolError, match="needs the question's choices") as caught:
        Longest()(CLIP)
    assert caught.value.kind == "refused"


def test_several_clips_at_once_are_observed_in_order() -> None:
    seen = Peaks().call_many([CLIP, LOUDER])
    assert [one.values["peak"] for one in seen] == [0.25, 0.5]
    assert Peaks.batches == [2]
    seen = Longest().call_many([CLIP, LOUDER], [("a", "bc"), ("def", "g")])
    assert [one.values["longest"] for one in seen] == ["bc", "def"]


def test_a_card_from_json_reads_what_older_files_hold() -> None:
    assert ToolCard("a", "b", "c", "d", needs=["x", "y"]).needs == ("x", "y")  # type: ignore[arg-type]
    assert ToolCard("a", "b", "c", "d", needs="").needs == ()  # type: ignore[arg-type]
