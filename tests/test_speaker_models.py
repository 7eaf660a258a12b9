"""Emotion and speakers: small random models, saved and loaded as a hub download is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routerlab.audio import make_clip
from routerlab.data.speech.clips import Speech, spoken
from routerlab.errors import ToolError, UserError
from routerlab.tools import check_tool
from routerlab.tools.emotion import Emotion
from routerlab.tools.registry import load_tool
from routerlab.tools.speaker_turns import slide
from routerlab.tools.speakers import Speakers
from routerlab.tools.voices import Gate
from routerlab.tools.waveforms import least_samples
from routerlab.types import Clip

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

needs_silero = pytest.mark.skipif(
    find_spec("silero_vad") is None, reason='needs pip install "routerlab[tools]"'
)

RATE = 16_000
LABELS = ["neu", "joyful", "ang"]
SMALL: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 16, "conv_dim": [8] * 7, "num_conv_pos_embedding_groups": 2}
KINDS = {
    "Wav2Vec2": {},
    "Hubert": {"feat_extract_norm": "layer", "use_weighted_layer_sum": True},
    "WavLM": {},
}
LEVEL: dict[str, Any] = {"gate": "level"}
"""Hears noise as speech, so that clips may be made of it."""


def saved(folder: Path, network: Any, mask: bool = False) -> str:
    network.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=mask).save_pretrained(folder)
    return str(folder)


def classifying(kind: str, folder: Path) -> str:
    """Without and with a mask, as the base and large sizes are published."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        **SMALL,
        **KINDS[kind],
        id2label=dict(enumerate(LABELS)),
        label2id={label: at for at, label in enumerate(LABELS)},
    )
    network = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    with torch.no_grad():
        network.classifier.weight.mul_(40)  # scores that differ from clip to clip
    return saved(folder, network, mask=kind == "Hubert")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    return classifying("Wav2Vec2", tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def xvector(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    config = transformers.WavLMConfig(**SMALL, tdnn_dim=[8, 8, 8, 8, 16], xvector_output_dim=8)
    network = transformers.WavLMForXVector(config)
    with torch.no_grad():
        for layer in (network.projector, *network.tdnn, network.feature_extractor):
            for weights in layer.parameters():
                weights.mul_(20)  # vectors that differ from sound to sound
    return saved(tmp_path_factory.mktemp("xvector"), network)


def noise(seconds: float, rate: int = RATE, seed: int = 0) -> Clip:
    rng = np.random.default_rng(seed)
    return make_clip(0.2 * rng.standard_normal(max(round(seconds * rate), 1)), rate)


def bursts(*seconds: float, rest_s: float = 0.4) -> Clip:
    """Noise of each length, with rests between."""
    rest = np.zeros(round(rest_s * RATE), np.float32)
    parts = [part for at, s in enumerate(seconds) for part in (noise(s, seed=at).samples, rest)]
    return make_clip(np.concatenate(parts[:-1]), RATE)


def odd_clips() -> list[Clip]:
    lengths = [noise(seconds) for seconds in (0.0, 0.1, 2.0, 3.3)]
    rates = [noise(0.5, rate) for rate in (8_000, 44_100, 96_000)]
    return [*lengths, *rates, make_clip(np.zeros(RATE), RATE), bursts(0.5, 0.5, 2.0)]


def unspoken() -> Iterator[Clip]:
    yield make_clip(np.zeros(RATE), RATE)
    yield noise(2.0)
    yield noise(0.1)
    yield make_clip(1e-5 * np.random.default_rng(0).standard_normal(RATE), RATE)


def conversation(*clips: Speech, rest_s: float = 0.3) -> Clip:
    rest = np.zeros(round(rest_s * RATE))
    parts = [part for clip in clips for part in (clip.sound, rest)]
    return make_clip(np.concatenate(parts), RATE)


# Emotion


def test_emotions_carry_the_config_s_labels_and_sum_to_one(classifier: str) -> None:
    seen = Emotion(classifier, **LEVEL)(noise(1.2))
    scores = [row["score"] for row in seen.values["emotions"]]
    assert {row["label"] for row in seen.values["emotions"]} == {"neutral", "joyful", "angry"}
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1.0, abs=2e-3)
    assert seen.values["best"] == seen.values["emotions"][0]["label"]
    assert seen.values["heard_s"] == seen.values["speech_s"] == pytest.approx(1.2, abs=0.05)
    assert seen.text.startswith(f"emotion: {seen.values['best']} {scores[0]:.2f}, ")
    assert seen.values["stretches"] == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_scores_are_the_classifier_s_own(kind: str, tmp_path: Path) -> None:
    classifier, sound = classifying(kind, tmp_path), noise(1.2)
    network = transformers.AutoModelForAudioClassification.from_pretrained(classifier).eval()
    features = transformers.AutoFeatureExtractor.from_pretrained(classifier)
    ((start, stop),) = Gate("level").spans(sound.samples)
    heard = sound.samples[round(start * RATE) : round(stop * RATE)]
    with torch.no_grad():
        logits = network(**features(heard, sampling_rate=RATE, return_tensors="pt")).logits[0]
    expected = torch.softmax(logits, dim=-1).tolist()
    names = ["neutral", "joyful", "angry"]
    told = Emotion(classifier, **LEVEL)(sound).values["emotions"]
    assert {row["label"]: row["score"] for row in told} == pytest.approx(
        dict(zip(names, expected, strict=True)), abs=1e-3
    )
    assert max(expected) - min(expected) > 0.02, "the comparison saw nothing happen"


def test_a_long_clip_tells_its_stretches_and_the_cap(classifier: str) -> None:
    seen = Emotion(classifier, stretch_s=1.0, most_stretches=3, **LEVEL)(noise(8.0))
    assert [row["start_s"] for row in seen.values["stretches"]] == pytest.approx(
        [0.0, 4.0, 7.0], abs=0.1
    )
    assert seen.values["heard_s"] == pytest.approx(3.0, abs=0.05)
    assert seen.values["speech_s"] == pytest.approx(8.0, abs=0.1)
    assert "; heard 3 of 8 s of speech; 0-1 s " in seen.text
    many = Emotion(classifier, stretch_s=0.2, most_stretches=60, **LEVEL)(noise(8.0))
    assert len(many.text) <= 400
    assert many.text.endswith(" ...")


def test_a_clip_s_scores_are_the_mean_of_its_stretches(classifier: str) -> None:
    tool = Emotion(classifier, top=3, **LEVEL)
    first, second = noise(1.0, seed=1), noise(3.0, seed=2)
    rest = np.zeros(round(1.5 * RATE), np.float32)
    both = make_clip(np.concatenate([first.samples, rest, second.samples]), RATE)
    values = tool(both).values
    shares = [row["end_s"] - row["start_s"] for row in values["stretches"]]
    assert shares == pytest.approx([1.0, 3.0], abs=0.1)
    alone = [tool(one).values["emotions"] for one in (first, second)]
    tables = [{row["label"]: row["score"] for row in rows} for rows in alone]
    for row in values["emotions"]:
        mean = np.average([table[row["label"]] for table in tables], weights=shares)
        assert row["score"] == pytest.approx(mean, abs=0.02)


# Speakers


def test_turns_of_one_word_are_heard_and_told(xvector: str) -> None:
    seen = Speakers(xvector, distance=1e-6, **LEVEL)(bursts(0.5, 0.5, 0.5))
    assert seen.values["count"] == 3
    assert seen.values["first"] == "A"
    starts = [turn["start_s"] for turn in seen.values["turns"]]
    assert starts == pytest.approx([0.0, 0.9, 1.8], abs=0.06)
    assert re.fullmatch(
        r"speakers: 3 speakers, A first; speaking time \(pitch\): A 0\.[56] s, B 0\.[56] s, "
        r"C 0\.5 s; when: A 0\.0-0\.[56] s, B 0\.9-1\.[45] s, C 1\.8-2\.3 s",
        seen.text,
    )
    one = Speakers(xvector, distance=1.99, **LEVEL)(bursts(0.5, 0.5, 0.5))
    assert one.values["speakers"][0]["speaking_s"] == pytest.approx(1.6, abs=0.1)
    assert one.text.startswith("speakers: 1 speaker; speaking time (pitch): A 1.")
    assert one.values["turns"] == [{"speaker": "A", "start_s": 0.0, "end_s": 2.3}]


def test_the_vectors_are_the_network_s_own_whatever_goes_through_with_them(xvector: str) -> None:
    tool = Speakers(xvector, **LEVEL)
    tool.prepare()
    pieces = [noise(s, seed=at).samples for at, s in enumerate((0.5, 1.5, 0.5, 1.5, 1.5))]
    network = transformers.WavLMForXVector.from_pretrained(xvector).eval()
    features = transformers.AutoFeatureExtractor.from_pretrained(xvector)
    with torch.no_grad():
        expected = [
            network(**features(piece, sampling_rate=RATE, return_tensors="pt")).embeddings[0]
            for piece in pieces
        ]
    rows = tool._model.rows(pieces, 2)
    assert rows == pytest.approx(torch.stack(expected).numpy(), rel=1e-4, abs=1e-4)
    assert np.abs(rows[0] - rows[2]).max() > 1e-2, "the comparison saw nothing happen"


def test_the_shortest_window_is_as_long_as_the_network_needs(xvector: str) -> None:
    network = transformers.WavLMForXVector.from_pretrained(xvector).eval()
    least = least_samples(network)
    assert least == 400 + 15 * 320
    sound = torch.from_numpy(noise(1.0).samples)[None]
    with torch.no_grad():
        assert torch.isfinite(network(sound[:, :least]).embeddings).all()
        with pytest.warns(UserWarning, match="degrees of freedom"):
            assert torch.isnan(network(sound[:, : least - 1]).embeddings).all()
    tool = Speakers(xvector, **LEVEL)
    tool.prepare()
    assert np.isfinite(tool._model.rows([noise(0.05).samples, np.ones(1)], 8)).all()


def test_more_speech_than_the_cap_is_told(xvector: str) -> None:
    tool = Speakers(xvector, most_windows=4, distance=1e-6, most_speakers=10, **LEVEL)
    seen = tool(noise(30.0))
    assert seen.values["speech_s"] == pytest.approx(30.0, abs=0.1)
    assert seen.values["heard_s"] < 5.0
    spoken_s = sum(row["speaking_s"] for row in seen.values["speakers"])
    assert spoken_s == pytest.approx(seen.values["heard_s"], abs=0.05)
    assert " of 30 s of speech; when:" in seen.text


def test_many_speakers_and_turns_keep_the_text_short(xvector: str) -> None:
    tool = Speakers(xvector)
    rows = [
        {"speaker": name, "speaking_s": 123.4, "turns": 9, "pitch_hz": 234.5}
        for name in "ABCDEFGHIJ"
    ]
    when = [
        {"speaker": "ABCDEFGHIJ"[at % 10], "start_s": 100.0 + at, "end_s": 100.5 + at}
        for at in range(500)
    ]
    values = {"speech": True, "count": 10, "first": "A", "speakers": rows, "turns": when}
    text = tool.describe({**values, "speech_s": 999.0, "heard_s": 500.0})
    assert len(text) <= 400
    assert text.endswith(" s, ...")
    assert "; when: A 100.0-100.5" in text


@needs_silero
def test_spoken_clips_give_windows_and_spans_where_the_words_are(xvector: str) -> None:
    clips = spoken("test")
    low = [clip for clip in clips if clip.register == "low" and len(clip.words) == 1][1]
    high = next(clip for clip in clips if clip.register == "high" and len(clip.words) > 3)
    sound = conversation(low, high)
    seen = Speakers(xvector, distance=1e-6, most_speakers=10)(sound)
    starts = (0.0, len(low.sound) / RATE + 0.3)
    ends = (len(low.sound) / RATE, sound.seconds - 0.3)
    found = slide(Gate().spans(sound.samples), 1.5, 0.75)
    assert all(0 <= w.start_s <= w.from_s < w.to_s <= w.end_s <= sound.seconds for w in found)
    assert all(w.end_s - w.start_s <= 1.501 for w in found)
    assert seen.values["turns"][0]["start_s"] == pytest.approx(starts[0], abs=0.1)
    assert seen.values["turns"][0]["end_s"] == pytest.approx(ends[0], abs=0.1)
    assert seen.values["turns"][1]["start_s"] == pytest.approx(starts[1], abs=0.1)
    assert seen.values["turns"][-1]["end_s"] == pytest.approx(ends[1], abs=0.1)
    pitches = {row["speaker"]: row["pitch_hz"] for row in seen.values["speakers"]}
    assert pitches["A"] < 140 < pitches["B"]


# Both


@needs_silero
def test_where_nobody_speaks_nothing_is_made_up(classifier: str, xvector: str) -> None:
    for tool in (Emotion(classifier), Speakers(xvector)):
        for sound in unspoken():
            seen = tool(sound)
            assert seen.text == f"{tool.name}: no speech detected"
            assert seen.values["speech"] is False
            assert seen.values["heard_s"] == 0.0
            told = [v for k, v in seen.values.items() if k not in ("speech", "speech_s", "heard_s")]
            assert all(value is None or value == [] for value in told)


def test_odd_clips_are_answered_alone_and_in_batches(classifier: str, xvector: str) -> None:
    clips = odd_clips()
    emotion, speakers = Emotion(classifier, **LEVEL), Speakers(xvector, distance=1e-6, **LEVEL)
    for tool in (emotion, speakers):
        alone = [tool(one).values for one in clips]
        assert alone == [tool(one).values for one in clips], "the same values again"
        together = [seen.values for seen in tool.call_many(clips)]
        assert [row["heard_s"] for row in alone] == [row["heard_s"] for row in together]
        for one, other in zip(alone, together, strict=True):
            if tool is speakers:
                assert one == other
                continue
            scores = {row["label"]: row["score"] for row in other["emotions"]}
            assert {row["label"]: row["score"] for row in one["emotions"]} == pytest.approx(
                scores, abs=2e-3
            )


def test_samples_that_are_no_numbers_are_refused(classifier: str, xvector: str) -> None:
    bad = replace(noise(0.1), samples=np.array([0.1, np.nan] * 800, np.float32))
    for tool in (Emotion(classifier, **LEVEL), Speakers(xvector, **LEVEL)):
        with pytest.raises(ToolError, match="NaN or infinite") as caught:
            tool(bad)
        assert caught.value.kind == "refused"


def test_they_are_known_by_name_and_their_settings_checked(classifier: str, xvector: str) -> None:
    assert isinstance(load_tool("emotion", model=classifier), Emotion)
    assert isinstance(load_tool("speakers", model=xvector), Speakers)
    for name, settings, said in (
        ("emotion", {"top": 0}, "1 or more"),
        ("emotion", {"stretch_s": 0.0}, "above 0"),
        ("emotion", {"gate": "ears"}, "allowed: voice, level"),
        ("speakers", {"distance": 2.0}, "below 2"),
        ("speakers", {"most_speakers": 11}, "1 to 10"),
        ("speakers", {"hop_s": 2.0}, "up to window_s"),
        ("speakers", {"threshold": 1.0}, "below 1"),
    ):
        with pytest.raises(UserError, match=said):
            load_tool(name, **settings)


def test_weights_of_another_model_are_refused(
    classifier: str, xvector: str, tmp_path: Path
) -> None:
    for tool in (Emotion(xvector, **LEVEL), Speakers(classifier, **LEVEL)):
        with pytest.raises(UserError, match="weights are missing"):
            tool.setup()
    with pytest.raises(UserError, match="Unrecognized configuration"):
        Speakers(classifying("Hubert", tmp_path / "hubert"), **LEVEL).setup()
    config = transformers.Wav2Vec2Config(**SMALL, num_labels=2)
    unnamed = saved(tmp_path / "a", transformers.Wav2Vec2ForSequenceClassification(config))
    with pytest.raises(UserError, match=r"names no emotions \(LABEL_0\)"):
        Emotion(unnamed, **LEVEL).setup()
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=8_000).save_pretrained(unnamed)
    with pytest.raises(UserError, match="listens at 8000 Hz"):
        Emotion(unnamed, **LEVEL).setup()
    small = {**SMALL, "max_length": 100, "num_mel_bins": 32}
    spectrogram = transformers.ASTForAudioClassification(
        transformers.ASTConfig(**{k: v for k, v in small.items() if not k.startswith("conv")})
    )
    with pytest.raises(UserError, match="reads no waveform"):
        Emotion(saved(tmp_path / "b", spectrogram), **LEVEL).setup()


def test_only_a_default_model_has_a_default_revision() -> None:
    for cls in (Emotion, Speakers):
        assert cls().source.revision == "refs/pr/2"
        assert cls(revision="main").source.revision == "main"
        assert cls("another/model").source.revision == ""


@needs_silero
def test_the_version_holds_weights_settings_and_gate(classifier: str, xvector: str) -> None:
    for cls, folder, other in (
        (Emotion, classifier, {"top": 2}),
        (Speakers, xvector, {"hop_s": 1.0}),
    ):
        version = cls(folder).version
        assert " sha256:" in version
        assert " silero-vad " in version
        assert version != cls(folder, **other).version
        assert "level gate" in cls(folder, **LEVEL).version


def test_they_pass_the_check(classifier: str, xvector: str) -> None:
    for tool in (Emotion(classifier, **LEVEL), Speakers(xvector, **LEVEL)):
        assert check_tool(tool) == []
