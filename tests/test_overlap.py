"""Train and test that share sounds or questions are found; templates are not taken for copies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from routerlab.data.generated import Sizes
from routerlab.data.overlap import find_overlaps, overlap_of, overlap_problems
from routerlab.data.sources import Source
from routerlab.errors import ProblemList
from routerlab.types import Question


def sound(folder: Path, name: str, content: str = "") -> str:
    path = folder / f"{name}.wav"
    # Long enough that size, ends and whole differ one by one.
    path.write_bytes((content or name).encode() * 100_000)
    return str(path)


def ask(ident: str, audio: str, text: str = "", choices: tuple[str, ...] = ("a", "b")) -> Question:
    return Question(ident, audio, text or f"What of {ident}?", choices, choices[0])


def test_the_same_bytes_under_another_name_are_the_same_sound(tmp_path: Path) -> None:
    train = [ask("t1", sound(tmp_path, "x", "same")), ask("t2", sound(tmp_path, "t"))]
    test = [ask("q1", sound(tmp_path, "y", "same")), ask("q2", sound(tmp_path, "q"))]
    found = overlap_of(train, test)
    assert [(a.id, b.id) for a, b in found.sounds] == [("t1", "q1")]
    assert not found.texts


def test_files_that_differ_only_in_the_middle_are_different(tmp_path: Path) -> None:
    one, other = bytearray(b"m" * 400_000), bytearray(b"m" * 400_000)
    other[200_000] = 0
    (tmp_path / "a.wav").write_bytes(one)
    (tmp_path / "b.wav").write_bytes(other)
    found = overlap_of([ask("t", str(tmp_path / "a.wav"))], [ask("q", str(tmp_path / "b.wav"))])
    assert not found.sounds


def test_the_same_question_about_another_file_is_found_unless_it_is_a_template(
    tmp_path: Path,
) -> None:
    a, b, c, d = (sound(tmp_path, name) for name in "abcd")
    text = "Why does the second speaker laugh at the end?"
    train = [ask("t1", a, text, ("x", "y")), ask("t2", b, "Which note?", ("x", "y"))]
    test = [
        ask("q1", c, text.upper(), ("y", "x")),
        ask("q2", d, "Which note?", ("x", "y")),
        ask("q3", c, "Which note?", ("x", "y")),
    ]
    found = overlap_of(train, test)
    assert [(one.id, other.id) for one, other in found.texts] == [("t1", "q1")]
    assert not overlap_of(train, [ask("q4", c, text, ("x", "z"))]).texts


def test_val_counts_as_learnt_and_ood_as_judged(tmp_path: Path) -> None:
    same = sound(tmp_path, "a")
    splits = {"val": [ask("v", same)], "ood": [ask("o", same)], "test": []}
    (found,) = find_overlaps(splits)
    assert (found.learnt, found.judged) == ("val", "ood")
    assert overlap_problems(splits) == [
        "overlap: 1 questions of ood are about sounds that are also in val ('o' and 'v' for one).",
        "overlap: figures of a test that was trained on are too good. Take these questions out of "
        "one of the splits, or set data.overlap=allow.",
    ]
    assert overlap_problems({"train": splits["val"], "val": splits["ood"]}) == []


def test_a_source_refuses_what_its_splits_share(tmp_path: Path) -> None:
    audio = Path(sound(tmp_path, "a")).name
    files = {}
    for split in ("train", "test"):
        row = {"id": split, "audio": audio, "question": split, "choices": ["a", "b"], "answer": "a"}
        files[split] = tmp_path / f"{split}.jsonl"
        files[split].write_text(json.dumps(row))
    source = Source(str(tmp_path), "data", Sizes())
    with pytest.raises(ProblemList, match="about sounds that are also in train"):
        source.read(files)
    allowed = Source(str(tmp_path), "data", Sizes(), overlap="allow")
    assert set(allowed.read(files)) == {"train", "test"}
    (problem,) = Source(str(tmp_path), "data", Sizes(), overlap="alow").problems()
    assert "Did you mean 'allow'?" in problem
