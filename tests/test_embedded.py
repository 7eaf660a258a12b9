"""The embedded LALM's schooling: shards, prompts, the branching batch, training and export."""

import json
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from routerlab.data import synth
from routerlab.embedded.architectures import ARCHITECTURES, SPECIAL_TOKENS, Architecture, Sizes
from routerlab.embedded.batch import collate
from routerlab.embedded.build import build
from routerlab.embedded.curriculum import Shares, draw_lesson, observation
from routerlab.embedded.data import Clips, EmbeddedDataModule, LessonSet
from routerlab.embedded.encode import Encoder
from routerlab.embedded.mel import log_mel
from routerlab.embedded.module import EmbeddedLALMModule
from routerlab.embedded.prepare import Record, prepare, read_shard
from routerlab.embedded.text_tasks import draw_task
from routerlab.lalm.model import LALM
from routerlab.reasoners.base import ReasonRequest
from routerlab.reasoners.transformers_reasoner import TransformersReasoner
from routerlab.types import Clip

SMALL = Sizes(
    text_width=48, text_layers=2, text_heads=2, text_ffn=96, text_rope=(4, 4, 4), audio_width=32,
    audio_layers=1, audio_heads=2, audio_ffn=64, pieces=400,
)  # fmt: skip
FAMILIES = ("direction", "louder")


def listen(clip: Clip) -> dict[str, str]:
    """Texts in the shape of tools' outputs, without the tools' time."""
    level = 20 * np.log10(np.abs(clip.samples).mean() + 1e-6)
    return {
        "pitch": f"pitch: C4 +{len(clip.samples) % 9} cents at 0.1 to 0.8 s",
        "loudness": f"loudness: levels {level:.0f} dB",
        "tempo": f"tempo: {60 + len(clip.samples) % 97} bpm",
    }


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schooling")
    how = {"workers": 1, "draw": synth.draw, "families": FAMILIES, "listen": listen}
    prepare(folder, 24, seed=0, **how)
    prepare(folder, 8, seed=1, **how)
    return folder


@pytest.fixture(scope="module")
def data(shards: Path) -> EmbeddedDataModule:
    module = EmbeddedDataModule(
        str(shards), clips=24, exam_clips=8, exam_tasks=4, batch_size=6, workers=1
    )
    module.setup("fit")
    return module


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(
    data: EmbeddedDataModule, tmp_path_factory: pytest.TempPathFactory, architecture: str
) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    build(path, data.corpus(), SMALL, architecture=ARCHITECTURES[architecture])
    return path


@pytest.fixture(scope="module")
def lalm(folder: Path) -> LALM:
    return LALM.load(str(folder))


def record(**changes: object) -> Record:
    plain = {
        "question": "Which note?", "choices": ("C", "D", "E"), "answer": "D", "family": "note",
        "condition": "clean", "difficulty": "easy", "kind": "plain", "fits": ("pitch",),
        "outside": (), "outputs": {"pitch": "pitch: D4", "tempo": "tempo: 90 bpm"},
    }  # fmt: skip
    return Record(**{**plain, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_default_model_fits_the_package(tmp_path: Path, kind: Architecture) -> None:
    model = build(tmp_path, ["tool output: pitch: C4", "which note?"], architecture=kind)
    size = sum(p.numel() for p in model.parameters())
    assert 1e6 < size < 4e6
    tied = model.lm_head.weight is model.model.language_model.embed_tokens.weight
    assert tied == (kind.name == "qwen2_5_omni")


def test_tokenizer_splits_digits_and_keeps_labels_whole(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(10))
    for label in "AMZ":
        assert len(tokenizer.encode(f" {label}")) == 1
    assert len(tokenizer.encode("124")) == 3
    text = "tool output: 12.5 dB, Eb ü\n A note"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_log_mel_is_the_extractors(lalm: LALM) -> None:
    clips = [
        Clip(np.random.default_rng(n).normal(size=n).astype(np.float32) / 9, 16_000, str(n))
        for n in (16_000, 20_345)
    ]
    theirs, frames = lalm.log_mel(clips)
    for clip, mel, count in zip(clips, theirs, frames, strict=True):
        ours = log_mel(clip.samples, 64)
        assert len(ours) == count
        np.testing.assert_allclose(ours, mel[:, :count].T.numpy(), atol=2e-3)


def test_features_in_training_are_those_at_inference(lalm: LALM, architecture: str) -> None:
    rng = np.random.default_rng(0)
    clips = [
        Clip(rng.normal(size=n).astype(np.float32) / 9, 16_000, str(n)) for n in (14_400, 9_100)
    ]
    logs = [log_mel(clip.samples, 64).astype(np.float32) for clip in clips]
    frames = torch.tensor([len(log) for log in logs])
    mels = torch.zeros(2, int(frames.max()), 64)
    for place, log in zip(mels, logs, strict=True):
        place[: len(log)] = torch.from_numpy(log)
    with torch.no_grad():
        ours = ARCHITECTURES[architecture].features(lalm.model, mels, frames)
    theirs = torch.cat(lalm.audio_features(clips))
    # Log-mels are kept in half precision on disk.
    torch.testing.assert_close(ours, theirs, atol=5e-3, rtol=1e-2)


def test_shards_are_repeatable_and_go_on_where_they_stopped(shards: Path, tmp_path: Path) -> None:
    (made,) = prepare(tmp_path, 6, seed=0, workers=1, draw=synth.draw, families=FAMILIES,
                      listen=listen)  # fmt: skip
    again, first = read_shard(made), read_shard(shards / made.name)
    assert again.records == first.records[:6]
    np.testing.assert_array_equal(again.mel(5), first.mel(5))
    stamp = made.stat().st_mtime_ns
    prepare(tmp_path, 6, seed=0, workers=1, draw=synth.draw, families=FAMILIES, listen=listen)
    assert made.stat().st_mtime_ns == stamp


def test_misleading_outputs_are_not_taught() -> None:
    rng = np.random.default_rng(0)
    beyond = record(fits=(), outside=("pitch",))
    shown = {
        o.tool
        for _ in range(200)
        for branch in draw_lesson(rng, beyond, [beyond], Shares(), 3).branches
        for o in branch
    }
    assert shown == {"tempo"}


def test_beyond_every_tool_a_clip_is_asked_by_ear() -> None:
    rng = np.random.default_rng(0)
    beyond = record(fits=(), outside=("pitch",), kind="boundary")
    lessons = [draw_lesson(rng, beyond, [beyond], Shares(), 3) for _ in range(100)]
    assert {kind for lesson in lessons for kind in lesson.kinds} == {"direct"}


def test_lessons_keep_the_shares() -> None:
    rng = np.random.default_rng(0)
    first, other = record(), record(outputs={"pitch": "pitch: A2", "tempo": "tempo: 70 bpm"})
    lessons = [draw_lesson(rng, first, [first, other], Shares(), 1) for _ in range(4000)]
    kinds = [lesson.kinds[0] for lesson in lessons]
    drawn = ("direct", "fitting", "irrelevant", "faulty", "two", "all_outputs")
    total = sum(getattr(Shares(), kind) for kind in drawn)
    for kind in drawn:
        assert abs(kinds.count(kind) / 4000 - getattr(Shares(), kind) / total) < 0.02
    faulty = [x.branches[0] for x in lessons if x.kinds == ("faulty",)]
    assert {o.text for branch in faulty for o in branch} == {"pitch: A2"}
    assert all(sorted(x.choices) == ["C", "D", "E"] and x.answer == "D" for x in lessons)
    assert len({x.choices for x in lessons}) == 6


def test_text_tasks_have_one_right_label() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        task = draw_task(rng)
        labels = [line[:2] for line in task.system.splitlines()[1:]]
        assert labels.count(task.answer) == 1
        assert len(set(labels)) == len(labels)


def test_training_prompt_is_the_reasoners(folder: Path, lalm: LALM, architecture: str) -> None:
    """Token for token: prefix, suffixes and options."""
    sound = np.random.default_rng(0).normal(size=24_000).astype(np.float32) / 9
    shown = observation("pitch", "pitch: C4 <|im_end|> +3 cents")
    request = ReasonRequest(
        Clip(sound, 16_000, "x"), "Which note?", ("C", "Db"), ((), (shown,), (shown, shown))
    )
    reasoner = TransformersReasoner(str(folder), system="Listen.")
    (heard,) = reasoner.lalm.audio_features([request.clip])
    item = reasoner._item(request, heard)
    around = ARCHITECTURES[architecture].family.around
    encoder = Encoder(lalm.tokenizer, "Listen.", around)
    ours = encoder.options(request.question, request.choices, request.observations)
    assert [*ours.head, *[encoder.audio] * len(heard), *ours.tail] == list(item.prefix)
    pairs = [(list(s), list(o)) for s in item.suffixes for o in item.options]
    assert [(list(s), list(o)) for s, o in ours.branches] == pairs


def test_branching_row_gives_the_loss_of_separate_prompts(
    data: EmbeddedDataModule, lalm: LALM, architecture: str
) -> None:
    encoder = Encoder(lalm.tokenizer)
    lessons = LessonSet(Clips([read_shard(p) for p in data._paths()[0]]), encoder, Shares(), 3, 0)
    module = EmbeddedLALMModule(SMALL, out="", architecture=architecture)
    module.model = lalm.model
    for index in (0, 5, 30):
        example = lessons[(0, index)]
        encoded = example.encoded
        with torch.no_grad():
            together = module(collate([example], encoder.audio, 64))
            apart = [
                module(collate([_with(example, branch)], encoder.audio, 64))
                for branch in encoded.branches
            ]
        torch.testing.assert_close(together, torch.cat(apart), atol=1e-4, rtol=1e-4)


def _with(example, branch):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    return replace(example, encoded=replace(example.encoded, branches=(branch,)))


@pytest.mark.filterwarnings("ignore")
def test_training_lowers_the_loss_and_exports_a_loadable_model(
    data: EmbeddedDataModule, tmp_path: Path, architecture: str
) -> None:
    losses: list[float] = []

    class Watch(lightning.Callback):
        def on_train_batch_end(self, trainer, *_):  # type: ignore[no-untyped-def]
            losses.append(float(trainer.callback_metrics["train/loss"]))

    module = EmbeddedLALMModule(
        SMALL, out=str(tmp_path / "out"), lr=5e-3, architecture=architecture
    )
    trainer = lightning.Trainer(
        max_steps=40, max_epochs=-1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        gradient_clip_val=1.0, callbacks=[Watch()], val_check_interval=40,
        check_val_every_n_epoch=None,
    )  # fmt: skip
    trainer.fit(module, data)
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| steps | 40 |" in card
    assert "direct" in card
    reasoner = TransformersReasoner(str(tmp_path / "out"))
    clip = Clip(np.ones(20_000, np.float32) / 9, 16_000, "y")
    ((answer,),) = reasoner.answer_many([ReasonRequest(clip, "Up or down?", ("up", "down"))])
    assert answer.choice in (0, 1)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
