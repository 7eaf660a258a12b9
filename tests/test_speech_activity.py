"""Voice activity: the NumPy network against the library's own, and what the tool says in words."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from routerlab.audio import make_clip
from routerlab.errors import ToolError, UserError
from routerlab.tools import check_tool, load_tool
from routerlab.tools.voices import RATE, Gate, cut, windows
from routerlab.types import Clip

needs_silero = pytest.mark.skipif(
    find_spec("silero_vad") is None, reason='needs pip install "routerlab[tools]"'
)


def vowels(seconds: float = 4.0, rate: int = RATE) -> np.ndarray:
    """A buzz through three formants, in syllables: near enough for the network to stir."""
    from scipy.signal import lfilter

    time = np.arange(round(seconds * rate)) / rate
    phase = np.cumsum(120 * (1 + 0.15 * np.sin(2 * np.pi * 0.9 * time))) / rate
    wave = sum(np.cos(2 * np.pi * k * phase) / k for k in range(1, 25))
    for hertz, width in ((700, 80), (1200, 90), (2600, 120)):
        radius = np.exp(-np.pi * width / rate)
        turn = [1, -2 * radius * np.cos(2 * np.pi * hertz / rate), radius**2]
        wave = lfilter([1 - radius], turn, wave)
    gate = np.clip(3 * np.sin(2 * np.pi * 3.3 * time) + 1, 0, 1)
    return (0.4 * wave / np.abs(wave).max() * gate).astype(np.float32)


@needs_silero
@pytest.mark.filterwarnings("ignore:`torch.jit.load`")
def test_the_network_gives_the_library_s_own_probabilities() -> None:
    import torch
    from silero_vad import load_silero_vad

    from routerlab.tools.silero import voice_probabilities

    threads = torch.get_num_threads()
    try:
        model = load_silero_vad()
    finally:
        torch.set_num_threads(threads)
    noise = 0.02 * np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    samples = np.concatenate([noise, vowels(), noise[:999]])
    with torch.inference_mode():
        theirs = model.audio_forward(torch.from_numpy(samples), sr=RATE)[0].numpy()
    ours = voice_probabilities(samples)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-4
    assert theirs.max() - theirs.min() > 0.1, "the comparison saw nothing happen"


@needs_silero
def test_what_is_no_speech_is_said_to_be_none() -> None:
    tool = load_tool("speech_activity")
    for samples in (np.zeros(RATE), 0.3 * np.sin(np.arange(2 * RATE) / 5), np.zeros(80)):
        seen = tool(make_clip(samples, RATE))
        assert seen.text == "speech_activity: no speech detected"
        assert seen.values == {
            "speech": False,
            "count": 0,
            "speech_s": 0.0,
            "speech_percent": 0.0,
            "segments": [],
        }


@needs_silero
def test_stretches_are_told_in_seconds_and_fit_the_clip() -> None:
    tool = load_tool("speech_activity", threshold=0.05, least_s=0.05)
    clip = make_clip(np.concatenate([np.zeros(RATE), vowels(), np.zeros(RATE)]), RATE)
    seen = tool(clip)
    assert seen.values["speech"]
    assert all(0 <= s["start_s"] < s["end_s"] <= clip.seconds for s in seen.values["segments"])
    assert " s of speech (" in seen.text
    assert seen.text.endswith(" s")
    many = {**seen.values, "segments": [{"start_s": i, "end_s": i + 0.5} for i in range(500)]}
    assert len(tool.describe(many)) <= 400


@needs_silero
def test_the_tool_passes_the_check_and_names_the_wheel_in_its_version() -> None:
    tool = load_tool("speech_activity")
    assert check_tool(tool) == []
    assert " silero-vad " in tool.version
    assert tool.version != load_tool("speech_activity", threshold=0.4).version


@needs_silero
def test_samples_that_are_no_numbers_are_refused() -> None:
    clip = Clip(np.array([0.1, np.nan, 0.2] * 8000, np.float32), RATE, "")
    with pytest.raises(ToolError, match="NaN") as caught:
        load_tool("speech_activity")(clip)
    assert caught.value.kind == "refused"


@pytest.mark.skipif(find_spec("silero_vad") is not None, reason="silero-vad is installed")
def test_without_the_wheel_the_pip_line_is_told() -> None:
    with pytest.raises(UserError, match=r'pip install "routerlab\[tools\]"'):
        _ = load_tool("speech_activity").version


def test_the_level_gate_finds_what_is_loud() -> None:
    gate = Gate("level")
    samples = np.concatenate([np.zeros(RATE), vowels(2.0), np.zeros(2 * RATE)])
    ((start, stop),) = gate.spans(samples)
    assert (start, stop) == pytest.approx((1.0, 3.0), abs=0.1)
    assert gate.spans(np.zeros(RATE, np.float32)) == []
    assert gate.spans(1e-4 * vowels(1.0)) == []
    for wrong in ({"kind": "ears"}, {"threshold": 1.5}):
        with pytest.raises(ValueError, match="allowed"):
            Gate(**wrong)  # type: ignore[arg-type]


def test_windows_keep_order_and_length() -> None:
    found = windows([(0.5, 3.0), (3.2, 29.0), (40.0, 101.0)], longest_s=28.0, gap_s=0.5)
    assert found[0] == (0.5, 3.0)
    assert len(found) == 5
    assert all(0 < stop - start <= 28.0 for start, stop in found)
    assert len(cut(np.zeros(10, np.float32), (5.0, 6.0))) == 1
