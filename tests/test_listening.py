"""The listening page: current, whole, and over all families."""

from pathlib import Path

import soundfile

from routerlab.data.listening import ALL_FAMILIES, CLIPS, questions, write
from routerlab.data.speech.families import MAKERS as SPEECH

DOCS = Path(__file__).parents[1] / "docs"


def test_all_families_and_both_sorts_of_clip_are_there() -> None:
    items = questions()
    assert {item.family for item in items} == set(ALL_FAMILIES)
    conditions = {(item.family, item.condition) for item in items}
    assert {("note", "solo"), ("note", "noisy"), ("count", "dry"), ("count", "echo")} <= conditions


def test_the_page_in_docs_is_current(tmp_path: Path) -> None:
    page = write(tmp_path)
    assert page.read_text() == (DOCS / "listening.md").read_text()
    clips = sorted((DOCS / "listening").glob("*.ogg"))
    assert [c.name for c in clips] == sorted(c.name for c in (tmp_path / "listening").iterdir())
    assert len(clips) == CLIPS
    for clip in clips:
        # A single spoken word is shorter than any generated sound.
        least = 0.6 if clip.stem.partition("-")[2] in SPEECH else 1.5
        assert least < soundfile.info(clip).duration < 4
