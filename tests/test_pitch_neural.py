"""CREPE as a tool: the network against the library's own, and what the tool says in words."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from routerlab.audio import make_clip
from routerlab.errors import ToolError, UserError
from routerlab.tools import check_tool, listing, load_tool
from routerlab.tools.crepe import RATE, Crepe, pitches
from routerlab.tools.pitch_neural import PitchNeural
from routerlab.types import Clip

needs_crepe = pytest.mark.skipif(
    find_spec("torchcrepe") is None, reason='needs pip install "routerlab[tools]"'
)


def tone(hertz: float, seconds: float, rate: int = RATE) -> np.ndarray:
    at = np.arange(round(seconds * rate)) / rate
    return sum(0.2 / k * np.sin(2 * np.pi * k * hertz * at + k) for k in range(1, 5))


def clip(*notes: float, snr_db: float | None = None, rate: int = RATE) -> Clip:
    """Notes of half a second after 0.2 s of rest."""
    samples = np.concatenate([np.zeros(rate // 5), *(tone(hertz, 0.5, rate) for hertz in notes)])
    if snr_db is not None:
        noise = np.random.default_rng(0).standard_normal(len(samples))
        samples = samples + noise * samples[rate // 5 :].std() * 10 ** (-snr_db / 20)
    return make_clip(samples, rate)


@needs_crepe
def test_the_network_gives_the_library_s_own_likelihoods() -> None:
    torch = pytest.importorskip("torch")
    torchcrepe = pytest.importorskip("torchcrepe", exc_type=ImportError)
    samples = clip(220.0, 330.0, snr_db=10).samples
    with torch.inference_mode():
        (frames,) = torchcrepe.preprocess(torch.from_numpy(samples[None].copy()), RATE, 320)
        theirs = torchcrepe.infer(frames.clone(), "tiny").numpy()
    around = np.pad(samples, 512)
    ours = Crepe("tiny", "cpu").likelihoods(
        np.lib.stride_tricks.sliding_window_view(around, 1024)[::320]
    )
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-4
    assert theirs.max() > 0.5, "the comparison saw nothing happen"


def test_a_pitch_is_the_mean_around_the_likeliest_one_in_range() -> None:
    likely = np.zeros((1, 360), np.float32)
    likely[0, [200, 201]] = 0.5, 0.5
    likely[0, 340] = 0.9
    f0, sure = pitches(likely, 50.0, 1000.0)
    assert f0[0] == pytest.approx(10 * 2 ** ((1997.3794 + 200.5 * 20) / 1200), rel=1e-4)
    assert sure[0] == pytest.approx(0.5)
    assert pitches(likely, 50.0, 1950.0)[1][0] == pytest.approx(0.9)


@needs_crepe
@pytest.mark.parametrize("snr_db", [None, 0.0])
def test_notes_are_named_in_as_much_noise_as_there_is_voice(snr_db: float | None) -> None:
    values = load_tool("pitch_neural")(clip(220.0, 330.0, snr_db=snr_db)).values
    assert [note["note"] for note in values["notes"]] == ["A3", "E4"]
    assert values["steps"] == [7]
    assert abs(1200 * np.log2(values["f0_hz"] / (220 if values["note"] == "A3" else 330))) < 30
    assert values["confidence"] > 0.5


@needs_crepe
def test_what_has_no_pitch_is_said_to_have_none() -> None:
    tool = load_tool("pitch_neural")
    rng = np.random.default_rng(0)
    for samples in (np.zeros(RATE), 0.1 * rng.standard_normal(RATE), 1e-4 * tone(220, 1.0)):
        seen = tool(make_clip(samples, RATE))
        assert seen.text == "pitch_neural: no clear pitch"
        assert seen.values["f0_hz"] is None
        assert seen.values["note"] is None


@needs_crepe
def test_the_tool_passes_the_check_and_names_the_wheel_in_its_version() -> None:
    tool = load_tool("pitch_neural")
    assert check_tool(tool) == []
    assert " torchcrepe " in tool.version
    assert tool.version != load_tool("pitch_neural", voiced=0.4).version


@needs_crepe
def test_clips_of_any_rate_are_heard_and_long_or_broken_ones_refused() -> None:
    tool = load_tool("pitch_neural")
    for rate in (8_000, 44_100, 96_000):
        assert tool(clip(220.0, rate=rate)).values["note"] == "A3"
    long = make_clip(np.zeros(600 * 8_000), 8_000)
    broken = Clip(np.array([0.1, np.nan] * 4000, np.float32), RATE, "")
    for bad, said in ((long, "600 s long; most_s is 180"), (broken, "NaN")):
        with pytest.raises(ToolError, match=said) as caught:
            tool(bad)
        assert caught.value.kind == "refused"


def test_wrong_settings_are_told_with_what_is_allowed() -> None:
    for wrong in ({"size": "huge"}, {"device": "abacus"}):
        with pytest.raises(UserError, match="allowed"):
            load_tool("pitch_neural", **wrong)
    assert listing.pip_line(PitchNeural.card.needs).startswith("pip install ")


@pytest.mark.skipif(find_spec("torchcrepe") is not None, reason="torchcrepe is installed")
def test_without_the_wheel_the_pip_line_is_told() -> None:
    for use in (lambda tool: tool.version, lambda tool: tool.setup()):
        with pytest.raises(UserError, match=r'pip install "routerlab\[tools\]"'):
            use(load_tool("pitch_neural"))
