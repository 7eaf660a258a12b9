"""Rivals over small tables whose figures can be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from routerlab import rivals
from routerlab.data.writers import write_json
from routerlab.errors import UserError
from routerlab.lalm.checkpoint import fingerprint, locate
from routerlab.rivals import PredictableMap
from routerlab.tools.registry import load_tool
from routerlab.types import OutcomeTable, Question, ToolCard

CARDS = (
    ToolCard("pitch", "fundamental frequency and note", "Hz", "several voices"),
    ToolCard("tempo", "beats per minute", "bpm", "two beats"),
    ToolCard("loudness", "level over time", "dB", "short clips"),
)


def question(ident: str, text: str = "?", wording: str = "") -> Question:
    return Question(ident, f"{ident}.wav", text, ("x", "y"), "x", wording=wording)


def table(
    correct: Sequence[Sequence[int]],
    questions: Sequence[Question] | None = None,
    valid: Sequence[Sequence[int]] | None = None,
) -> OutcomeTable:
    grid = np.array(correct, dtype=bool)
    usable = np.ones_like(grid) if valid is None else np.array(valid, dtype=bool)
    names = ("direct", "pitch", "tempo", "loudness")[: grid.shape[1]]
    asked = questions or [question(str(i)) for i in range(len(grid))]
    return OutcomeTable(tuple(asked), names, grid & usable, usable)


def test_random_is_the_exact_expected_value() -> None:
    scored = rivals.uniform(table([[1, 0, 0, 0], [1, 1, 1, 1]]))
    assert scored.right.tolist() == [0.25, 1.0]
    assert scored.call_rate == 0.75


def test_a_failed_tool_falls_back_to_direct() -> None:
    it = table([[1, 0], [0, 1]], valid=[[1, 0], [1, 1]])
    assert rivals.constant("pitch", it, "pitch").right.tolist() == [1.0, 1.0]
    assert rivals.earned(it).tolist() == [[True, True], [False, True]]
    assert rivals.constant("pitch", it, "pitch").call_rate == 1.0


def test_best_tool_is_chosen_among_tools_only() -> None:
    train = table([[1, 0, 1], [1, 0, 1], [1, 1, 0]])
    assert rivals.best_tool(train) == "tempo"
    assert rivals.best_overall(train) == "direct"
    assert rivals.best_tool(table([[1], [0]])) == "direct"


def test_the_oracle_calls_only_where_direct_is_wrong() -> None:
    scored = rivals.oracle(table([[1, 1], [0, 1], [0, 0]]))
    assert scored.actions is not None
    assert scored.actions.tolist() == [0, 1, 0]
    assert scored.accuracy == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("What is the pitch?", "pitch"),
        ("Name the notes you hear", "pitch"),
        ("How many beats per minute does it go?", "tempo"),
        ("Ignoring the tempo, which is louder?", "tempo"),
        ("Does it get louder?", "loudness"),
        ("Who speaks?", "direct"),
    ],
)
def test_the_keyword_heuristic_follows_the_words(text: str, action: str) -> None:
    (column,) = rivals.keyword_actions([question("1", text)], CARDS)
    assert ("direct", "pitch", "tempo", "loudness")[column] == action


def test_the_best_action_of_a_group_leans_on_its_parent_when_small() -> None:
    # Nine rows of cell a/1 favour pitch; one lucky row of a/2 says direct.
    it = table([[0, 1]] * 9 + [[1, 0]])
    keys, parents = ["a/1"] * 9 + ["a/2"], ["a"] * 10
    assert rivals.best_by(keys, it, parents) == {"a/1": "pitch", "a/2": "pitch"}
    assert rivals.best_by(keys, it, parents, shrink=0.0) == {"a/1": "pitch", "a/2": "direct"}


def test_an_unseen_wording_takes_the_best_action_overall() -> None:
    seen = [question("1", wording="p/0"), question("2", wording="t/0")]
    train = table([[0, 1, 0], [0, 0, 1]] * 3, [*seen, *seen, *seen])
    asked = [question("3", wording="t/0+trap"), question("4", wording="new/0")]
    scored = rivals.by_wording(train, table([[0, 0, 1], [0, 1, 0]], asked))
    assert scored.actions is not None
    assert scored.actions.tolist() == [2, 1]


class TestPredictableMap:
    truth = {"0": {"cell": "note/hard/clean"}, "1": {"cell": "note/hard/noisy"}}  # noqa: RUF012
    best = PredictableMap("lalm", {"pitch": "1"}, {"note/hard/clean": "pitch"})

    def test_takes_the_cells_action_and_direct_in_an_unknown_cell(self) -> None:
        it = table([[0, 1], [1, 0]])
        scored = self.best.policy(it, self.truth, "lalm", {"pitch": "1"})
        assert scored.right.tolist() == [1.0, 1.0]
        assert scored.called.tolist() == [1.0, 0.0]

    @pytest.mark.parametrize(
        ("lalm", "tools", "truth", "why"),
        [
            ("other", {"pitch": "1"}, truth, "made for LALM lalm, this is other"),
            ("lalm", {"pitch": "2"}, truth, "other tools or versions: pitch"),
            ("lalm", {"pitch": "1"}, {}, "no truth file"),
        ],
    )
    def test_says_why_it_does_not_apply(
        self, lalm: str, tools: dict[str, str], truth: dict[str, dict[str, str]], why: str
    ) -> None:
        with pytest.raises(UserError, match=why):
            self.best.policy(table([[0, 1], [1, 0]]), truth, lalm, tools)

    def test_goes_through_a_file(self, tmp_path: Path) -> None:
        path = write_json(tmp_path / "map.json", self.best.as_json())
        assert PredictableMap.load(path) == self.best
        with pytest.raises(UserError, match=r"no map none\.json"):
            PredictableMap.load(tmp_path / "none.json")

    def test_is_fitted_on_cells(self) -> None:
        it = table([[0, 1], [1, 0]])
        many = it.select([0, 1] * 20)
        fitted = rivals.fit_cells(many, self.truth)
        assert fitted == {"note/hard/clean": "pitch", "note/hard/noisy": "direct"}


def test_the_shipped_map_is_of_the_model_and_the_tools_that_ship() -> None:
    text = (files("routerlab.embedded") / "predictable.json").read_text(encoding="utf-8")
    held = json.loads(text)
    assert held["lalm"] == fingerprint(locate("embedded"))
    assert held["tools"] == {name: load_tool(name).version for name in held["tools"]}
