"""Diagnostics on worlds small enough to know every figure beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import learner_toy as toy
import numpy as np
import pytest
import torch
import toy_world
from tiny import tiny_folder, tone
from torch import Tensor, nn

from routerlab import rivals
from routerlab.data.batches import EvaluationLoader
from routerlab.diagnostics import cards as other
from routerlab.diagnostics import hearing, reading
from routerlab.diagnostics.asking import Absent, Silenced, ask, silent, with_limits
from routerlab.diagnostics.run import keyword_twins, kinds, reasoners_part, routers_part
from routerlab.diagnostics.subject import Subject
from routerlab.policy.prompt import with_direct
from routerlab.report import diagnostics as figures
from routerlab.report.diagnostics_tables import closing_lines, diagnostics_grids
from routerlab.report.evaluation import Evaluation
from routerlab.types import (
    Answer,
    Observation,
    Outcome,
    OutcomeTable,
    Question,
    QuestionBatch,
    ToolCard,
)

ACTIONS = ("direct", "pitch", "tempo")
# The option that each action answers with; gold is option 0 throughout.
SAID = [
    [0, 0, 1],  # trap      \ one clip
    [0, 0, 0],  # twin      /
    [1, 0, 1],  # trap      \ another
    [1, 0, 0],  # twin      /
    [0, 1, 0],  # boundary
    [1, 1, 2],  # boundary
    [0, 0, 2],  # over_inference
    [1, 0, 1],  # plain
]
KINDS = ["keyword_trap", "keyword_twin"] * 2 + ["boundary"] * 2 + ["over_inference", "plain"]
CLIPS = ["a", "a", "b", "b", "c", "d", "e", "f"]
TRUTH: dict[str, dict[str, Any]] = {
    "q0": {"trap": "tempo", "pair": "a", "fits": ["pitch"], "outside": []},
    "q1": {"trap": "tempo", "pair": "a", "fits": ["pitch"], "outside": []},
    "q2": {"trap": "pitch", "pair": "b", "fits": ["pitch"], "outside": []},
    "q3": {"trap": "pitch", "pair": "b", "fits": ["pitch"], "outside": []},
    "q4": {"fits": [], "outside": ["pitch"]},
    "q5": {"fits": [], "outside": ["pitch", "tempo"]},
    "q6": {"fits": [], "outside": ["tempo"]},
    "q7": {"fits": ["pitch"], "outside": []},
}
ROUTED = [2, 1, 1, 1, 1, 0, 0, 1]
CHOICES = ("A4", "B4", "C4")


def table() -> OutcomeTable:
    questions = [
        Question(f"q{i}", f"{clip}.wav", "?", CHOICES, CHOICES[0], sub_category=kind)
        for i, (clip, kind) in enumerate(zip(CLIPS, KINDS, strict=True))
    ]
    cells = {
        (q.id, action): Outcome(q.id, action, "ok", said == 0, Answer(said, CHOICES[said]))
        for q, row in zip(questions, SAID, strict=True)
        for action, said in zip(ACTIONS, row, strict=True)
    }
    return OutcomeTable.of(questions, ACTIONS, cells)


def scored(known: OutcomeTable, routed: Sequence[int] = ROUTED) -> dict[str, rivals.Scored]:
    return {
        "direct": rivals.constant("direct", known, "direct"),
        "random": rivals.uniform(known),
        "routed": rivals.score("routed", known, np.array(routed)),
    }


# --- keyword traps ----------------------------------------------------------------------------


@pytest.mark.parametrize("truth", [TRUTH, {}])
def test_traps_find_their_twins_by_truth_or_by_clip(truth: dict[str, Any]) -> None:
    assert figures.twin_rows(table(), truth) == [(0, 1), (2, 3)]


def test_what_a_keyword_does_to_every_policy() -> None:
    known = table()
    chances = np.eye(3, dtype=np.float32)[ROUTED]
    found = figures.keyword_twins(known, [(0, 1), (2, 3)], scored(known), TRUTH, chances)
    assert found["pairs"] == 2
    routed, direct = found["policies"]["routed"], found["policies"]["direct"]
    # Called tempo on the first trap and was wrong; pitch everywhere else, and right.
    assert (routed["trap"], routed["twin"], routed["difference"]) == (0.5, 1.0, -0.5)
    assert (routed["action_changes"], routed["answer_changes"]) == (0.5, 0.5)
    assert routed["variation"] == 0.5
    # The named tool is tempo, then pitch: called on both traps, and on the second twin.
    assert routed["calls_named_tool"] == {"trap": 1.0, "twin": 0.5}
    assert (direct["action_changes"], direct["answer_changes"], direct["trap"]) == (0, 0, 0.5)
    assert direct["calls_named_tool"] == {"trap": 0.0, "twin": 0.0}
    assert "random" not in found["policies"]
    unnamed = figures.keyword_twins(known, [(0, 1)], scored(known), {}, chances)
    assert "calls_named_tool" not in unnamed["policies"]["routed"]


# --- scope ------------------------------------------------------------------------------------


def test_cells_in_scope_beyond_a_limit_and_of_something_else() -> None:
    cells = figures.scopes(table(), TRUTH)
    assert cells["fits"][:, 1].tolist() == [True] * 4 + [False] * 3 + [True]
    assert cells["beyond"].sum() == 4
    assert cells["other"].sum() == 16 - 5 - 4
    assert not any(it[:, 0].any() for it in cells.values())
    assert (sum(it.astype(int) for it in cells.values())[:, 1:] == 1).all()


def test_a_failed_tool_is_in_no_scope() -> None:
    known = table()
    known.valid[0, 1] = False
    assert not any(it[0, 1] for it in figures.scopes(known, TRUTH).values())


def test_how_often_an_output_out_of_scope_changes_the_answer() -> None:
    known = table()
    found = figures.over_inference(known, figures.scopes(known, TRUTH), np.array(ROUTED))
    # beyond: (q4, pitch) breaks, (q5, pitch) stays, (q5, tempo) other option, (q6, tempo) breaks.
    beyond = found["beyond"]
    assert (beyond["cells"], beyond["answer_changes"]) == (4, 0.75)
    assert (beyond["breaks"], beyond["fixes"]) == (1.0, 0.0)
    assert (beyond["called"], beyond["called_share"]) == (1, 0.25)
    # fits: pitch on q0, q1 (stay), q2, q3, q7 (fix).
    assert found["fits"]["answer_changes"] == pytest.approx(3 / 5)
    assert (found["fits"]["breaks"], found["fits"]["fixes"]) == (0.0, 1.0)
    assert 0 <= beyond["ci95"][0] <= 0.75 <= beyond["ci95"][1] <= 1


def test_families_and_the_calls_beyond_a_limit() -> None:
    known = table()
    found = figures.by_kind(known, scored(known), figures.scopes(known, TRUTH))
    assert set(found) == set(KINDS)
    boundary = found["boundary"]
    assert (boundary["questions"], boundary["direct"], boundary["routed"]) == (2, 0.5, 0.0)
    assert (boundary["calls"], boundary["calls_beyond"], boundary["calls_other"]) == (0.5, 0.5, 0)
    assert found["keyword_trap"]["calls_other"] == 0.5
    assert "calls_beyond" not in figures.by_kind(known, scored(known), {})["plain"]


def test_a_share_of_cells_is_as_unsure_as_its_questions_are_few() -> None:
    ones, many = np.ones(4), np.full(4, 10)
    assert figures.ratio_interval(ones * 10, many) == (1.0, 1.0, 1.0)
    share, low, high = figures.ratio_interval(np.array([10, 0, 10, 0]), many)
    # Forty cells, but four questions.
    assert (share, low, high) == (0.5, 0.0, 1.0)
    assert np.isnan(figures.ratio_interval(np.zeros(2), np.zeros(2))).all()


# --- asking again -----------------------------------------------------------------------------


class World(SimpleNamespace):
    """What diagnostics need of a DataModule, over the toy world."""

    def batches(self, split: str) -> EvaluationLoader:
        return EvaluationLoader(self.asked, self.clip, None, 4)

    def truth(self, split: str) -> dict[str, Any]:
        return {}


def world(tmp_path: Path) -> tuple[World, OutcomeTable]:
    questions = toy_world.make_questions(tmp_path / "clips", 6)
    with toy_world.oracle(tmp_path) as oracle:
        known = oracle.fill(questions)
    made = World(
        asked=questions, clip=toy_world.Loader(), reasoner=toy_world.Scripted(),
        cards=oracle.cards, versions=dict(oracle.pool.versions), scorer="strict",
        cache_dir=str(tmp_path / "cache"), max_error_rate=0.05,
        counters={"reasoner_calls": 0, "tool_calls": 0, "cache_hits": 0},
    )  # fmt: skip
    return made, known


def test_limits_are_read_behind_the_output_and_asked_once(tmp_path: Path) -> None:
    data, known = world(tmp_path)
    cells = np.zeros_like(known.valid)
    cells[:3, 1] = cells[2:, 2] = True
    again = ask(data, known, cells, "limits", limits=True)
    assert set(again) == set(zip(*(axis.tolist() for axis in np.nonzero(cells)), strict=True))
    shown = [o.text for r in data.reasoner.asked for prompt in r.observations for o in prompt]
    assert len(shown) == 7
    assert all(text.endswith("stops at: guesses)") for text in shown)
    # Each is the answer that the same reasoner gives to just that prompt.
    for (row, column), outcome in again.items():
        question = known.questions[row]
        seen = with_limits(known.outcome(row, column).observation, data.cards[column - 1])
        request = SimpleNamespace(clip=data.clip(question), choices=question.choices)
        assert outcome.answer.text == data.reasoner._answer(request, (seen,)).text
    assert data.counters == {"reasoner_calls": 7, "tool_calls": 0, "cache_hits": 0}
    data.reasoner.asked.clear()
    assert ask(data, known, cells, "limits", limits=True) == again
    assert data.reasoner.asked == []
    assert data.counters == {"reasoner_calls": 7, "tool_calls": 0, "cache_hits": 7}


def test_another_limit_is_another_prompt(tmp_path: Path) -> None:
    data, known = world(tmp_path)
    cells = np.zeros_like(known.valid)
    cells[:, 1] = True
    ask(data, known, cells, "limits", limits=True)
    data.cards = tuple(replace(card, stops_at="noise") for card in data.cards)
    data.reasoner.asked.clear()
    ask(data, known, cells, "limits", limits=True)
    assert len(data.reasoner.asked) == 6


def test_a_long_output_leaves_room_for_the_limit() -> None:
    card = ToolCard("pitch", "the note", "Hz", "chords")
    told = with_limits(Observation("pitch", {}, "x" * 900, "1"), card)
    assert len(told.text) == 400
    assert told.text.endswith("(pitch stops at: chords)")


def test_on_silence_tools_still_say_what_they_heard(tmp_path: Path) -> None:
    data, known = world(tmp_path)
    cells = np.ones_like(known.valid)
    again = ask(data, known, cells, "silence", load=Silenced(data.clip))
    assert len(again) == 18
    for request in data.reasoner.asked:
        assert not request.clip.samples.any()
    heard = {r.clip.fingerprint for r in data.reasoner.asked}
    assert len(heard) == 6  # as many silences as clips: their tools' outputs differ
    for (row, column), outcome in again.items():
        before = known.outcome(row, column).observation
        assert (outcome.observation is None) == (before is None)
        assert before is None or outcome.observation.text == before.text
    data.reasoner.asked.clear()
    ask(data, known, cells, "silence", load=Silenced(data.clip))
    assert data.reasoner.asked == []


def test_cells_whose_tool_failed_are_not_asked(tmp_path: Path) -> None:
    data, known = world(tmp_path)
    known.valid[:, 1] = False
    cells = np.ones_like(known.valid)
    assert {column for _, column in ask(data, known, cells, "x", limits=True)} == {0, 2}


def test_silences_of_one_length_differ_for_the_reasoner_and_not_for_the_router() -> None:
    one, two = tone(0.5, 300.0), tone(0.5, 400.0)
    assert silent(one).fingerprint != silent(two).fingerprint
    assert hearing.silence(one).fingerprint == hearing.silence(two).fingerprint
    assert hearing.zeroed(one).fingerprint != hearing.silence(one).fingerprint


def test_the_same_cells_asked_otherwise() -> None:
    known = table()
    mask = figures.scopes(known, TRUTH)["beyond"]
    keep = {"q4": 0, "q5": 1, "q6": 0}  # with the limit in view, direct's answer is kept
    again = {
        (row, column): Outcome(
            f"q{row}", ACTIONS[column], "ok", keep[f"q{row}"] == 0, Answer(keep[f"q{row}"], "")
        )
        for row, column in zip(*np.nonzero(mask), strict=True)
    }
    found = figures.asked_otherwise(known, again, mask)
    assert found["cells"] == 4
    assert found["accuracy"] == [0.0, 0.5]
    assert found["answer_changes"] == [0.75, 0.0]
    again[4, 1] = replace(again[4, 1], state="reasoner_error")
    assert figures.asked_otherwise(known, again, mask)["cells"] == 3
    assert figures.asked_otherwise(known, {}, mask) == {"cells": 0}


# --- routers ----------------------------------------------------------------------------------


class Reader(nn.Module):
    """Calls the tool whose card shares a word with the question; knows nothing by heart."""

    def __init__(self, shuffle_labels: bool = True) -> None:
        super().__init__()
        self.shuffle_labels = shuffle_labels
        self.settings = {"audio": "on"}
        self.heard: list[tuple[str, bool]] = []
        self.configure(toy.CARDS)

    def configure(self, cards: Sequence[ToolCard]) -> None:
        self.cards = with_direct(cards)
        self.centre = torch.zeros(len(self.cards))

    def probabilities(self, batch: QuestionBatch) -> Tensor:
        self.heard += [(self.settings["audio"], bool(c.samples.any())) for c in batch.clips]
        return self(batch).softmax(-1)

    def forward(self, batch: QuestionBatch, order: Sequence[int] | None = None) -> Tensor:
        scores = [[self._score(q.question, card) for card in self.cards] for q in batch]
        return torch.tensor(scores)

    def _score(self, question: str, card: ToolCard) -> float:
        if card.name == "direct":
            return 0.5
        words = {word.strip("?,") for word in question.lower().split() if len(word) > 2}
        return float(len(words & set(card.measures.split())))


class ByHeart(Reader):
    """Has learnt which label goes with which words, whatever is written there."""

    def forward(self, batch: QuestionBatch, order: Sequence[int] | None = None) -> Tensor:
        known = with_direct(toy.CARDS)
        rows = [[self._score(q.question, card) for card in known] for q in batch]
        by_label = torch.tensor([row + [-9.0] * (len(self.cards) - len(row)) for row in rows])
        return by_label if order is None else by_label[:, torch.tensor(order).argsort()]


def subject(policy: Any, questions: int = 12) -> Subject:
    known = toy.table(questions)
    data = SimpleNamespace(
        batches=lambda split: EvaluationLoader(known.questions, toy.clip_of, None, 4)
    )
    chances = other.chances(policy, data.batches("test"))
    routed = rivals.score("routed", known, chances.argmax(1).astype(np.int64))
    them = {"direct": rivals.constant("direct", known, "direct"), "routed": routed}
    return Subject(policy, data, Evaluation(known, them), chances, {})


def test_a_router_that_reads_follows_the_text() -> None:
    policy = Reader()
    it = subject(policy)
    assert it.routed.accuracy == 1.0
    found = reading.cards(it)
    assert found["other_labels"]["accuracy"] == found["other_labels"]["same_action"] == 1.0
    assert found["anonymous"]["same_action"] == 1.0
    # Two tools exchanged: every call goes to the other one, and only direct's third stays right.
    assert found["exchanged"]["follows_text"] == 1.0
    assert found["exchanged"]["accuracy"] == pytest.approx(1 / 3)
    # It counts words: "which note is played" is no longer written on any card.
    assert found["paraphrased"]["accuracy"] == pytest.approx(2 / 3)
    assert (found["decoys"]["accuracy"], found["decoys"]["decoy_calls"]) == (1.0, 0.0)
    assert policy.cards == with_direct(toy.CARDS)


def test_a_router_that_knows_labels_by_heart_is_found_out() -> None:
    found = reading.cards(subject(ByHeart()))
    assert found["exchanged"]["same_action"] == 1.0
    assert found["exchanged"]["follows_text"] == 0.0
    assert found["other_labels"]["accuracy"] < 0.5


def test_cards_say_nothing_about_a_router_with_fixed_labels() -> None:
    with pytest.raises(Absent, match="fixed labels"):
        reading.cards(subject(Reader(shuffle_labels=False)))


def test_the_router_is_asked_on_silence_and_without_sound_apart() -> None:
    policy = Reader()
    it = subject(policy, 6)
    assert policy.heard == [("on", True)] * 6
    found = hearing.router_hearing(it)
    assert policy.heard[6:] == [("on", False)] * 6 + [("zero", False)] * 6
    assert policy.settings["audio"] == "on"
    # This one does not listen, so nothing changes.
    assert found["silence"]["same_action"] == found["no_audio"]["same_action"] == 1.0
    policy.settings["audio"] = "zero"
    with pytest.raises(Absent, match="trained on silence"):
        hearing.router_hearing(it)


def test_other_cards_leave_a_real_router_as_it_was(tmp_path: Path) -> None:
    policy = toy.router(tiny_folder(tmp_path / "lalm"), shuffle_labels=True)
    policy.configure(toy.CARDS)
    policy.centre = torch.tensor([1.0, 2.0, 6.0])
    asked = toy.batch(toy.table(3), range(3))
    before = policy(asked)
    with other.shown(policy, other.with_decoys(toy.CARDS)):
        assert policy(asked).shape == (3, 5)
        assert policy.centre.tolist() == [1.0, 2.0, 6.0, 3.0, 3.0]
    with other.shown(policy, other.anonymous(toy.CARDS)):
        assert policy.centre.tolist() == [1.0, 2.0, 6.0]
        assert not torch.allclose(policy(asked), before)
    assert torch.equal(policy(asked), before)
    assert policy.cards == with_direct(toy.CARDS)


def test_every_tool_that_comes_along_has_its_card_in_other_words() -> None:
    strange = ToolCard("hum", "mains hum", "dB", "music")
    (reworded,) = other.paraphrased((strange,))
    assert reworded.name == "hum"
    assert reworded.measures != strange.measures
    assert "music" in reworded.stops_at


# --- what does not apply ----------------------------------------------------------------------


def test_what_does_not_apply_is_absent_with_its_reason(tmp_path: Path) -> None:
    data, known = world(tmp_path)
    bare = Evaluation(known, {k: v for k, v in scored(known, [1] * 6).items() if k != "random"})
    chances = np.eye(3, dtype=np.float32)[[1] * 6]
    it = Subject(Reader(shuffle_labels=False), data, bare, chances, {})
    for section in (keyword_twins, kinds):
        with pytest.raises(Absent, match="the data marks no"):
            section(it)
    found, notes = routers_part(it)
    assert set(found) == {"router_hearing"}
    assert set(notes) == {"keyword_twins", "kinds", "scope", "cards", "new_tool"}
    more, missing = reasoners_part(it)
    assert missing == {}
    # A scripted reasoner has no setting that leaves the clip out.
    assert set(more["reasoner_hearing"]) == {"silence"}
    assert set(more["limits"]) == {"called"}
    assert more["reasoner_hearing"]["silence"]["routed"]["questions"] == 6
    cost = {"reasoner_calls": 1, "tool_calls": 0, "cache_hits": 0, "seconds": 0.1}
    whole = {**found, **more, "notes": notes | missing, "cost": cost}
    shown = "\n".join(grid.plain() for grid in diagnostics_grids(whole))
    assert "no audio: this reasoner cannot leave the clip out." in shown
    lines = closing_lines(whole)
    assert any(line.startswith("cards, new tool: left out, the router was") for line in lines)
    assert not any(f"\n{title}" in shown for title in ("Keyword", "Families", "Over-inference"))


def test_every_table_has_its_words() -> None:
    known = table()
    chances = np.eye(3, dtype=np.float32)[ROUTED]
    cells = figures.scopes(known, TRUTH)
    found = {
        "keyword_twins": figures.keyword_twins(known, [(0, 1)], scored(known), TRUTH, chances),
        "kinds": figures.by_kind(known, scored(known), cells),
        "scope": figures.over_inference(known, cells, np.array(ROUTED)),
        "cards": reading.cards(subject(Reader())),
    }
    shown = "\n".join(grid.plain() for grid in diagnostics_grids(found))
    assert "Keyword traps: 1 pairs" in shown
    assert "the clip is beyond the tool's limits      4              75.0" in shown
    assert "names and texts exchanged between tools        33.3" in shown
