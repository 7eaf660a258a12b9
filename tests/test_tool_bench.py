"""The benchmark of the signal tools, and the page that shows their cards."""

from __future__ import annotations

from pathlib import Path

import pytest

from routerlab.cli import main
from routerlab.tools import listing
from routerlab.tools.bench import TASKS, Score, bench, loudness_error, snr_error

PAGE = Path(__file__).parents[1] / "docs" / "tools.md"


def test_the_bars_of_clean_sounds_are_reached() -> None:
    for score in bench(clips=12):
        assert score.clean >= score.bars[0] - 1 / 12, str(score)
        assert 0.0 <= score.noisy <= 1.0


def test_loudness_agrees_with_the_standards_own_table() -> None:
    assert loudness_error(6) <= 0.3


def test_the_noise_of_a_recording_is_told_to_three_decibels() -> None:
    assert snr_error(12) <= 3.0


def test_a_score_says_what_falls_short() -> None:
    bad = Score("pitch", "one note", 0.9, 0.95, (0.97, 0.9), 100.0)
    assert "SHORT: clean 0.900 < 0.97, 100 x < 200 x" in str(bad)
    assert str(Score("pitch", "one note", 1.0, 1.0, (0.97, 0.9), 300.0)).endswith("reached")


def test_the_command_prints_a_line_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tools", "bench", "segments", "--clips", "4"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == sum(task.tool == "segments" for task in TASKS)
    assert main(["tools", "bench", "segmnts"]) == 2
    assert "Did you mean 'segments'?" in capsys.readouterr().err


def test_the_page_of_tools_is_current() -> None:
    own = [row for row in listing.rows() if row["name"] in listing.own_names()]
    assert listing.markdown(own) in PAGE.read_text(encoding="utf-8"), (
        "docs/tools.md: put in the table of `routerlab tools list --markdown`"
    )
