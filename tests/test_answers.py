"""Matching and reading answers: parity with the official scorer, and never a guess."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerlab.answers import letter_match, official_match, read_answer, strict_match

MMAU = Path(__file__).parents[1] / "../shared/data/mmau-test-mini.json"

texts = st.text("abAB #-3.|()", max_size=12)
options = st.lists(texts.filter(str.strip), min_size=2, max_size=6)


# -- the official rule ----------------------------------------------------------------------------


def in_the_scripts_words(prediction: str, answer: str, choices: list[str]) -> bool:
    """The published rule as BENCHMARKS.md tells it, with loops instead of set algebra."""
    said = re.findall(r"\b\w+\b", prediction.lower())
    gold = re.findall(r"\b\w+\b", answer.lower())
    if not said:
        return False
    for choice in choices:
        tokens = re.findall(r"\b\w+\b", choice.lower())
        if set(tokens) == set(gold):
            continue
        if any(token in said and token not in gold for token in tokens):
            return False
    return all(token in said for token in gold)


@given(texts, options)
def test_official_match_is_the_published_rule(prediction: str, choices: list[str]) -> None:
    expected = in_the_scripts_words(prediction, choices[0], choices)
    assert official_match(prediction, choices[0], choices) == expected


@pytest.mark.parametrize(
    ("prediction", "answer", "choices"),
    [
        ("C major", "C# major", ["C# major", "D minor"]),
        ("-3 dB", "3 dB", ["3 dB", "6 dB"]),
        ("high then low", "low then high", ["low then high", "low then low"]),
    ],
)
def test_where_the_official_rule_is_lenient_the_strict_one_is_not(
    prediction: str, answer: str, choices: list[str]
) -> None:
    assert official_match(prediction, answer, choices)
    assert not strict_match(prediction, answer)
    assert read_answer(prediction, choices).text != answer


def test_an_empty_prediction_is_wrong() -> None:
    assert not official_match("", "?", ["?", "!"])
    assert not official_match("...", "a", ["a", "b"])


@pytest.fixture(scope="module")
def mmau() -> list[dict[str, Any]]:
    if not MMAU.is_file():
        pytest.skip(f"MMAU's question file is not at {MMAU} (it is not redistributed)")
    rows: list[dict[str, Any]] = json.loads(MMAU.read_text())
    return rows


def letter_of(row: dict[str, Any]) -> str:
    return "ABCDEFGHIJ"[row["choices"].index(row["answer"])]


WORDINGS = {
    "bare": (lambda row: row["answer"], 1000),
    "letter and text": (lambda row: f"({letter_of(row)}) {row['answer']}", 967),
    "sentence": (lambda row: f"The answer is {row['answer']}.", 907),
    "letter": (letter_of, 2),
}


@pytest.mark.parametrize("wording", WORDINGS)
def test_official_counts_on_mmau(mmau: list[dict[str, Any]], wording: str) -> None:
    say, right = WORDINGS[wording]
    found = sum(official_match(say(row), row["answer"], row["choices"]) for row in mmau)
    assert found == right


def test_nine_rows_of_mmau_accept_a_wrong_option(mmau: list[dict[str, Any]]) -> None:
    def accepts_another(row: dict[str, Any]) -> bool:
        gold, choices = row["answer"], row["choices"]
        others = [choice for choice in choices if not strict_match(choice, gold)]
        return any(official_match(other, gold, choices) for other in others)

    assert sum(map(accepts_another, mmau)) == 9


@pytest.mark.parametrize("wording", ["bare", "letter and text", "sentence"])
def test_every_right_answer_of_mmau_is_read(mmau: list[dict[str, Any]], wording: str) -> None:
    say, _ = WORDINGS[wording]
    for row in mmau:
        assert read_answer(say(row), row["choices"]).text == row["answer"]


# -- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "choices", "expected", "how"),
    [
        ("Woman", ["Man", "Woman"], "Woman", "exact"),
        ("  the  WOMAN. ", ["a man", "the woman"], "the woman", "exact"),
        ("Cm7", ["CM7", "Cm7"], "Cm7", "exact"),
        ("A:maj/5", ["B:min", "A:maj/5"], "A:maj/5", "exact"),
        ("A", ["C", "A", "B"], "A", "exact"),
        ("The answer is: rising.", ["falling", "rising"], "rising", "exact"),
        ("B", ["Man", "Woman"], "Woman", "letter"),
        ("(b)", ["Man", "Woman"], "Woman", "letter"),
        ("The correct option is (B).", ["Man", "Woman"], "Woman", "letter"),
        ("B. Woman", ["Man", "Woman"], "Woman", "letter"),
        ("B: since it is high", ["Man", "Woman"], "Woman", "letter"),
        ("<answer>A</answer> or <ANSWER>rising</ANSWER>", ["falling", "rising"], "rising", "tag"),
        ("I think it is the woman here", ["man", "woman"], "woman", "contained"),
        ("It is C# major.", ["C", "C# major", "major"], "C# major", "contained"),
        ("a level of -3 dB", ["3 dB", "-3 dB"], "-3 dB", "contained"),
    ],
)
def test_what_is_read(text: str, choices: list[str], expected: str, how: str) -> None:
    answer = read_answer(text, choices)
    assert (answer.text, answer.read, answer.raw) == (expected, how, text)
    assert answer.choice is not None
    assert choices[answer.choice] == expected


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("", ["Man", "Woman"]),
        ("D", ["Man", "Woman"]),
        ("Man or Woman", ["Man", "Woman"]),
        ("(A) Woman", ["Man", "Woman"]),
        ("A man", ["woman", "child"]),
        ("womanly", ["man", "woman"]),
        ("2.5 s", ["2", "5"]),
        ("C#4", ["C", "D"]),
        ("-3 dB", ["3 dB", "6 dB"]),
        ("woman <answer>neither</answer>", ["man", "woman"]),
    ],
)
def test_what_is_left_unread(text: str, choices: list[str]) -> None:
    answer = read_answer(text, choices)
    assert (answer.choice, answer.text, answer.read) == (None, "", "unparsed")


@given(options, st.data())
def test_an_option_is_always_read_as_itself(choices: list[str], data: st.DataObject) -> None:
    option = data.draw(st.sampled_from(choices))
    assert strict_match(read_answer(option, choices).text, option)


@given(texts, options)
def test_reading_never_fails_and_never_invents(text: str, choices: list[str]) -> None:
    answer = read_answer(text, choices)
    assert answer.text in ("" if answer.choice is None else choices[answer.choice], "")
    assert (answer.choice is None) == (answer.read == "unparsed")


def test_a_letter_points_at_gold_or_not() -> None:
    assert letter_match("(B)", "Woman", ["Man", "Woman"])
    assert not letter_match("A", "Woman", ["Man", "Woman"])
    assert not letter_match("Woman", "Woman", ["Man", "Woman"])
