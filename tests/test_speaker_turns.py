"""Who speaks when, from spans and vectors alone: windows, known clusters, turns."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from routerlab.tools.speaker_turns import Turn, Window, group, slide, turns
from routerlab.tools.voices import RATE
from routerlab.tools.waveforms import equal_batches


def test_windows_are_of_one_length_and_their_parts_are_the_speech() -> None:
    found = slide([(0.1, 0.6), (1.0, 2.5), (3.033, 7.411)], 1.5, 0.75)
    assert found[0] == Window(0.1, 0.6, 0.1, 0.6)
    assert found[1] == Window(1.0, 2.5, 1.0, 2.5)
    long = found[2:]
    assert len(long) == 5
    assert {round(w.end_s * RATE) - round(w.start_s * RATE) for w in long} == {round(1.5 * RATE)}
    assert (long[0].start_s, long[-1].end_s) == (3.033, 7.411)
    assert (long[0].from_s, long[-1].to_s) == (3.033, 7.411)
    for one, after in pairwise(long):
        assert after.start_s - one.start_s <= 0.751
        assert one.to_s == after.from_s
        assert one.start_s < one.to_s <= one.end_s


def voices(names: str, seed: int = 0, spread: float = 0.05) -> np.ndarray:
    """A vector a letter: each letter's about a direction of its own."""
    rng = np.random.default_rng(seed)
    own = {name: rng.standard_normal(64) / 8 for name in sorted(set(names))}
    return np.array([own[name] + spread * rng.standard_normal(64) / 8 for name in names])


@pytest.mark.parametrize("said", ["a", "aaaa", "ab", "baab", "abcabc", "ccabba", "abcdefgh"])
def test_known_clusters_are_found_and_named_by_first_appearance(said: str) -> None:
    order = list(dict.fromkeys(said))
    assert group(voices(said), 0.4, 8) == [order.index(name) for name in said]
    assert group(10 * voices(said), 0.4, 8) == group(voices(said), 0.4, 8), "only directions count"


def test_the_distance_and_the_most_speakers_decide() -> None:
    vectors = voices("abab")
    assert group(vectors, 0.4, 8) == [0, 1, 0, 1]
    assert group(vectors, 1.99, 8) == [0, 0, 0, 0]
    assert group(vectors, 1e-6, 8) == [0, 1, 2, 3]
    assert group(vectors, 1e-6, 2) == [0, 1, 0, 1]
    assert group(np.zeros((3, 4)), 0.5, 8) == [0, 1, 2], "no direction, nobody's"
    assert group(np.zeros((0, 4)), 0.5, 8) == []


def test_turns_go_on_over_short_pauses_of_the_same_voice_only() -> None:
    spans = [(0.0, 1.0), (1.25, 2.0), (2.0, 3.0), (4.0, 5.0), (5.5, 6.0)]
    windows = [Window(a, b, a, b) for a, b in spans]
    assert turns(windows, [0, 0, 1, 1, 0]) == [
        Turn("A", 0.0, 2.0, 1.75),
        Turn("B", 2.0, 3.0, 1.0),
        Turn("B", 4.0, 5.0, 1.0),
        Turn("A", 5.5, 6.0, 0.5),
    ]
    assert turns([], []) == []


def test_pieces_of_one_length_go_together_in_any_order() -> None:
    places = list(equal_batches([7, 3, 7, 3, 7], 2))
    assert places == [[0, 2], [4], [1, 3]]
