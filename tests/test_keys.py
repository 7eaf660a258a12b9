"""Cache keys: every relevant change is a miss, every other change a hit, and no setting is forgot.

`LEDGER` names every field and setting that stands between a file and an answer. A new one that is
in neither list fails here, which is the moment to decide whether it belongs in a key.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_world import Bench, Loader, Scripted, make_questions, oracle

from routerlab.audio import load_clip
from routerlab.oracle.cache import Cache
from routerlab.oracle.keys import (
    ObservationFacts,
    OutcomeFacts,
    clip_key,
    digest,
    observation_key,
    outcome_key,
    shown_order,
)
from routerlab.oracle.oracle import Oracle
from routerlab.reasoners.transformers_reasoner import TransformersReasoner
from routerlab.tools.isolation import ToolPool
from routerlab.tools.specs import ToolSpec
from routerlab.types import Clip, Question, ToolCard


@dataclass(frozen=True)
class Ledger:
    """relevant: enters a key, in itself or through what is named; irrelevant: must be a hit."""

    relevant: str
    irrelevant: str


LEDGER: dict[Callable[..., Any], Ledger] = {
    OutcomeFacts: Ledger("clip question choices order replicate tools reasoner", ""),
    ObservationFacts: Ledger("clip tool version choices", ""),
    # id enters through the order of a replicate's options only
    Question: Ledger(
        "question choices",
        "id audio answer task category sub_category difficulty split wording",
    ),
    # samples, rate and what was cut of them are what the fingerprint is of
    Clip: Ledger("fingerprint", "samples sample_rate cut_seconds path"),
    # the options enter ObservationFacts where a tool sees them
    ToolCard: Ledger("name sees_choices", "measures unit stops_at needs licence"),
    # all but the name enter through the tool's version
    ToolSpec: Ledger("name tool class_path settings", "isolation timeout_s memory_mb"),
    load_clip: Ledger("path sample_rate max_seconds", ""),
    # lalm and revision enter through the hash of the model's files
    TransformersReasoner: Ledger(
        "lalm revision dtype device protocol length prior system max_seconds max_new_tokens audio "
        "wording quantize",
        "batch_size max_tokens share_base without",
    ),
    ToolPool: Ledger("specs", "trusted workers timeout_s memory_mb"),
    Cache: Ledger("", "folder part network"),
    Oracle: Ledger(
        "pool reasoner load", "cache batch_size max_error_rate retries beside_tools progress"
    ),
    Oracle.fill: Ledger("questions actions replicate", "of"),
}  # fmt: skip


@pytest.mark.parametrize("thing", LEDGER, ids=lambda thing: thing.__qualname__)
def test_every_field_and_setting_is_in_one_list(thing: Callable[..., Any]) -> None:
    known = LEDGER[thing]
    listed = sorted((known.relevant + " " + known.irrelevant).split())
    taken = sorted(set(inspect.signature(thing).parameters) - {"self"})
    assert listed == taken, f"{thing.__qualname__}: decide whether it enters a cache key"


# -- the keys themselves --------------------------------------------------------------------------

OUTCOME = OutcomeFacts("c", "Q?", ("a", "b", "c"), (0, 1, 2), 0, (("pitch", "1"),), "r")
OTHER_OUTCOMES = {
    "clip": "c2",
    "question": "Q ?",
    "choices": ("b", "a", "c"),
    "order": (0, 2, 1),
    "replicate": 1,
    "tools": (("pitch", "2"),),
    "reasoner": "r2",
}
OBSERVATION = ObservationFacts("c", "pitch", "1")
OTHER_OBSERVATIONS = {"clip": "c2", "tool": "chord", "version": "2", "choices": ("a", "b")}


@pytest.mark.parametrize("name", OTHER_OUTCOMES)
def test_any_change_of_an_outcomes_causes_is_a_miss(name: str) -> None:
    changed = replace(OUTCOME, **{name: OTHER_OUTCOMES[name]})
    assert outcome_key(changed) != outcome_key(OUTCOME)


@pytest.mark.parametrize("name", OTHER_OBSERVATIONS)
def test_any_change_of_an_observations_causes_is_a_miss(name: str) -> None:
    changed = replace(OBSERVATION, **{name: OTHER_OBSERVATIONS[name]})
    assert observation_key(changed) != observation_key(OBSERVATION)


def test_the_changes_above_are_all_there_are() -> None:
    assert set(OTHER_OUTCOMES) == set(vars(OUTCOME))
    assert set(OTHER_OBSERVATIONS) == set(vars(OBSERVATION))


def test_direct_one_tool_and_all_tools_differ() -> None:
    pitch, chord = ("pitch", "1"), ("chord", "1")
    rows = [(), (pitch,), (chord,), (pitch, chord), (chord, pitch)]
    assert len({outcome_key(replace(OUTCOME, tools=tools)) for tools in rows}) == len(rows)


def test_keys_are_the_same_in_every_process_and_for_good() -> None:
    """A change of these strings throws away every cache that users have."""
    assert observation_key(OBSERVATION)[:16] == "106d25d98c656435"
    assert outcome_key(OUTCOME)[:16] == "cdd10ca05758ef75"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.dictionaries(st.text(), values, max_size=4))
def test_the_order_of_names_does_not_matter(value: dict[str, Any]) -> None:
    assert digest(value) == digest(dict(reversed(list(value.items()))))


@given(st.text(), st.text())
def test_texts_are_never_run_together(a: str, b: str) -> None:
    one, other = digest({"x": [a, b]}), digest({"x": [a + b, ""]})
    assert (one == other) == (b == "")


@given(st.text(), st.integers(2, 8), st.integers(1, 50))
def test_a_replicates_order_is_a_permutation_and_another_one(
    question_id: str, n: int, replicate: int
) -> None:
    order = shown_order(question_id, n, replicate)
    assert sorted(order) == list(range(n))
    assert order != tuple(range(n))
    assert shown_order(question_id, n, 0) == tuple(range(n))


# -- through the oracle ---------------------------------------------------------------------------


def new_answers(tmp_path: Path, question: Question, **parts: Any) -> int:
    """How many of this question's three cells are not in the cache."""
    world = oracle(tmp_path, **parts)
    world.fill([question])
    return world.counters.reasoner_calls


@pytest.fixture
def filled(tmp_path: Path) -> Question:
    (question,) = make_questions(tmp_path / "audio", 1)
    assert new_answers(tmp_path, question) == 3
    return question


IRRELEVANT = {
    "id": "another",
    "answer": "two",
    "task": "t",
    "category": "c",
    "sub_category": "s",
    "difficulty": "hard",
    "split": "val",
    "wording": "w",
}


@pytest.mark.parametrize("name", IRRELEVANT)
def test_what_only_describes_a_question_is_a_hit(
    tmp_path: Path, filled: Question, name: str
) -> None:
    assert new_answers(tmp_path, replace(filled, **{name: IRRELEVANT[name]})) == 0


def test_a_moved_file_is_a_hit_and_a_changed_one_a_miss(tmp_path: Path, filled: Question) -> None:
    moved = shutil.copy(filled.audio, tmp_path / "elsewhere.bin")
    assert new_answers(tmp_path, replace(filled, audio=moved)) == 0
    Path(moved).write_bytes(b"12345")
    assert new_answers(tmp_path, replace(filled, audio=moved)) == 3


def test_another_text_or_order_of_options_is_a_miss(tmp_path: Path, filled: Question) -> None:
    assert new_answers(tmp_path, replace(filled, question="How many, in 0?")) == 3
    assert new_answers(tmp_path, replace(filled, choices=filled.choices[::-1])) == 3


def test_a_new_tool_version_is_a_miss_for_that_tool_only(tmp_path: Path, filled: Question) -> None:
    class Newer(Bench):
        @property
        def versions(self) -> dict[str, str]:
            return {"pitch": "pitch 1", "tempo": "tempo 2"}

    assert new_answers(tmp_path, filled, pool=Newer()) == 1


def test_a_tool_more_leaves_the_others_answers(tmp_path: Path, filled: Question) -> None:
    assert new_answers(tmp_path, filled, pool=Bench(("chord", "pitch", "tempo"))) == 1


def test_how_it_was_run_is_a_hit(tmp_path: Path, filled: Question) -> None:
    assert new_answers(tmp_path, filled, batch_size=1, retries=0, max_error_rate=1.0) == 0


def test_another_reasoner_is_a_miss(tmp_path: Path, filled: Question) -> None:
    assert new_answers(tmp_path, filled, reasoner=Scripted(model="m2")) == 3


def test_other_loading_means_decoding_again(tmp_path: Path, filled: Question) -> None:
    load = Loader(settings={"max_seconds": 10})
    assert new_answers(tmp_path, filled, load=load) == 0  # the samples turned out the same
    assert load.decoded == [filled.audio]


def test_a_missing_file_has_no_place(tmp_path: Path) -> None:
    assert clip_key(str(tmp_path / "none.wav"), {}) is None


# -- the shipped reasoner -------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "preprocessor_config.json").write_text('{"n_fft": 400}')
    return folder


@pytest.mark.parametrize(
    ("base", "change", "differs"),
    [
        ({}, {"dtype": "bfloat16"}, True),
        ({}, {"device": "cuda"}, True),
        ({}, {"protocol": "generate"}, True),
        ({}, {"length": "sum"}, True),
        ({}, {"prior": True}, True),
        ({}, {"system": "You hear well."}, True),
        ({}, {"max_seconds": 10.0}, True),
        ({}, {"audio": "off"}, True),
        ({"protocol": "generate"}, {"max_new_tokens": 8}, True),
        ({}, {"system": None}, True),
        ({}, {"wording": "letters"}, True),
        ({}, {"quantize": "4bit"}, True),
        ({}, {"max_seconds": 40.0}, False),  # beyond the front end's 30 s it is those
        ({}, {"batch_size": 3}, False),
        ({}, {"max_tokens": 99}, False),
        ({}, {"share_base": True}, False),
        ({}, {"without": ("prefix",)}, False),
        ({}, {"max_new_tokens": 8}, False),  # likelihood generates nothing
        ({"protocol": "generate"}, {"length": "sum"}, False),
    ],
)
def test_the_reasoners_settings(
    model: Path, base: dict[str, Any], change: dict[str, Any], differs: bool
) -> None:
    before = TransformersReasoner(str(model), **base).identity()
    after = TransformersReasoner(str(model), **base, **change).identity()
    assert (digest(before) != digest(after)) == differs


@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "preprocessor_config.json", "chat_template.jinja"],
)
def test_the_models_files_count_by_content_not_by_place(
    model: Path, tmp_path: Path, name: str
) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    before = TransformersReasoner(str(model)).identity()
    assert TransformersReasoner(str(copy)).identity() == before
    (copy / name).write_text('{"something": "else"}')
    assert TransformersReasoner(str(copy)).identity() != before
