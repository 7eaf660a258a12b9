"""`survey --from`: tables from prediction files, exports and back, and what is said of mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routerlab.cli import main
from routerlab.errors import UserError
from routerlab.outcome_files import read_outcomes
from routerlab.table_files import read_table, write_table

N = 120


def rows(seed: int, accuracy: float, key: str = "model_output") -> list[dict[str, Any]]:
    """MMAU's rows with predictions of about that accuracy; the questions are always the same."""
    drawn, right = np.random.default_rng(0), np.random.default_rng(seed)
    made = []
    for i in range(N):
        choices = [f"option {c}" for c in "abcd"]
        gold = choices[int(drawn.integers(4))]
        other = choices[(choices.index(gold) + 1) % 4]
        made.append(
            {
                "id": f"q{i}",
                "audio_id": f"./{i}.wav",
                "question": f"Which {'note' if i % 2 else 'beat'} is heard?",
                "choices": choices,
                "answer": gold,
                "category": "even" if i % 2 else "odd",
                key: gold if right.random() < accuracy else other,
            }
        )
    return made


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Three actions as a user may have them: JSON, JSON lines, and lines of id and answer."""
    plain = {"direct": rows(1, 0.5), "pitch": rows(2, 0.7)}
    paths = {name: tmp_path / f"{name}.json" for name in plain}
    for name, made in plain.items():
        paths[name].write_text(json.dumps(made))
    paths["tempo"] = tmp_path / "tempo.jsonl"
    bare = [{"id": r["id"], "response": r["model_output"]} for r in rows(3, 0.4)]
    paths["tempo"].write_text("\n".join(map(json.dumps, bare)))
    return paths


def words(paths: dict[str, Path]) -> list[str]:
    return [f"{name}={path}" for name, path in paths.items()]


def test_tables_of_every_kind_of_file(files: dict[str, Path]) -> None:
    read = read_outcomes(words(files))
    assert read.table.actions == ("direct", "pitch", "tempo")
    for name in files:
        said = [
            r["model_output"] == r["answer"] for r in rows(list(files).index(name) + 1, _of[name])
        ]
        assert read.table.correct[:, read.table.column(name)].tolist() == said


_of = {"direct": 0.5, "pitch": 0.7, "tempo": 0.4}


def test_the_report_is_printed_without_torch(files: dict[str, Path], tmp_path: Path) -> None:
    code = (
        "import sys; from routerlab.cli import main; code = main(sys.argv[1:]);"
        "assert 'torch' not in sys.modules and 'sklearn' not in sys.modules; sys.exit(code)"
    )
    given = [w for word in words(files) for w in ("--from", word)]
    out = tmp_path / "s.json"
    done = subprocess.run(
        [sys.executable, "-c", code, "survey", *given, "--json", str(out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Routing can gain up to" in done.stdout
    assert "always pitch" in done.stdout
    assert json.loads(out.read_text())["questions"] == N


def test_missing_predictions_are_counted_never_dropped(files: dict[str, Path]) -> None:
    made = rows(2, 0.7)
    for row in made[:7]:
        del row["model_output"]
    made[7]["model_output"] = "no idea"
    files["pitch"].write_text(json.dumps(made))
    read = read_outcomes(words(files))
    assert len(read.table) == N
    assert (~read.table.valid[:, 1]).sum() == 7
    assert read.missing == {"pitch": 7}
    assert read.unparsed == {"pitch": 1}
    assert len(read.notes()) == 2


def test_a_name_given_again_is_a_replicate_read_by_its_own_letters(
    files: dict[str, Path], tmp_path: Path
) -> None:
    turned = []
    for row in rows(1, 0.5):
        choices = row["choices"][::-1]
        said = chr(ord("A") + choices.index(row["answer"]))
        turned.append({**row, "choices": choices, "model_output": f"({said})"})
    again = tmp_path / "again.json"
    again.write_text(json.dumps(turned))
    read = read_outcomes([*words(files), f"direct={again}"])
    (replicate,) = read.replicates
    assert replicate.actions == ("direct",)
    assert replicate.correct.all()


def test_scorers_differ(files: dict[str, Path]) -> None:
    made = rows(2, 1.0)
    for row in made:
        row["model_output"] = f"It is {row['answer']}, surely"
    files["pitch"].write_text(json.dumps(made))
    assert read_outcomes(words(files)).table.correct[:, 1].all()
    official = read_outcomes(words(files), scorer="official").table.correct[:, 1]
    # Every option holds the letter of another or the word "a": the official rule looks at words.
    assert official.all()
    assert not read_outcomes(words(files), scorer="letter").table.correct[:, 1].any()


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_an_export_comes_back(files: dict[str, Path], tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet is an extra")
    read = read_outcomes(words(files))
    path = write_table(tmp_path / f"t{suffix}", read.table)
    table, replicates, together = read_table(path)
    assert (table.questions, table.actions) == (read.table.questions, read.table.actions)
    assert (table.correct == read.table.correct).all()
    assert table.cells == read.table.cells
    assert (replicates, together) == ((), None)


def test_an_exported_table_gives_the_same_report(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t.jsonl"
    assert main(["survey", "--from", *words(files), "--export", str(table)]) == 0
    first = capsys.readouterr().out
    assert main(["survey", "--from", str(table)]) == 0
    assert capsys.readouterr().out == first


def test_a_limit_draws_and_says_so(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["survey", "--from", *words(files), "--limit", "40", "--markdown"]) == 0
    out = capsys.readouterr().out
    assert "40 questions, a random part of 120" in out
    assert "40 of 120 questions" in out


def test_every_mistake_is_said_and_nothing_written(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = tmp_path / "half.json"
    half.write_text(files["pitch"].read_text()[:500])
    other = tmp_path / "other.json"
    other.write_text(json.dumps([{**r, "id": f"x{r['id']}"} for r in rows(2, 0.7)]))
    nokey = tmp_path / "nokey.json"
    nokey.write_text(json.dumps([{k: v for k, v in r.items() if k != "model_output"}
                                 for r in rows(2, 0.7)]))  # fmt: skip
    direct, table = f"direct={files['direct']}", tmp_path / "out.jsonl"
    for given, said in (
        ([f"pitch={files['pitch']}"], "no direct=FILE"),
        ([direct], "no tool's file"),
        ([direct, str(files["pitch"])], "is no NAME=FILE"),
        ([direct, f"pitch={half}"], "half.json"),
        ([direct, f"pitch={other}"], "120 ids are not among"),
        ([direct, f"pitch={nokey}"], "Name the key"),
        ([f"direct={files['tempo']}", f"pitch={files['pitch']}"], "Add --questions"),
        ([*words(files), f"pitch={files['pitch']}"], "is a replicate"),
    ):
        assert main(["survey", "--from", *given, "--export", str(table)]) == 2
        captured = capsys.readouterr()
        assert said in captured.err
        assert not captured.out
        assert not table.exists()


def test_not_an_exported_table(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"id": "q"}\n')
    with pytest.raises(UserError, match="no exported outcome table"):
        read_table(path)
    with pytest.raises(UserError, match=r"\.jsonl or a \.parquet"):
        write_table(tmp_path / "t.csv", read_outcomes_of_two(tmp_path))


def read_outcomes_of_two(folder: Path) -> Any:
    for name, seed in (("direct", 1), ("pitch", 2)):
        (folder / f"{name}.json").write_text(json.dumps(rows(seed, 0.5)))
    return read_outcomes([f"{n}={folder / n}.json" for n in ("direct", "pitch")]).table
