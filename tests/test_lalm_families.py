"""Both families: our shared, batched, cut path says what a plain call of model and processor says.

The plain call is one row, one prompt, nothing shared: `model(**processor(text, audio))`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import learner_toy as toy
import pytest
import torch
from lalm_families import FAMILIES, OMNI, QWEN2_AUDIO, SECONDS, Plain, family_folder
from safetensors.torch import load_file, save_file
from tiny import CORPUS, SIZES, tone
from transformers import AutoTokenizer

from routerlab.embedded.build import train_tokenizer
from routerlab.errors import UserError
from routerlab.lalm.chat import AUDIO, Chat
from routerlab.lalm.checkpoint import EMBEDDED, fingerprint, locate
from routerlab.lalm.model import LALM
from routerlab.lalm.template import chatml, format_of, read_template
from routerlab.lalm.tower import tower_features
from routerlab.policy.adapter import trainable
from routerlab.policy.prompt import CUE, question_text, system_text
from routerlab.reasoners import prompts
from routerlab.reasoners.base import ReasonRequest, cut_seconds
from routerlab.reasoners.prompting import Prompter
from routerlab.reasoners.prompts import WORDINGS, observation_text
from routerlab.reasoners.transformers_reasoner import TransformersReasoner
from routerlab.types import Answer, Clip, Observation

PITCH = Observation("pitch", {}, "pitch: C4 +3 cents at 0.1 to 0.8 s; E4 -2 cents", "1")
TEMPO = Observation("tempo", {}, "tempo: 124 bpm", "1")
SAVINGS = ("tower", "prefix", "branches", "buckets")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {f: family_folder(tmp_path_factory.mktemp("lalm"), f) for f in FAMILIES}


def requests() -> list[ReasonRequest]:
    """Clips of different lengths, 2 to 8 options, one to four prompts."""
    eight = ("Eb minor", "Bb", "1", "2", "3", "12", "5", "C major or so")
    return [
        ReasonRequest(tone(1.4), "Which note?", ("C4", "Eb4", "a longer option, in words"),
                      ((), (PITCH,), (TEMPO,), (PITCH, TEMPO))),
        ReasonRequest(tone(0.3, 300.0), "How many events are there?", ("2", "12"), ((TEMPO,),)),
        ReasonRequest(tone(2.37, 200.0), "Key?", eight, ((), (PITCH,))),
    ]  # fmt: skip


def plain_scores(plain: Plain, request: ReasonRequest) -> list[list[float]]:
    """Sums of log-probabilities, one call for each prompt and option."""
    rows = []
    asked = prompts.question_text(request.question, request.choices)
    for shown in request.observations:
        text = plain.text(asked + observation_text(shown)) + prompts.ANSWER_CUE
        options = [plain.processor.tokenizer.encode(f" {c}<|im_end|>") for c in request.choices]
        rows.append([plain.log_prob(text, request.clip, option) for option in options])
    return rows


@pytest.mark.parametrize(
    "settings",
    [
        {},
        *({"without": [name]} for name in SAVINGS),
        {"without": list(SAVINGS), "batch_size": 1},
        {"max_tokens": 24},
    ],
    ids=str,
)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_option_scores_what_a_plain_call_gives_it(
    folders: dict[str, str], family: str, settings: dict[str, Any]
) -> None:
    plain = Plain(folders[family], family)
    reasoner = TransformersReasoner(
        folders[family], device="cpu", length="sum", system=None, **settings
    )
    asked = requests()
    for request, replies in zip(asked, reasoner.answer_many(asked), strict=True):
        for want, reply in zip(plain_scores(plain, request), replies, strict=True):
            assert isinstance(reply, Answer)
            assert reply.log_probs == pytest.approx(want, abs=1e-4)
            assert reply.choice == max(range(len(want)), key=want.__getitem__)


@pytest.mark.parametrize("without", [(), SAVINGS], ids=["all savings", "none"])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_greedy_answer_is_that_of_plain_calls(
    folders: dict[str, str], family: str, without: tuple[Any, ...]
) -> None:
    plain, steps = Plain(folders[family], family), 5
    reasoner = TransformersReasoner(
        folders[family], device="cpu", protocol="generate", max_new_tokens=steps, system=None,
        without=without,
    )  # fmt: skip
    asked = requests()[:2]
    for request, replies in zip(asked, reasoner.answer_many(asked), strict=True):
        for shown, reply in zip(request.observations, replies, strict=True):
            said = prompts.question_text(request.question, request.choices)
            text = plain.text(said + observation_text(shown)) + prompts.ANSWER_CUE
            new: list[int] = []
            while len(new) < steps:
                token = int(plain.logits(text, request.clip, new)[-1].argmax())
                if token in reasoner.lalm.stops:
                    break
                new.append(token)
            written = plain.processor.tokenizer.decode(new, skip_special_tokens=True).strip()
            assert isinstance(reply, Answer)
            assert reply.raw == written


@pytest.mark.parametrize("family", FAMILIES)
def test_label_logits_of_rows_padded_on_the_right_are_those_of_plain_calls(
    folders: dict[str, str], family: str
) -> None:
    policy = toy.router(folders[family])
    policy.configure(toy.CARDS)
    draw = torch.Generator().manual_seed(5)
    for parameter in trainable(policy).values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)
    plain = Plain(folders[family], family)
    plain.model = policy._model
    asked = toy.batch(toy.table(4), range(4))
    system = system_text(policy.cards, policy.labels)
    for row, question, clip in zip(policy(asked), asked.questions, asked.clips, strict=True):
        text = plain.text(question_text(question.question, question.choices), system) + CUE
        want = plain.logits(text, clip)[-1, policy._label_ids]
        torch.testing.assert_close(row.detach(), want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_processors_own_batches_say_the_same(
    folders: dict[str, str], family: str, padding_side: str
) -> None:
    plain, asked = Plain(folders[family], family), requests()
    texts = [plain.text(prompts.question_text(r.question, r.choices)) for r in asked]
    plain.processor.tokenizer.padding_side = padding_side
    given = plain.processor(
        text=texts, audio=[r.clip.samples for r in asked], sampling_rate=16_000,
        return_tensors="pt", padding=True, text_kwargs={"padding_side": padding_side},
    )  # fmt: skip
    lalm = LALM.load(folders[family])
    with torch.no_grad():
        logits = plain.model(**given).logits
        for i, request in enumerate(asked):
            (heard,) = lalm.audio_features([request.clip])
            said = prompts.question_text(request.question, request.choices)
            ids = torch.tensor([lalm.chat(None, [AUDIO, said]).ids([len(heard)])])
            hidden = lalm.forward(lalm.embed(ids, [heard]), torch.ones_like(ids))
            real = given["attention_mask"][i].bool()
            assert given["input_ids"][i][real].tolist() == ids[0].tolist()
            torch.testing.assert_close(logits[i][real], lalm.logits(hidden)[0], atol=1e-4, rtol=0)


# --- the chat format ----------------------------------------------------------------------------


@pytest.mark.parametrize("system", [None, "Listen well."])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_is_what_the_processor_makes_of_its_own_template(
    folders: dict[str, str], family: str, system: str | None
) -> None:
    plain, lalm, clip = Plain(folders[family], family), LALM.load(folders[family]), tone(1.0)
    said = "Which note?\nchoices: C4 | Eb4"
    (heard,) = lalm.audio_features([clip])
    ours = lalm.chat(system, [AUDIO, said], cue="answer:").ids([len(heard)])
    theirs = plain.inputs(plain.text(said, system) + "answer:", clip)["input_ids"][0]
    assert ours == theirs.tolist()
    bare = lalm.tokenizer.decode(lalm.chat("", [AUDIO, said]).ids([2]))
    assert bare.startswith("<|im_start|>user\n")


def test_clips_are_numbered_where_the_template_numbers_them(folders: dict[str, str]) -> None:
    lalm = LALM.load(folders[QWEN2_AUDIO])
    said = lalm.tokenizer.decode(lalm.chat("", [AUDIO, "and", AUDIO]).ids([1, 1]))
    assert "Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\nandAudio 2: <|audio_bos|>" in said
    assert LALM.load(folders[OMNI]).chat_format.form == chatml().__class__(
        unasked="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    )


def test_the_embedded_model_s_prompts_are_qwen_s_plain_format() -> None:
    lalm = LALM.load(EMBEDDED)
    written = Chat(lalm.tokenizer)
    assert lalm.chat_format.form == written.form == chatml()
    assert lalm.chat_format.opening(None) == lalm.chat_format.opening("")
    special, ids = lalm.special, lalm.text_ids
    start, end = special.start, special.end
    assert lalm.chat("Cards.", ["see", AUDIO, "Which?"], cue="answer:").ids([2]) == [
        start, *ids("system\n"), *ids("Cards."), end, *ids("\n"), start, *ids("user\n"),
        *ids("see"), special.audio_start, special.audio, special.audio, special.audio_end,
        *ids("Which?"), end, *ids("\n"), start, *ids("assistant\n"), *ids("answer:"),
    ]  # fmt: skip


TEXT_ONLY = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}"
OF_OTHERS = (
    "{% for m in messages %}[{{ m.role }}] {% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|> "
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %} [end]{% endfor %}"
    "{% if add_generation_prompt %}[reply] {% endif %}"
)


def test_another_template_is_followed_and_one_without_sound_is_not() -> None:
    tokenizer = train_tokenizer(CORPUS, SIZES.pieces)
    around = ("Audio {n}: ", "\n")
    assert format_of(tokenizer, TEXT_ONLY, around, "x") == chatml(around)
    form = format_of(tokenizer, OF_OTHERS, ("", ""), "x")
    prompt = Chat(tokenizer, form=form).chat("Hear.", [AUDIO, "What?"], cue="answer:")
    assert tokenizer.decode(prompt.ids([1])) == (
        "[system] Hear. [end][user] <|audio_bos|><|AUDIO|><|audio_eos|> What? [end][reply] answer:"
    )
    swapped = OF_OTHERS.replace("{{ c.text }}", "{{ c.text | upper }}")
    with pytest.raises(UserError, match=r"chat template of 'x'.*chat_template\.jinja"):
        format_of(tokenizer, swapped, ("", ""), "x")


def copied(folder: str, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_that_are_not_there_are_not_made_up(
    folders: dict[str, str], family: str, tmp_path: Path
) -> None:
    def without(number: int, part: str) -> str:
        home = copied(folders[family], tmp_path / str(number))
        kept = {k: v for k, v in load_file(home / "model.safetensors").items() if part not in k}
        save_file(kept, home / "model.safetensors", metadata={"format": "pt"})
        return str(home)

    with pytest.raises(UserError, match=r"lacks \d+ weights \(.*audio_tower.*would be random"):
        LALM.load(without(1, "audio_tower"))
    with pytest.raises(UserError, match=r"lacks \d+ weights .*would be random"):
        LALM.load(without(2, "q_proj"))
    assert LALM.load(without(3, "visual")).max_seconds == SECONDS[family]


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("config.json", '{"model_type"', "is no JSON"),
        ("config.json", "[]", "holds no object"),
        ("config.json", '{"text_config": {"quantization_config": {}}}', "is quantized already"),
        ("tokenizer.json", "{", "cannot be loaded"),
        ("model.safetensors", "version https://git-lfs.github.com/spec/v1\n", "cannot be loaded"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "b.safetensors"}}', "lacks b.safe"),
    ],
)
def test_damaged_files_end_in_a_line(
    folders: dict[str, str], tmp_path: Path, file: str, text: str, said: str
) -> None:
    home = copied(folders[QWEN2_AUDIO], tmp_path / "m")
    (home / file).write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        LALM.load(str(home))
    assert "\n" not in str(caught.value)


def test_a_tokenizer_trained_with_cuts_and_pads_no_text(
    folders: dict[str, str], tmp_path: Path
) -> None:
    home = copied(folders[OMNI], tmp_path / "m")
    before = LALM.load(str(home)).text_ids(CORPUS[0])
    tokenizer = AutoTokenizer.from_pretrained(home)
    tokenizer(["a b"], truncation=True, max_length=3, padding="max_length")
    tokenizer.save_pretrained(home)
    stored = json.loads((home / "tokenizer.json").read_text())
    assert stored["truncation"]
    assert stored["padding"]
    lalm = LALM.load(str(home))
    assert lalm.text_ids(CORPUS[0]) == before
    assert len(lalm.text_ids(" C4")) < 3


def test_the_template_is_part_of_what_a_model_is(folders: dict[str, str], tmp_path: Path) -> None:
    for file in Path(folders[QWEN2_AUDIO]).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = fingerprint(tmp_path)
    template = tmp_path / "chat_template.jinja"
    template.write_text(template.read_text().replace("helpful", "careful"))
    assert fingerprint(tmp_path) != before
    said = LALM.load(str(tmp_path)).chat_format.form.unasked
    assert "You are a careful assistant." in said
    # An older checkpoint keeps it elsewhere.
    text = template.read_text()
    template.unlink()
    assert "careful" not in (read_template(tmp_path) or "")
    (tmp_path / "chat_template.json").write_text('{"chat_template": "of old"}')
    assert read_template(tmp_path) == "of old"
    assert text


# --- wordings -----------------------------------------------------------------------------------


def test_wordings_ask_and_answer_each_in_its_way(folders: dict[str, str]) -> None:
    lalm = LALM.load(folders[OMNI])
    shown = {}
    for name, wording in WORDINGS.items():
        say = Prompter(lalm.chat_format, wording, "")
        ids = [*say.prefix("Key?", ("C", "Eb"), 1), *say.suffixes([[TEMPO]])[0]]
        shown[name] = [lalm.tokenizer.decode(ids + o) for o in say.options(("C", "Eb"))]
    assert shown["plain"][1].endswith("assistant\nanswer: Eb<|im_end|>")
    assert shown["letters"][1].endswith("assistant\nanswer: B")
    assert "\n(A) C\n(B) Eb\nAnswer with the letter" in shown["letters"][0]
    assert shown["text"][1].endswith("assistant\n<answer>Eb</answer><|im_end|>")
    assert "following options: ['C', 'Eb']. Output the final answer in" in shown["text"][0]
    assert all("\ntool output: tempo: 124 bpm<|im_end|>" in texts[0] for texts in shown.values())
    written = Prompter(lalm.chat_format, WORDINGS["text"], "").suffixes([[]], writes=True)
    assert lalm.tokenizer.decode(written[0]).endswith("assistant\n")
    with pytest.raises(UserError, match="26 options"):
        Prompter(lalm.chat_format, WORDINGS["letters"], "").options(["x"] * 27)


@pytest.mark.parametrize("wording", ["text", "letters"])
def test_another_wording_scores_what_plain_calls_score(
    folders: dict[str, str], wording: Any
) -> None:
    plain = Plain(folders[QWEN2_AUDIO], QWEN2_AUDIO)
    reasoner = TransformersReasoner(
        folders[QWEN2_AUDIO], device="cpu", wording=wording, length="sum", system=None
    )
    (request, *_) = requests()
    (replies,) = reasoner.answer_many([request])
    say = Prompter(reasoner.lalm.chat_format, WORDINGS[wording], None)
    asked = WORDINGS[wording].question(request.question, request.choices)
    for shown, reply in zip(request.observations, replies, strict=True):
        text = plain.text(asked + observation_text(shown))
        cue = reasoner.lalm.text_ids(WORDINGS[wording].cue)
        options = say.options(request.choices)
        whole = [plain.log_prob(text, request.clip, [*cue, *option]) for option in options]
        alone = plain.log_prob(text, request.clip, cue)
        assert isinstance(reply, Answer)
        assert reply.log_probs == pytest.approx([w - alone for w in whole], abs=2e-4)


# --- seconds kept -------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_what_an_encoder_cannot_take_is_cut_by_us_and_recorded(
    folders: dict[str, str], family: str
) -> None:
    limit = SECONDS[family]
    long = tone(limit + 1.25)
    kept = int(limit * 16_000)
    cut = Clip(long.samples[:kept], 16_000, "cut", cut_seconds=1.25)
    reasoner = TransformersReasoner(folders[family], device="cpu")
    asked = [ReasonRequest(clip, "Which note?", ("C4", "Eb4")) for clip in (long, cut)]
    (one,), (other,) = reasoner.answer_many(asked)
    assert isinstance(one, Answer)
    assert isinstance(other, Answer)
    assert one.log_probs == pytest.approx(other.log_probs, abs=1e-5)
    assert reasoner.seconds_kept == reasoner.lalm.max_seconds == limit
    assert cut_seconds(reasoner, long) == pytest.approx(1.25)
    assert cut_seconds(reasoner, cut) == pytest.approx(1.25)
    assert reasoner.identity()["max_seconds"] == limit
    shorter = TransformersReasoner(folders[family], device="cpu", max_seconds=0.5)
    assert cut_seconds(shorter, cut) == pytest.approx(limit - 0.5 + 1.25)
    # Asking for more than there is changes nothing, and is the same fact.
    more = TransformersReasoner(folders[family], device="cpu", max_seconds=limit + 60)
    assert more.identity() == reasoner.identity()


@pytest.mark.parametrize("family", FAMILIES)
def test_clips_at_the_limit_go_with_shorter_ones(folders: dict[str, str], family: str) -> None:
    """`data.max_seconds` makes every longer clip one of just so many seconds."""
    limit, plain = SECONDS[family], Plain(folders[family], family)
    seconds = (0.7, limit - 0.026, limit - 0.01, limit, limit + 0.5)
    asked = [ReasonRequest(tone(s, 200.0 + 9 * s), "Key?", ("C", "Eb")) for s in seconds]
    reasoner = TransformersReasoner(folders[family], device="cpu", length="sum", system=None)
    for request, (reply,) in zip(asked, reasoner.answer_many(asked), strict=True):
        kept = request.clip.samples[: int(limit * 16_000)]
        (expected,) = plain_scores(plain, replace(request, clip=Clip(kept, 16_000, "kept")))
        assert isinstance(reply, Answer)
        assert reply.log_probs == pytest.approx(expected, abs=1e-4)


def test_a_saved_router_says_how_many_seconds_it_hears(
    folders: dict[str, str], tmp_path: Path
) -> None:
    policy = toy.router(folders[QWEN2_AUDIO], max_seconds=2.5)
    policy.configure(toy.CARDS)
    policy.save_adapter(tmp_path)
    assert '"seconds_kept": 2.5' in (tmp_path / "router.json").read_text()


def test_the_embedded_model_is_where_its_limit_is_said() -> None:
    assert TransformersReasoner(device="cpu").seconds_kept == 30.0
    assert (locate(EMBEDDED) / "chat_template.jinja").is_file()


@pytest.mark.parametrize("seconds", [(1.4,), (0.3, 2.37), (4.0, 2.0), (0.07, 6.01, 2.03)], ids=str)
def test_the_omni_tower_hears_all_chunks_at_once_as_one_by_one(
    folders: dict[str, str], seconds: tuple[float, ...]
) -> None:
    lalm = LALM.load(folders[OMNI])
    tower = lalm.base.model.audio_tower
    mel, frames = lalm.log_mel([tone(s, 200.0 + 10 * s) for s in seconds])
    real = torch.arange(mel.shape[2]) < frames[:, None]
    with torch.no_grad():
        row = mel.transpose(1, 2)[real].T
        theirs = tower(row, feature_lens=frames).last_hidden_state
        ours = tower_features(tower, mel, frames)
    assert any(f > 2 * tower.n_window for f in frames.tolist()) == any(s > 2 for s in seconds)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
