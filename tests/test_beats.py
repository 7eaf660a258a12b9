"""Beat This! as a tool: a small random network, its checkpoint converted, loaded and run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routerlab.audio import make_clip
from routerlab.errors import ToolError, UserError
from routerlab.tools import listing, load_tool
from routerlab.tools.beat_weights import convert, main
from routerlab.tools.beats import Beats, metre_of, tempo_of
from routerlab.types import Clip

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

needs_beat_this = pytest.mark.skipif(
    find_spec("beat_this") is None, reason='needs pip install "routerlab[tools]"'
)

RATE = 22_050
SMALL = {"transformer_dim": 16, "n_layers": 1, "head_dim": 8, "stem_dim": 8, "ff_mult": 1}


def clicks(seconds: float = 8.0, rate: int = RATE, bpm: float = 120.0) -> Clip:
    samples = 0.01 * np.random.default_rng(0).standard_normal(round(seconds * rate))
    for at in np.arange(0.1, seconds - 0.1, 60 / bpm):
        start = round(at * rate)
        samples[start : start + rate // 50] += 0.5
    return make_clip(samples, rate)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As the authors' trainer writes it."""
    from beat_this.model.beat_tracker import BeatThis

    torch.manual_seed(0)
    network = BeatThis(**SMALL)
    torch.nn.init.normal_(network.task_heads.beat_downbeat_lin.weight)
    file = tmp_path_factory.mktemp("beats") / "small.ckpt"
    weights = {f"model.{key}": value for key, value in network.state_dict().items()}
    settings = {**SMALL, "lr": 0.1, "dropout": {"frontend": 0.1, "transformer": 0.2}}
    torch.save({"hyper_parameters": settings, "state_dict": weights}, file)
    return str(file)


@pytest.fixture(scope="module")
def folder(checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(convert(checkpoint, str(tmp_path_factory.mktemp("converted") / "beats")))


@needs_beat_this
def test_the_beats_are_the_library_s_own(checkpoint: str, folder: str) -> None:
    from beat_this.inference import Audio2Beats

    clip = clicks(31.0)  # more than the network hears at once
    beats, downbeats = Audio2Beats(checkpoint)(clip.samples, clip.sample_rate)
    seen = Beats(folder)(clip)
    assert len(beats) > 5
    assert seen.values["beats_s"] == pytest.approx(beats, abs=0.006)
    assert seen.values["downbeats_s"] == pytest.approx(downbeats, abs=0.006)
    assert seen.values["count"] == len(beats)
    assert 0.5 < seen.values["confidence"] <= 1.0
    assert seen.text.startswith("beats: ")
    assert len(seen.text) <= 400


@needs_beat_this
def test_the_same_clip_gives_the_same_and_the_version_names_the_library(folder: str) -> None:
    tool, clip = load_tool("beats", model=folder), clicks(3.0)
    assert tool(clip).values == tool(clip).values
    assert " beat-this 1." in tool.version
    assert tool.version != Beats(folder, dtype="bfloat16").version
    assert Beats(folder, dtype="bfloat16")(clip).values["count"] >= 0


def odd_clips() -> Iterator[Clip]:
    yield from (clicks(seconds) for seconds in (0.1, 0.3))
    yield from (clicks(1.0, rate) for rate in (8_000, 44_100, 96_000))
    yield make_clip(np.full(1, 0.5), RATE)
    yield make_clip(np.zeros(RATE), RATE)


@needs_beat_this
def test_odd_clips_are_answered_and_silence_has_no_beats(folder: str) -> None:
    tool = Beats(folder)
    seen = tool.call_many(list(odd_clips()))
    assert seen[-1].text == "beats: no beats found"
    assert seen[-1].values["tempo_bpm"] is None
    assert all(len(one.text) <= 400 for one in seen)
    bad = replace(clicks(0.5), samples=np.full(9000, np.nan, np.float32))
    with pytest.raises(ToolError, match="NaN or infinite") as caught:
        tool(bad)
    assert caught.value.kind == "refused"


def test_many_beats_are_told_as_far_as_there_is_room() -> None:
    values = {"tempo_bpm": 120.0, "count": 900, "beats_per_bar": 4}
    values |= {"beats_s": [i / 2 for i in range(900)], "downbeats_s": [2.0 * i for i in range(225)]}
    text = Beats("a-folder").describe(values)
    assert text.startswith("beats: 120 bpm, 900 beats, 4 a bar; at (* downbeat) 0.00* 0.50 1.00")
    assert text.endswith(" ... s")
    assert 380 < len(text) <= 400
    few = {**values, "tempo_bpm": None, "beats_per_bar": None, "count": 1, "beats_s": [0.5]}
    assert Beats("a-folder").describe(few) == (
        "beats: tempo not found, 1 beat, metre not found; at (* downbeat) 0.50 s"
    )


def test_tempo_and_metre_are_found_or_not_made_up() -> None:
    beats = np.arange(0.0, 6.0, 0.5)
    beats[4] += 0.02
    assert tempo_of(beats) == pytest.approx(120, abs=0.5)
    assert tempo_of(beats[:2]) is None
    assert tempo_of(np.array([0.0, 0.3, 1.3, 3.3, 3.5, 7.0])) is None
    assert metre_of(beats, beats[::4]) == 4
    assert metre_of(beats, beats[:5:4]) is None
    assert metre_of(beats, beats[[0, 3, 5, 9]]) is None
    assert metre_of(beats, beats) is None


@needs_beat_this
def test_a_checkpoint_is_converted_by_one_command(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([checkpoint, str(tmp_path / "made")]) == 0
    assert sorted(file.name for file in (tmp_path / "made").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    config = json.loads((tmp_path / "made" / "config.json").read_text())
    assert config["head_dim"] == 8
    assert "lr" not in config, "the trainer's settings are no part of the network"
    capsys.readouterr()
    assert main([checkpoint]) == 2
    assert main([str(tmp_path / "absent.ckpt"), str(tmp_path)]) == 2
    assert "no checkpoint" in capsys.readouterr().err


class Payload:
    """What a hostile pickle holds: code that runs when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("touched-by-a-pickle"),)


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"hyper_parameters": Payload(), "state_dict": {}}, tmp_path / "bad.ckpt")
    with pytest.raises(UserError, match="no checkpoint of Beat This!"):
        convert(str(tmp_path / "bad.ckpt"), str(tmp_path / "out"))
    assert not (tmp_path / "touched-by-a-pickle").exists()


@needs_beat_this
def test_other_weights_and_other_folders_are_refused(folder: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(Path(folder) / "model.safetensors")
    weights.pop("task_heads.beat_downbeat_lin.bias")
    (tmp_path / "config.json").write_text((Path(folder) / "config.json").read_text())
    with pytest.raises(UserError, match=r"no \*\.safetensors"):
        Beats(str(tmp_path)).setup()
    (tmp_path / "lacking").mkdir()
    save_file(weights, tmp_path / "lacking" / "model.safetensors")
    (tmp_path / "lacking" / "config.json").write_text(json.dumps(SMALL))
    with pytest.raises(UserError, match="is no Beat This! network"):
        Beats(str(tmp_path / "lacking")).setup()


def test_what_is_needed_is_told() -> None:
    assert listing.pip_line(Beats.card.needs).startswith("pip install ")
    with pytest.raises(UserError, match="model"):
        load_tool("beats")


@pytest.mark.skipif(find_spec("beat_this") is not None, reason="beat-this is installed")
def test_without_the_package_the_pip_line_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    safetensors.save_file({}, tmp_path / "model.safetensors")
    tool = Beats(str(tmp_path))
    for use in (lambda: tool.version, tool.setup):
        with pytest.raises(UserError, match=r"^tools: beat-this is not installed. Run: pip"):
            use()
