"""The benchmark of running a LALM: what it counts is what plain arithmetic says, on any machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.nn.functional import conv1d, linear, scaled_dot_product_attention

from routerlab.bench import router
from routerlab.bench.__main__ import Bench, _parsed, main
from routerlab.bench.machine import operations
from routerlab.bench.models import random_lalm
from routerlab.bench.sizes import SIZES, parts, parts_of
from routerlab.bench.survey import Rung, climb
from routerlab.lalm.checkpoint import EMBEDDED
from routerlab.lalm.model import LALM
from routerlab.reasoners.transformers_reasoner import TransformersReasoner

# Three axes of rotary positions fill half a head.
ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
SMALL = ("--lalm", "tiny-random", "--questions", "3", "--seconds", "1", "--tools", "2",
         "--repeats", "0", "--product", "64", "--new-tokens", "3", "--router-batch", "2",
         "--device", "cpu")  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(_parsed(SMALL))


@pytest.fixture(scope="module")
def scored(bench: Bench) -> list[Rung]:
    return climb(bench.reasoner, "likelihood", bench.work, 0)


def test_operations_are_those_of_the_shapes() -> None:
    rows, weight = torch.ones(2, 5, 3, requires_grad=True), torch.ones(4, 3)
    assert operations(lambda: linear(rows.detach(), weight, torch.ones(4))) == 2 * 10 * 3 * 4
    assert operations(lambda: linear(rows, weight).sum().backward()) == 2 * 2 * 10 * 3 * 4
    with torch.inference_mode():
        assert operations(lambda: linear(torch.ones(2, 3), weight)) == 2 * 2 * 3 * 4
    sound = torch.ones(1, 3, 8)
    assert operations(lambda: conv1d(sound, torch.ones(6, 3, 2))) == 2 * (6 * 7) * (3 * 2)
    query, key = torch.ones(1, 4, 5, 8), torch.ones(1, 2, 7, 8)
    attend = partial(scaled_dot_product_attention, query, key, key, enable_gqa=True)
    assert operations(attend) == 2 * (2 * 4 * 5 * 7 * 8)


def test_a_ladder_of_savings_saves_and_changes_no_answer(scored: Sequence[Rung]) -> None:
    direct, nothing, features, prefix, branches, buckets = scored
    assert not any(rung.differ for rung in scored)
    assert [rung.answers for rung in scored] == [3, *[9] * 5]
    # Three questions of three actions, a clip a question.
    assert [rung.counted.tower_passes for rung in scored] == [3, 9, 3, 3, 3, 3]
    assert nothing.counted.tokens == features.counted.tokens
    shared = direct.counted.prefix_tokens
    assert features.counted.prefix_tokens == 3 * shared
    assert prefix.counted.prefix_tokens == branches.counted.prefix_tokens == shared
    assert prefix.counted.suffix_tokens > branches.counted.suffix_tokens
    assert branches.counted.tokens == buckets.counted.tokens
    assert branches.counted.padding_tokens >= buckets.counted.padding_tokens


def test_computed_operations_are_near_the_counted_ones(bench: Bench) -> None:
    """The formula for sizes that cannot be run, on one that can and has wide layers as they do."""
    wide = {"hidden_size": 256, "intermediate_size": 768}
    tower = {"d_model": 256, "encoder_ffn_dim": 1_024, "output_dim": 256, "encoder_layers": 3}
    tiny = SIZES["tiny"]
    size = replace(tiny, text={**tiny.text, **wide, "rope_parameters": ROPE},
                   audio={**tiny.audio, **tower})  # fmt: skip
    lalm = random_lalm(size, "float32", torch.device("cpu"))
    reasoner = TransformersReasoner(EMBEDDED, device="cpu")
    reasoner.borrow(lalm, nullcontext)
    counted = operations(lambda: reasoner.answer_many(bench.work.requests))
    found = reasoner.lalm.counted
    formula = parts_of(size.family, lalm.base)
    computed = formula.operations(1.0, found.tower_passes, found.tokens, found.head_positions)
    # Left out: attention's products, padding, and half of the first convolution.
    assert 0.85 < computed / counted < 1.0


def test_published_sizes_have_the_parameters_of_their_checkpoints() -> None:
    omni, audio = parts("7b"), parts("qwen2audio")
    assert (omni.total, omni.lora, omni.position) == (8_255_263_744, 20_185_088, 57_344)
    # Qwen2-Audio-7B-Instruct's index says 16,794,193,920 bytes.
    assert round(audio.total / 1e9, 1) == 8.4
    assert audio.position == 524_288
    assert parts("3b").head == parts("3b").words > 0


def test_a_decision_costs_less_with_each_saving(bench: Bench) -> None:
    alone, batch, kept, half = router.decisions(bench.policy, bench.work, 2)
    assert [each.tower for each in (alone, batch, kept, half)] == [1, 1, 0, 0]
    assert alone.tokens > batch.tokens == kept.tokens
    assert batch.positions == kept.positions > half.positions
    # All of a prompt in all layers but the last; there, one position.
    layers = len(bench.lalm.base.model.language_model.layers)
    assert alone.positions == pytest.approx(alone.tokens * (layers - 1) + 1)


def test_the_command_prints_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SMALL) == 0
    out = capsys.readouterr().out
    titles = (
        "survey by likelihood",
        "operations at published sizes",
        "survey by generate",
        "router, deciding",
        "router, training in steps of 2",
        "memory at published",
        "goals",
    )
    places = [out.index(title) for title in titles]
    assert places == sorted(places)
    assert re.search(r"most GPU memory, GB +– +60 at most", out)
    assert "nan" not in out


@pytest.mark.parametrize("name", ["tiny", "qwen2audio"])
def test_a_saved_random_model_loads_as_a_download_does(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {k: v for k, v in SIZES["tiny"].text.items() if k != "rope_parameters"}
    if name == "qwen2audio":
        narrow = {**SIZES[name].text, **small}
        tower = {**SIZES[name].audio, "d_model": 32, "encoder_layers": 1, "encoder_ffn_dim": 48,
                 "encoder_attention_heads": 2}  # fmt: skip
        monkeypatch.setitem(SIZES, name, replace(SIZES[name], text=narrow, audio=tower))
    asked = ["--lalm", f"{name}-random", "--device", "cpu", "--save", str(tmp_path / "new" / "m")]
    assert main(asked) == 0
    capsys.readouterr()
    made = random_lalm(SIZES[name], "float32", torch.device("cpu"))
    read = LALM.load(str(tmp_path / "new" / "m"))
    ours, theirs = made.model.state_dict(), read.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert read.max_seconds == SIZES[name].window
    assert main(asked) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["m"]


def test_only_a_random_model_is_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--save", str(tmp_path / "m")]) == 2
    assert "Allowed: 7b-random" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_an_unknown_size_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lalm", "8b-random"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "7b-random" in said
