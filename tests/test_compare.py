"""`routerlab compare`: paired differences of finished runs, their tests, four formats, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from routerlab.cli import main
from routerlab.report.versus import differences, read_systems, sign_flip
from routerlab.statistics import holm, mcnemar, paired_bootstrap

IDS = [f"q{i}" for i in range(60)]


def finished(folder: Path, right: np.ndarray, data: str = "d", ids: list[str] = IDS) -> Path:
    """A run folder with what `compare` reads of it."""
    folder.mkdir()
    direct = [float(i % 2) for i in range(len(ids))]
    earned = {"routed": right.astype(float).tolist(), "direct": direct}
    splits = {"test": {"data": data, "ids": ids, "right": earned}}
    (folder / "scores.json").write_text(json.dumps({"splits": splits}))
    results = {"call_rate": {"routed": 0.5, "direct": 0.0}}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    shares = (0.5, 0.8, 0.55)
    made = [finished(tmp_path / f"r{i}", rng.random(60) < s) for i, s in enumerate(shares)]
    return [str(folder) for folder in made]


def test_runs_of_before_hold_one_hash_for_all_splits(tmp_path: Path) -> None:
    folders = [finished(tmp_path / name, np.ones(60), data="") for name in ("a", "b")]
    for folder in folders:
        scores = json.loads((folder / "scores.json").read_text())
        del scores["splits"]["test"]["data"]
        (folder / "scores.json").write_text(json.dumps({"data": "of old", **scores}))
    assert {system.data for system in read_systems(list(map(str, folders)))} == {"of old"}


def test_differences_are_those_of_the_statistics(runs: list[str]) -> None:
    systems = read_systems(runs)
    found = differences(systems)
    right = [np.array(list(s.right.values())) for s in systems]
    expected = [mcnemar(right[i] > 0, right[0] > 0) for i in (1, 2)]
    assert [it.p for it in found] == expected
    assert [it.p_holm for it in found] == holm(expected)
    assert (found[0].difference, found[0].low, found[0].high) == paired_bootstrap(
        right[1], right[0]
    )
    assert len(differences(systems, all_pairs=True)) == 3


def test_seeds_are_averaged_by_question(runs: list[str]) -> None:
    (two, one) = read_systems([f"A={runs[0]},{runs[1]}", f"B={runs[2]}"])
    single = read_systems(runs[:2])
    assert two.runs == 2
    for ident in IDS:
        assert two.right[ident] == (single[0].right[ident] + single[1].right[ident]) / 2
    (found,) = differences([two, one])
    assert 0 < found.p <= 1


def test_sign_flip_agrees_with_mcnemar_where_both_serve() -> None:
    a, b = np.array([1] * 9 + [0] + [1] * 5, bool), np.array([0] * 9 + [1] + [1] * 5, bool)
    assert sign_flip(a.astype(float) - b) == pytest.approx(mcnemar(a, b), abs=0.005)


def test_a_table_in_every_format(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for name, mark in (
        ("text", "McNemar"),
        ("markdown", "|:--|"),
        ("latex", r"\toprule"),
        ("csv", "system,accuracy %"),
    ):
        assert main(["compare", *runs, "--format", name]) == 0
        assert mark in capsys.readouterr().out


def test_policies_of_one_run_and_the_json(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c.json"
    words = ["compare", runs[0], "--policy", "direct,routed", "--json", str(out), "--all-pairs"]
    assert main(words) == 0
    assert "trained router" in capsys.readouterr().out
    (only,) = json.loads(out.read_text())["differences"]
    assert only["questions"] == 60


def test_every_mistake_is_one_line(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = str(finished(tmp_path / "other", np.ones(60), data="e"))
    for words, said in (
        ([runs[0]], "one system alone"),
        ([runs[0], other], "different questions"),
        ([f"A={runs[0]},{other}", runs[1]], "no seeds of one system"),
        ([runs[0], runs[0]], "given twice"),
        ([runs[0], "nowhere"], "no results.json"),
        ([*runs, "--policy", "rooted"], "Did you mean 'routed'?"),
        ([*runs, "--split", "odd"], "no split named 'odd'"),
    ):
        assert main(["compare", *words]) == 2
        captured = capsys.readouterr()
        assert said in captured.err
        assert not captured.out
