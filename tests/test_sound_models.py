"""AST and CLAP as tools: small random models, saved and loaded as a hub download is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routerlab.audio import make_clip
from routerlab.errors import ToolError, UserError
from routerlab.tools.registry import load_tool
from routerlab.tools.sound_models import SoundEvents, SoundMatch
from routerlab.tools.stretches import heard_s, stretches
from routerlab.types import Clip

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

RATE = 16_000
LABELS = ["Speech", "Dog, bark", "Inside, large room or hall", "Rain", "Bell"]
OPTIONS = ("a dog barking", "rain on a roof", "a bell")


def clip(seconds: float, rate: int = RATE, level: float = 0.2) -> Clip:
    rng = np.random.default_rng(0)
    return make_clip(level * rng.standard_normal(max(round(seconds * rate), 1)), rate)


@pytest.fixture(scope="module")
def ast(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("ast"))
    torch.manual_seed(0)
    config = transformers.ASTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_length=100,
        num_mel_bins=32,
        id2label=dict(enumerate(LABELS)),
        label2id={label: at for at, label in enumerate(LABELS)},
    )
    transformers.ASTForAudioClassification(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=100).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["rand_trunc", "fusion"])
def clap(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A CLAP with and one without feature fusion, as LAION publishes both."""
    folder = str(tmp_path_factory.mktemp("clap"))
    torch.manual_seed(0)
    fused = request.param == "fusion"
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 16, "vocab_size": 300, "max_position_embeddings": 40}
    audio = {"spec_size": 64, "num_mel_bins": 16, "depths": [1, 1], "num_attention_heads": [1, 2]}
    audio |= {"patch_embeds_hidden_size": 8, "hidden_size": 16, "num_hidden_layers": 2}
    audio |= {"window_size": 4, "enable_fusion": fused}
    audio |= {"fusion_type": "aff_2d"} if fused else {}
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=8)
    transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor(
        feature_size=16, max_length_s=1, truncation=request.param
    ).save_pretrained(folder)
    tokenizer(folder)
    return folder


def tokenizer(folder: str) -> None:
    """Byte-level BPE without merges: every text has tokens."""
    from tokenizers.pre_tokenizers import ByteLevel

    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocab = {word: at for at, word in enumerate([*specials, *sorted(ByteLevel.alphabet())])}
    transformers.RobertaTokenizer(vocab=vocab, merges=[]).save_pretrained(folder)


def test_stretches_cover_a_clip_or_are_spread_over_it() -> None:
    samples = np.arange(100, dtype=np.float32)
    (whole,) = stretches(samples, 10, 20.0, 4)
    assert (whole.start_s, whole.end_s, len(whole.samples)) == (0.0, 10.0, 100)
    few = stretches(samples, 10, 1.0, 3)
    assert [part.start_s for part in few] == [0.0, 4.5, 9.0]
    assert heard_s(few) == pytest.approx(3.0)
    assert heard_s(stretches(samples, 10, 4.0, 9)) == pytest.approx(10.0)
    (tiny,) = stretches(np.ones(1, np.float32), 1000, 1.0, 3)
    assert len(tiny.samples) == 100
    assert tiny.end_s == 0.001


def test_events_are_scored_and_told(ast: str) -> None:
    tool = SoundEvents(ast, least=0.0, top=2)
    seen = tool(clip(0.9))
    scores = [row["score"] for row in seen.values["events"]]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
    assert {row["label"] for row in seen.values["events"]} <= set(LABELS)
    first = seen.values["events"][0]
    assert seen.text.startswith(f"sound_events: {first['label']} {first['score']:.2f}, ")
    assert " s)" not in seen.text


def test_the_scores_are_the_models_own(ast: str) -> None:
    sound = clip(0.9)
    values = SoundEvents(ast, least=0.0)(sound).values
    network = transformers.ASTForAudioClassification.from_pretrained(ast).eval()
    given = transformers.ASTFeatureExtractor.from_pretrained(ast)(
        sound.samples, sampling_rate=RATE, return_tensors="pt"
    )
    with torch.no_grad():
        logits = network(**given).logits[0]
    told = {row["label"]: row["score"] for row in values["events"]}
    expected = dict(zip(LABELS, torch.sigmoid(logits).tolist(), strict=True))
    assert told == pytest.approx(expected, abs=1e-3)
    exclusive = SoundEvents(ast, least=0.0, exclusive=True)(sound).values["events"]
    assert sum(row["score"] for row in exclusive) == pytest.approx(1.0, abs=0.01)


def test_a_long_clip_says_when_and_how_much_was_heard(ast: str) -> None:
    seen = SoundEvents(ast, least=0.0, most_stretches=3)(clip(600.0, 8_000))
    assert seen.values["heard_s"] == pytest.approx(3.0)
    assert all(row["end_s"] - row["start_s"] == 1.0 for row in seen.values["events"])
    assert " s)" in seen.text
    assert len(seen.text) <= 400


def test_nothing_is_made_up(ast: str, clap: str) -> None:
    silence = make_clip(np.zeros(RATE), RATE)
    assert SoundEvents(ast)(silence).text == "sound_events: nothing sounds"
    assert SoundEvents(ast)(silence).values["best"] is None
    none = SoundEvents(ast, least=1.0)(clip(1.0))
    assert none.values["events"] == []
    assert none.text.startswith("sound_events: none scores 1 or more; likeliest ")
    match = SoundMatch(clap)(silence, OPTIONS)
    assert match.text == "sound_match: nothing sounds"
    assert match.values["best"] is None


def odd_clips() -> Iterator[Clip]:
    yield from (clip(seconds) for seconds in (0.0, 0.1, 3.3))
    yield from (clip(0.5, rate) for rate in (8_000, 44_100, 96_000))
    stereo = np.random.default_rng(1).standard_normal((RATE, 2)) / 10
    yield make_clip(stereo.mean(axis=1), RATE)
    yield make_clip(np.zeros(RATE), RATE)


def test_odd_clips_are_answered_alone_and_in_batches(ast: str, clap: str) -> None:
    clips = list(odd_clips())
    events, match = SoundEvents(ast, least=0.0), SoundMatch(clap)
    alone = [events(one).values for one in clips]
    together = [seen.values for seen in events.call_many(clips)]
    assert [row["heard_s"] for row in alone] == [row["heard_s"] for row in together]
    for one, other in zip(alone, together, strict=True):
        told = {row["label"]: row["score"] for row in other["events"]}
        assert {row["label"]: row["score"] for row in one["events"]} == pytest.approx(
            told, abs=2e-3
        )
    options = [OPTIONS[: 2 + at % 2] for at in range(len(clips))]
    seen = match.call_many(clips, options)
    for one, given, row in zip(clips, options, seen, strict=True):
        assert len(row.text) <= 400
        assert match(one, given).values["best"] == row.values["best"]
        assert len(row.values["matches"]) == (len(given) if row.values["best"] else 0)


def test_a_clip_that_is_not_finite_is_refused(ast: str, clap: str) -> None:
    samples = np.array([0.1, np.nan] * 800, np.float32)
    bad = replace(clip(0.1), samples=samples)
    for tool in (SoundEvents(ast), SoundMatch(clap)):
        with pytest.raises(ToolError, match="NaN or infinite") as caught:
            tool(bad, OPTIONS)
        assert caught.value.kind == "refused"


def test_options_are_matched_in_any_order(clap: str) -> None:
    tool = SoundMatch(clap)
    sound = clip(2.5)
    seen, turned = tool(sound, OPTIONS), tool(sound, OPTIONS[::-1])
    shares = {row["choice"]: row["percent"] for row in seen.values["matches"]}
    assert sum(shares.values()) == pytest.approx(100.0, abs=0.2)
    assert {row["choice"]: row["percent"] for row in turned.values["matches"]} == pytest.approx(
        shares, abs=0.2
    )
    assert seen.values["best"] == max(shares, key=lambda choice: shares[choice])
    assert seen.text.startswith(f'sound_match: "{seen.values["best"]}" ')
    assert tool(sound, OPTIONS).values == seen.values, "no random crop"
    with pytest.raises(ToolError, match="needs the question's choices"):
        tool(sound)


def test_the_similarities_are_the_models_own(clap: str) -> None:
    sound = clip(0.7, 48_000)
    rows = SoundMatch(clap, prompt="{}")(sound, OPTIONS).values["matches"]
    network = transformers.ClapModel.from_pretrained(clap).eval()
    features = transformers.ClapFeatureExtractor.from_pretrained(clap)(
        sound.samples, sampling_rate=48_000, return_tensors="pt"
    )
    words = transformers.AutoTokenizer.from_pretrained(clap)
    with torch.no_grad():
        heard = network.get_audio_features(
            features["input_features"], is_longer=torch.zeros(1, 1, dtype=torch.bool)
        ).pooler_output
        for row in rows:
            read = network.get_text_features(**words(row["choice"], return_tensors="pt"))
            alike = float((heard * read.pooler_output).sum())
            assert row["similarity"] == pytest.approx(alike, abs=2e-3)


def test_long_and_many_options_keep_the_text_short(clap: str) -> None:
    options = tuple(f"option {at}: " + "a very long story\nof a sound " * 8 for at in range(20))
    text = SoundMatch(clap)(clip(1.0), options).text
    assert len(text) <= 400
    assert "…" in text
    assert "\n" not in text
    assert text.endswith(" more")


def test_they_are_known_by_name_and_their_settings_checked(ast: str, clap: str) -> None:
    assert isinstance(load_tool("sound_events", model=ast), SoundEvents)
    assert load_tool("sound_match", model=clap).card.sees_choices
    for name, settings, said in (
        ("sound_events", {"top": 0}, "1 or more"),
        ("sound_match", {"prompt": "a sound"}, "must hold {}"),
        ("sound_match", {"most_stretches": 0}, "1 or more"),
    ):
        with pytest.raises(UserError, match=said):
            load_tool(name, **settings)


def test_weights_of_another_model_are_refused(ast: str, clap: str) -> None:
    for tool in (SoundEvents(clap), SoundMatch(ast)):
        with pytest.raises(UserError):
            tool.setup()


def test_the_version_holds_weights_and_settings(ast: str, tmp_path: Path) -> None:
    import shutil

    copy: Any = shutil.copytree(ast, tmp_path / "copy")
    assert SoundEvents(ast).version == SoundEvents(str(copy)).version
    assert SoundEvents(ast).version != SoundEvents(ast, top=3).version
