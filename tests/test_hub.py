"""Data sets of the hub as folders of files: sound undecoded, the commit pinned. No network here."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from routerlab.data.generated import Sizes
from routerlab.data.hub import fetch, hub_problems, materialise, parse_hub, undecoded
from routerlab.data.readers import read_file
from routerlab.data.sources import Source
from routerlab.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def wav(hz: float) -> bytes:
    """A short tone as a file's bytes."""
    held = io.BytesIO()
    time = np.arange(1600) / 16_000
    soundfile.write(held, 0.3 * np.sin(2 * np.pi * hz * time), 16_000, format="WAV")
    return held.getvalue()


def rows() -> list[dict[str, Any]]:
    return [
        {
            "id": str(i),
            "audio": {"path": None if i else "tone.wav", "bytes": wav(440.0 * (1 + i // 2))},
            "question": "Which note?",
            "choices": "['A4', 'A5']",
            "answer": "A5" if i // 2 else "A4",
            "thinking": "it is high",
        }
        for i in range(4)
    ]


def test_a_source_names_data_set_commit_and_split() -> None:
    named = parse_hub(f"hub:lab/set/config@{COMMIT}:test_mini")
    assert (named.name, named.config, named.split) == ("lab/set", "config", "test_mini")
    assert parse_hub(f"hub:lab/set@{COMMIT}").split == "test"
    other = parse_hub(f"hub:lab/set@{'f' * 40}")
    assert other.folder != parse_hub(f"hub:lab/set@{COMMIT}").folder


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("hub:lab/set", "names no commit"),
        ("hub:lab/set@main:test", "'main' after the @"),
        ("hub:lab", "names no data set"),
        ("hub:../x/y@main", "names no data set"),
    ],
)
def test_what_is_not_pinned_is_refused_before_anything_is_fetched(source: str, said: str) -> None:
    problems = Source(source, "data", Sizes()).problems()
    assert said in problems[0]
    assert hub_problems(source) == problems


def test_rows_become_files_that_are_read_like_any_others(tmp_path: Path) -> None:
    path = materialise(iter(rows()), tmp_path)
    file = read_file(path)
    assert file.form.name == "routerlab"
    assert [q.answer for q in file.questions] == ["A4", "A4", "A5", "A5"]
    # The same bytes are one file, and they are the bytes that came.
    assert len(list((tmp_path / "audio").iterdir())) == 2
    assert Path(file.questions[0].audio).read_bytes() == wav(440.0)
    assert "it is high" not in path.read_text()


def test_a_row_without_sound_or_id_keeps_its_path_and_is_numbered(tmp_path: Path) -> None:
    row = {"audio_path": ["data/a.wav"], "question": "Who?", "choices": ["x"], "answer": "x"}
    written = materialise([row], tmp_path).read_text()
    assert json.loads(written) == {"id": "000000", **row}


def test_a_real_data_set_is_streamed_and_never_decoded(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason='pip install "routerlab[hub]"')
    parquet = tmp_path / "test.parquet"
    made = datasets.Dataset.from_list(rows())
    made.to_parquet(str(parquet))
    features = datasets.Features(made.features | {"audio": datasets.Audio(sampling_rate=16_000)})
    streamed = datasets.load_dataset(
        "parquet",
        data_files=str(parquet),
        split="train",
        features=features,
        streaming=True,
        cache_dir=str(tmp_path / "cache"),
    )
    file = read_file(materialise(undecoded(streamed), tmp_path / "out"))
    assert Path(file.questions[3].audio).read_bytes() == wav(880.0)


def test_what_cannot_be_fetched_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason='pip install "routerlab[hub]"')
    with pytest.raises(UserError, match=r"lab/set at 0123456789ab cannot be fetched") as caught:
        fetch(f"hub:lab/set@{COMMIT}:test", tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()
