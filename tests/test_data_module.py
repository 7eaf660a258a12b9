"""The DataModule: data on demand, tables filled once, batches that follow from a seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from routerlab.data import generated
from routerlab.data.batches import Clips, EvaluationLoader, collate
from routerlab.data.generated import BOTH, SYNTHAQA, Sizes
from routerlab.data.module import RouterDataModule
from routerlab.data.sources import find_splits
from routerlab.data.strata import Stratify
from routerlab.data.toolbox import tool_problems, tool_spec
from routerlab.errors import ProblemList, UserError
from routerlab.reasoners.base import ReasonRequest, Reply
from routerlab.types import Answer, Clip, Question


class LongestWord:
    """A reasoner small enough to see through: reads the tool's text, else picks by clip length."""

    def __init__(self) -> None:
        self.closed = 0

    def identity(self) -> dict[str, Any]:
        return {"reasoner": "longest word", "model": "none"}

    def answer_many(self, requests: Sequence[ReasonRequest]) -> list[list[Reply]]:
        return [[self._answer(r, seen) for seen in r.observations] for r in requests]

    def close(self) -> None:
        self.closed += 1

    def _answer(self, request: ReasonRequest, seen: Sequence[Any]) -> Answer:
        text = " ".join(o.text for o in seen)
        hits = [i for i, choice in enumerate(request.choices) if choice in text]
        choice = hits[0] if hits else len(request.clip.samples) % len(request.choices)
        return Answer(choice, request.choices[choice])


def tone(path: Path, hz: float, seconds: float = 0.6) -> None:
    time = np.arange(int(seconds * 16_000)) / 16_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hz * time), 16_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Questions about tones, as a user would bring them."""
    place = tmp_path / "mine"
    place.mkdir()
    for shift, (split, count) in enumerate((("train", 5), ("val", 2), ("test", 3))):
        rows = []
        for i in range(count):
            name = f"{split}{i}"
            tone(place / f"{name}.wav", 440.0 if i % 2 else 261.63, 0.5 + 0.01 * i + 0.1 * shift)
            rows.append(
                {
                    "id": name,
                    "audio_id": f"{name}.wav",
                    "question": "Which note?",
                    "choices": ["A4", "C4"],
                    "answer": "A4" if i % 2 else "C4",
                }
            )
        (place / f"{split}.json").write_text(json.dumps(rows))
    return place


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One for all tests that do not look at the filling: the tool hears each clip once."""
    return str(tmp_path_factory.mktemp("cache"))


def module(folder: Path, **settings: Any) -> RouterDataModule:
    given = {"cache_dir": str(folder.parent / "cache"), "tools": ["pitch"], "workers": 1}
    return RouterDataModule(str(folder), reasoner=LongestWord(), **(given | settings))


def filled(folder: Path, **settings: Any) -> RouterDataModule:
    data = module(folder, **settings)
    assert data.problems() == []
    data.prepare_data()
    data.setup("fit")
    return data


class TestFilling:
    def test_a_users_folder_is_filled_and_filling_again_costs_nothing(self, folder: Path) -> None:
        first = filled(folder, crossfit=True)
        assert set(first.tables) == {"train", "val", "test"}
        assert first.tables["train"].actions == ("direct", "pitch")
        assert first.tables["train"].correct[:, 1].all()
        assert first.together["test"].all()
        assert first.replicates["test"].correct.shape == (3, 2)
        assert first.counters["reasoner_calls"] == 2 * 10 + 3 + 2 * 3
        assert first.counters["tool_calls"] == 10
        assert first.reasoner.closed  # type: ignore[attr-defined]
        again = filled(folder, crossfit=True)
        assert again.counters["reasoner_calls"] == again.counters["tool_calls"] == 0
        assert again.counters["cache_hits"] == first.counters["reasoner_calls"]
        np.testing.assert_array_equal(again.tables["test"].correct, first.tables["test"].correct)
        assert again.cards == first.cards
        assert [card.name for card in again.cards] == ["pitch"]

    def test_predict_needs_cards_but_no_outcome(self, folder: Path) -> None:
        data = module(folder)
        data.setup("predict")
        assert not data.tables
        assert data.actions == ("direct", "pitch")
        batch = next(iter(data.batches("test")))
        assert batch.valid is None
        assert len(batch.clips) == 3

    def test_a_missing_split_is_said_when_it_is_needed(self, folder: Path, cache: str) -> None:
        (folder / "train.json").unlink()
        (folder / "val.json").unlink()
        data = filled(folder, cache_dir=cache)
        assert data.val_dataloader() == []
        with pytest.raises(UserError, match="no train split"):
            data.train_dataloader()


class TestProblems:
    def test_are_listed_together_before_anything_is_loaded(self, folder: Path) -> None:
        rows = json.loads((folder / "test.json").read_text())
        rows[0]["answer"] = "G4"
        rows[1]["audio_id"] = "gone.wav"
        (folder / "test.json").write_text(json.dumps(rows))
        data = module(folder, tools=["pich", {"name": "tempo", "speed": 2}], batch_size=0)
        lines = data.problems()
        assert len(lines) == 5
        text = "\n".join(lines)
        for wanted in ("batch_size", "'pich'", "'speed'", "'G4'", "gone.wav"):
            assert wanted in text

    def test_without_asking_for_problems_a_broken_file_still_stops(self, folder: Path) -> None:
        (folder / "val.json").write_text("[1]")
        with pytest.raises(UserError):
            module(folder).setup("fit")

    def test_sizes_of_generated_data(self) -> None:
        assert RouterDataModule(train=-1).problems() == [
            "train must be 0 or more questions, not -1"
        ]
        assert "all splits are empty" in Sizes(0, 0, 0, 0).problems()[0]

    def test_labels_run_out(self) -> None:
        tools = [{"name": f"t{i}", "tool": "pitch"} for i in range(26)]
        assert any("at most 25" in line for line in tool_problems(tools))

    def test_no_such_source(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no file or folder"):
            find_splits(tmp_path / "nothing")
        with pytest.raises(UserError, match="holds no question file"):
            find_splits(tmp_path)

    def test_two_files_for_a_split(self, tmp_path: Path) -> None:
        for name in ("train.json", "train.jsonl"):
            (tmp_path / name).write_text("[]")
        with pytest.raises(UserError, match=r"has train\.json and train\.jsonl for train"):
            find_splits(tmp_path)

    def test_a_tools_entry_may_be_a_name_or_a_mapping(self) -> None:
        assert tool_spec("pitch").name == "pitch"
        spec = tool_spec({"name": "p2", "tool": "pitch"})
        assert (spec.name, spec.tool) == ("p2", "pitch")
        with pytest.raises(UserError, match="needs a name"):
            tool_spec({"tool": "pitch"})


class TestGeneratedData:
    sizes = Sizes(train=4, val=0, test=4, ood=2)

    def test_is_made_once_and_kept_apart_by_size_and_seed(self, tmp_path: Path) -> None:
        place = generated.generated(SYNTHAQA, tmp_path, self.sizes, seed=1, workers=1)
        stamp = (place / "train.json").stat().st_mtime_ns
        assert generated.generated(SYNTHAQA, tmp_path, self.sizes, seed=1, workers=1) == place
        assert (place / "train.json").stat().st_mtime_ns == stamp
        assert generated.generated(SYNTHAQA, tmp_path, self.sizes, seed=2, workers=1) != place
        assert len(list(tmp_path.iterdir())) == 2

    def test_what_was_left_half_made_is_not_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make = generated.make_sounds

        def stopped(folder: Path, **settings: Any) -> None:
            make(folder, **settings)
            raise KeyboardInterrupt

        monkeypatch.setattr(generated, "make_sounds", stopped)
        with pytest.raises(KeyboardInterrupt):
            generated.generated(SYNTHAQA, tmp_path, self.sizes, seed=1, workers=1)
        assert list(tmp_path.iterdir()) == []
        monkeypatch.undo()
        place = generated.generated(SYNTHAQA, tmp_path, self.sizes, seed=1, workers=1)
        assert (place / "test.json").is_file()

    def test_both_sets_give_half_of_every_split(self, tmp_path: Path) -> None:
        data = RouterDataModule(
            BOTH, data_dir=str(tmp_path), workers=1, reasoner=LongestWord(), **vars(self.sizes)
        )
        for split, questions in data.read().items():
            spoken = [q for q in questions if q.task == "speech"]
            assert len(spoken) == getattr(self.sizes, split) // 2
            assert set(data.truth(split)) == {q.id for q in questions}
            assert all(Path(q.audio).is_file() for q in questions)

    def test_truth_is_beside_the_split_and_empty_splits_are_left_out(self, tmp_path: Path) -> None:
        data = RouterDataModule(
            data_dir=str(tmp_path), workers=1, reasoner=LongestWord(), **vars(self.sizes)
        )
        questions = data.read()
        assert set(questions) == {"train", "test", "ood"}
        assert set(data.truth("test")) == {q.id for q in questions["test"]}
        assert data.truth("val") == {}


class TestBatches:
    def test_training_order_follows_from_the_seed(
        self, folder: Path, cache: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = filled(folder, batch_size=2, cache_dir=cache)

        def epoch() -> list[tuple[int, ...]]:
            return [batch.rows for batch in data.train_dataloader()]

        monkeypatch.setenv("PL_GLOBAL_SEED", "3")
        first = epoch()
        assert first == epoch()
        assert sorted(row for rows in first for row in rows) == list(range(5))
        monkeypatch.setenv("PL_GLOBAL_SEED", "4")
        assert first != epoch()

    def test_a_batch_carries_its_rows_of_the_table(self, folder: Path, cache: str) -> None:
        data = filled(folder, cache_dir=cache)
        (batch,) = data.test_dataloader()
        assert batch.rows == (0, 1, 2)
        assert batch.valid.dtype == torch.bool
        assert batch.valid.tolist() == data.tables["test"].valid.tolist()
        assert [clip.path for clip in batch.clips] == [q.audio for q in batch.questions]

    @pytest.mark.parametrize(("count", "world"), [(1, 4), (5, 2), (7, 3)])
    def test_ranks_share_every_batch_evenly_and_miss_nothing(self, count: int, world: int) -> None:
        questions = [Question(str(i), "", "?", ("a", "b"), "a") for i in range(count)]
        clip = Clip(np.zeros(1, np.float32), 16_000, "")
        ranks = [
            list(EvaluationLoader(questions, lambda _: clip, None, 4, rank, world))
            for rank in range(world)
        ]
        assert len({tuple(map(len, batches)) for batches in ranks}) == 1
        assert {row for batches in ranks for b in batches for row in b.rows} == set(range(count))

    def test_decoded_clips_are_kept_up_to_a_limit(self, tmp_path: Path) -> None:
        questions = []
        for i in range(3):
            tone(tmp_path / f"{i}.wav", 440.0, seconds=5.0)
            questions.append(Question(str(i), str(tmp_path / f"{i}.wav"), "?", ("a", "b"), "a"))
        kept, small = Clips(keep_mb=1), Clips(keep_mb=0)
        assert kept(questions[0]) is kept(questions[0])
        first = kept(questions[0])
        for question in questions:
            kept(question)  # 320 kB each: only the last three fit
        assert kept(questions[0]) is first
        assert small(questions[0]) is not small(questions[0])
        batch = collate(questions, [2, 0], kept)
        assert [q.id for q in batch] == ["2", "0"]


def test_all_files_problems_come_as_one_error(folder: Path) -> None:
    for split in ("train", "test"):
        rows = json.loads((folder / f"{split}.json").read_text())
        rows[0]["choices"] = ["one"]
        (folder / f"{split}.json").write_text(json.dumps(rows))
    with pytest.raises(ProblemList) as caught:
        module(folder).setup("fit")
    assert {Path(p.split(":")[0]).name for p in caught.value.problems} == {
        "train.json",
        "test.json",
    }


class TestStratified:
    """`pitch` puts every question right: what direct gets wrong is fixed, the rest redundant."""

    def test_training_questions_are_drawn_and_the_draw_is_recorded(
        self, folder: Path, cache: str
    ) -> None:
        whole = filled(folder, cache_dir=cache).tables["train"]
        fixed = int((~whole.correct[:, 0]).sum())
        assert 0 < fixed < len(whole)
        asked = Stratify(questions=2, fix=0.5, redundant=0.5, break_=0)
        data = filled(folder, stratify=asked, cache_dir=cache)
        table = data.tables["train"]
        assert len(table) == len(data.questions("train")) == 2
        assert table.correct[:, 0].sum() == 1
        assert data.strata["fix"] == {"pool": fixed, "wanted": 0.5, "drawn": 1}
        assert data.strata["settings"]["seed"] == 0
        assert len(data.tables["test"]) == 3
        assert (
            filled(folder, stratify=asked, cache_dir=cache).tables["train"].questions
            == table.questions
        )

    def test_a_survey_looks_at_the_pool_which_may_be_a_part_of_the_file(
        self, folder: Path, cache: str
    ) -> None:
        asked = Stratify(questions=2, pool=4, strict=True)
        data = module(folder, stratify=asked, cache_dir=cache)
        assert data.problems() == []
        data.setup("survey")
        assert len(data.tables["train"]) == 4
        assert data.strata["questions"] == 2
        with pytest.raises(UserError, match="no break question"):
            filled(folder, stratify=asked, cache_dir=cache)

    def test_odd_settings_are_problems_of_the_recipe(self, folder: Path) -> None:
        assert module(folder, stratify=Stratify(questions=0)).problems() == [
            "data.stratify: questions is 0. Allowed: 1 or more questions."
        ]
