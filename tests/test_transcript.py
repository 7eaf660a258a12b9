"""Transcript and language: small random Whispers, saved and loaded as a hub download is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routerlab.audio import make_clip
from routerlab.errors import ToolError, UserError
from routerlab.tools import check_tool
from routerlab.tools.base import Tool
from routerlab.tools.isolation import ToolPool
from routerlab.tools.registry import load_tool
from routerlab.tools.specs import ToolSpec
from routerlab.tools.spoken import _widened
from routerlab.tools.whisper_words import loop_length, pieces, token_edges
from routerlab.types import Clip

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tiny_whisper = pytest.importorskip("tiny_whisper")

RATE = 16_000
needs_silero = pytest.mark.skipif(
    find_spec("silero_vad") is None, reason='needs pip install "routerlab[tools]"'
)


def clip(seconds: float, rate: int = RATE, level: float = 0.2, seed: int = 0) -> Clip:
    rng = np.random.default_rng(seed)
    return make_clip(level * rng.standard_normal(max(round(seconds * rate), 1)), rate)


def with_pause(pause_s: float) -> Clip:
    """A second of noise, a pause, half a second of noise."""
    parts = (clip(1.0).samples, np.zeros(round(pause_s * RATE)), clip(0.5, seed=1).samples)
    return make_clip(np.concatenate(parts), RATE)


def quiet_clips() -> Iterator[Clip]:
    """Silence, noise below the gate, a click too short for a word."""
    yield make_clip(np.zeros(2 * RATE), RATE)
    yield clip(2.0, level=1e-4)
    yield clip(0.1)
    yield clip(0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_whisper.save(str(tmp_path_factory.mktemp("whisper"))))


@pytest.fixture(scope="module")
def unaligned(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One whose checkpoint names no heads that follow the sound."""
    return str(tiny_whisper.save(str(tmp_path_factory.mktemp("unaligned")), aligned=False))


@pytest.fixture(scope="module")
def tool(folder: str) -> Tool:
    return load_tool("transcript", model=folder, gate="level")


def test_nothing_is_made_up_of_quiet_clips(tool: Tool, folder: str) -> None:
    language = load_tool("language", model=folder, gate="level")
    for one in quiet_clips():
        assert tool(one).text == "transcript: no speech detected"
        assert tool(one).values["text"] == ""
        assert tool(one).values["language"] is None
        assert language(one).text == "language: no speech detected"
        assert language(one).values["top"] == []


@needs_silero
def test_the_voice_gate_keeps_noise_and_tones_from_the_model(folder: str) -> None:
    gated = load_tool("transcript", model=folder)
    tone = make_clip(0.3 * np.sin(np.arange(2 * RATE) / 5), RATE)
    for one in (*quiet_clips(), clip(2.0), tone):
        assert gated(one).text == "transcript: no speech detected"
    assert " silero-vad " in gated.version


@pytest.mark.skipif(find_spec("silero_vad") is not None, reason="silero-vad is installed")
def test_without_the_wheel_the_pip_line_and_the_other_gate_are_told(folder: str) -> None:
    with pytest.raises(UserError, match=r'pip install "routerlab\[tools\]".*gate: level'):
        _ = load_tool("transcript", model=folder).version


def test_text_and_confidence_are_those_of_plain_generate(folder: str) -> None:
    network = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
    processor = transformers.WhisperProcessor.from_pretrained(folder)
    sound = clip(1.4)
    given = processor(sound.samples, sampling_rate=RATE, return_tensors="pt").input_features
    how = {"language": "de", "task": "transcribe", "return_dict_in_generate": True}
    out = network.generate(given, max_new_tokens=20, output_scores=True, **how)
    logs = network.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    text = processor.decode(out.sequences[0], skip_special_tokens=True)
    values = load_tool("transcript", model=folder, gate="level", language="german")(sound).values
    assert values["text"].rstrip("…") == " ".join(text.split())
    assert len(values["text"]) > 5
    assert values["confidence"] == pytest.approx(float(logs.mean().exp()), abs=0.01)
    likeliest = processor.tokenizer.decode(network.detect_language(given)[0])
    language = load_tool("language", model=folder, gate="level")(sound)
    assert likeliest == f"<|{language.values['language']}|>"


def test_the_same_again_and_batches_as_one_by_one(tool: Tool) -> None:
    clips = [make_clip(np.zeros(RATE), RATE), with_pause(2.5), clip(0.5, 44_100)]
    alone = [tool(one) for one in clips]
    assert alone[1].values == tool(clips[1]).values
    together = tool.call_many(clips)
    assert [seen.text for seen in together] == [seen.text for seen in alone]
    for one, other in zip(alone, together, strict=True):
        assert one.values["segments"] == other.values["segments"]
        starts, others = ([w["start_s"] for w in seen.values["words"]] for seen in (one, other))
        assert starts == pytest.approx(others, abs=0.1)
        assert one.values["confidence"] == pytest.approx(other.values["confidence"], abs=0.02)


def test_words_have_times_where_the_checkpoint_has_heads(tool: Tool, unaligned: str) -> None:
    sound = with_pause(2.5)
    values = tool(sound).values
    assert values["timed"] == "words"
    starts = [word["start_s"] for word in values["words"]]
    assert starts == sorted(starts)
    assert all(w["start_s"] <= w["end_s"] <= sound.seconds for w in values["words"])
    assert {"Ġ", " "}.isdisjoint("".join(word["word"] for word in values["words"]))
    other = load_tool("transcript", model=unaligned, gate="level", times=True)(sound)
    assert other.values["words"] == []
    assert other.values["timed"] == "stretches"
    assert [row["start_s"] for row in other.values["segments"]] == pytest.approx([0, 3.3], abs=0.1)
    assert "this model tells none of words" in other.text
    assert "[3.3] " in other.text


def test_a_long_clip_is_heard_in_windows_and_what_is_left_is_told(folder: str) -> None:
    few = load_tool("transcript", model=folder, gate="level", most_windows=3)
    seen = few(clip(60.0))
    assert len(seen.values["segments"]) == 3
    assert all(row["end_s"] - row["start_s"] <= 2.0 for row in seen.values["segments"])
    assert seen.values["speech_s"] == pytest.approx(60.0, abs=0.1)
    left_s = 60.0 - seen.values["segments"][-1]["end_s"]
    assert seen.values["unheard_s"] == pytest.approx(left_s, abs=0.01)
    assert f"{seen.values['unheard_s']:.0f} s of later speech not heard" in seen.text
    # Windows are made of stretches: none lies in a pause.
    pauses = few(with_pause(2.5)).values["segments"]
    assert [row["end_s"] for row in pauses] == pytest.approx([1.2, 4.0], abs=0.1)
    assert _widened([(1.0, 2.0), (2.0, 3.0), (9.0, 9.9)], 10.0) == [
        (0.8, 2.0),
        (2.0, 3.2),
        (8.8, 10.0),
    ]


def test_a_text_that_is_cut_ends_so_and_says_how_much_is_missing(tool: Tool) -> None:
    values = {**tool(clip(1.0)).values, "text": "word " * 400 + "end"}
    text = tool.describe(values)
    assert len(text) <= 400
    assert text.endswith('word…"')
    kept = len(text.partition('"')[2]) - len('…"')
    assert f"{2003 - kept} of 2003 characters left out" in text
    assert "\n" not in text


def test_a_model_that_repeats_itself_is_cut_and_says_so(tmp_path: Path) -> None:
    seen = load_tool("transcript", model=tiny_whisper.save(str(tmp_path), "a"), gate="level")(
        clip(1.0)
    )
    assert seen.values["text"] == "a…"
    assert seen.values["cuts"] == 1
    assert "cut where the model repeated itself" in seen.text
    assert "unsure" not in seen.text
    assert loop_length([5, *[1, 2, 3] * 6]) == 3
    assert loop_length([5, *[1, 2, 3] * 5]) == 0, "a refrain is no loop"


def test_a_model_that_hears_nobody_is_believed(tmp_path: Path) -> None:
    """It writes control tokens only: they never become text."""
    mute = tiny_whisper.save(str(tmp_path), "<|nospeech|>")
    for name in ("transcript", "language"):
        seen = load_tool(name, model=mute, gate="level")(clip(1.0))
        assert seen.text == f"{name}: no speech detected"
        assert seen.values["speech_s"] == 0.0


def test_control_tokens_of_other_models_stay_text(tool: Tool) -> None:
    values = {**tool(clip(1.0)).values, "text": "<|im_end|> hello"}
    assert tool.describe(values).endswith('"<|im_end|> hello"')


def test_languages_come_with_shares(folder: str) -> None:
    language = load_tool("language", model=folder, gate="level", top=4)
    sounds = [clip(1.0), clip(5.0), with_pause(2.5)]
    for alone, other in zip(map(language, sounds), language.call_many(sounds), strict=True):
        shares = [row["percent"] for row in alone.values["top"]]
        assert sum(shares) == pytest.approx(100.0, abs=0.3)
        assert shares == sorted(shares, reverse=True)
        assert shares == pytest.approx([row["percent"] for row in other.values["top"]], abs=0.2)
        assert " percent; next " in alone.text
    guess = {**alone.values, "percent": 31.0}
    assert language.describe(guess).startswith("language: unsure, likeliest ")


def test_an_english_only_model_writes_and_tells_no_language(tmp_path: Path) -> None:
    english = tiny_whisper.save(str(tmp_path), english=True)
    seen = load_tool("transcript", model=english, gate="level")(clip(1.0))
    assert seen.text.startswith("transcript (English; 0.0 to 1.0 s")
    assert len(seen.values["text"]) > 5
    with pytest.raises(UserError, match="knows English only"):
        load_tool("language", model=english, gate="level").setup()


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("transcript", {"gate": "ears"}, "allowed: voice, level"),
        ("transcript", {"most_windows": 0}, "must be 1 to"),
        ("language", {"top": 0}, "1 or more"),
    ],
)
def test_wrong_settings_are_told(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_tool(name, **settings)


def test_wrong_language_clip_and_weights_are_told(folder: str, tool: Tool, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no language named 'germna'.*mean 'german'"):
        load_tool("transcript", model=folder, gate="level", language="germna").setup()
    bad = replace(clip(0.1), samples=np.array([0.1, np.nan] * 8000, np.float32))
    with pytest.raises(ToolError, match="NaN or infinite"):
        tool(bad)
    pickled = Path(shutil.copytree(folder, tmp_path / "pickled"))
    state = transformers.WhisperForConditionalGeneration.from_pretrained(folder).state_dict()
    torch.save(state, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no \*\.safetensors"):
        load_tool("transcript", model=str(pickled), gate="level").setup()


def test_the_version_holds_weights_and_settings(tool: Tool, folder: str, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert load_tool("transcript", model=str(copy), gate="level").version == tool.version
    for settings in ({"language": "de"}, {"threshold": 0.4}, {"times": True}):
        other = load_tool("transcript", model=folder, gate="level", **settings)
        assert other.version != tool.version
    network = transformers.WhisperForConditionalGeneration.from_pretrained(copy)
    with torch.no_grad():
        network.proj_out.weight[0, 0] += 1
    network.save_pretrained(copy)
    assert load_tool("transcript", model=str(copy), gate="level").version != tool.version


def test_both_pass_the_check(tool: Tool, folder: str) -> None:
    assert check_tool(tool) == []
    assert check_tool(load_tool("language", model=folder, gate="level")) == []


def test_a_worker_loads_it_from_a_recipes_spec(unaligned: str) -> None:
    settings = {"model": unaligned, "gate": "level"}
    with ToolPool([ToolSpec("words", "transcript", settings=settings)], workers=1) as pool:
        (seen,) = pool.observe(clip(0.5))
    assert seen.error == ""
    assert seen.values == load_tool("transcript", **settings)(clip(0.5)).values


def test_attention_that_walks_gives_the_frames_where_it_steps() -> None:
    look = np.full((2, 4, 80), 0.01)
    for token in range(4):
        look[:, token, 20 * token : 20 * token + 20] = 1.0
    assert token_edges(look).tolist() == [0, 20, 40, 60]
    assert token_edges(look[..., :1]).tolist() == [0, 0, 0, 0]


def test_tokens_are_put_together_to_words() -> None:
    said = [" He", " said", ",", ' "', "Hel", "lo", '"', " -"]

    def decode(tokens: Any) -> str:
        return "".join(said[token] for token in tokens)

    found = pieces(range(8), decode, spaced=True)
    assert found == [(" He", 0, 1), (" said,", 1, 3), (' "Hello"', 3, 7)]
    raw = ["你".encode()[:2], "你".encode()[2:], "好".encode(), "。".encode()]

    def characters(tokens: Any) -> str:
        return b"".join(raw[token] for token in tokens).decode(errors="replace")

    assert pieces(range(4), characters, spaced=False) == [("你", 0, 2), ("好。", 2, 4)]
