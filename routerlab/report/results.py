"""The files that a run leaves: results, predictions, per-question scores, manifest.

Turns evaluations into JSON with the keys that users' scripts rely on, and writes each file whole.
No figure is computed here that `evaluation` does not give.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routerlab import __version__
from routerlab.data.writers import write_json, write_lines
from routerlab.report.evaluation import (
    RIVALS,
    Comparison,
    Evaluation,
    by_group,
    changed,
    kind_accuracy,
    moved,
    pairs,
)
from routerlab.report.survey import survey_split
from routerlab.statistics import counts, fallback
from routerlab.types import OutcomeTable

RESULTS = "results.json"
PREDICTIONS = "predictions.jsonl"
SCORES = "scores.json"
MANIFEST = "manifest.json"
SURVEY = "survey.json"
METRICS = "metrics.jsonl"

_OF_QUESTION = (
    "question",
    "choices",
    "audio",
    "task",
    "category",
    "sub_category",
    "difficulty",
)
"""What a row of predictions says of its question: enough to look at it without the data's files."""

_PACKAGES = (
    "torch",
    "lightning",
    "transformers",
    "peft",
    "numpy",
    "scikit-learn",
    "librosa",
    "torchmetrics",
)


def split_results(evaluation: Evaluation) -> dict[str, Any]:
    """The figures of one split; a policy without figures is null."""
    routed, direct = evaluation.against("routed"), evaluation.minus_direct()
    table = evaluation.table
    return {
        "questions": len(table),
        "accuracy": {name: evaluation.accuracy(name) for name in RIVALS},
        "call_rate": {name: _call_rate(evaluation, name) for name in RIVALS},
        "tools": survey_split(table)["tools"],
        "headroom_closed": evaluation.headroom_closed(),
        "oracle": {"raw": evaluation.accuracy("oracle"), "cross_fitted": evaluation.cross_fitted},
        "difference": _both(routed, direct, lambda it: it.difference),
        "ci95": _both(routed, direct, lambda it: [it.low, it.high]),
        "mcnemar_p": _both(routed, direct, lambda it: it.p),
        "calls": _calls(evaluation),
        "by_kind": by_group(table, evaluation.scored, lambda q: q.sub_category),
        "by_category": by_group(table, evaluation.scored, lambda q: q.category),
        "notes": dict(evaluation.missing),
    }


def keyword_traps(
    evaluation: Evaluation, truth: Mapping[str, Any], probabilities: NDArray[Any] | None
) -> dict[str, Any]:
    """Accuracy on keyword traps, and how the policy changes between a trap and its twin."""
    figures = kind_accuracy(evaluation, "keyword_trap", ("routed", "keyword", "direct", "text"))
    twins = pairs(evaluation.table, truth)
    actions = {
        k: evaluation.scored[k].actions for k in ("routed", "keyword") if k in evaluation.scored
    }
    figures["pairs"] = len(twins)
    figures["policy_change"] = {name: changed(it, twins) for name, it in actions.items()}
    if probabilities is not None:
        figures["policy_change"]["routed_variation"] = moved(probabilities, twins)
    return figures


def prediction_rows(
    split: str, evaluation: Evaluation, probabilities: NDArray[Any]
) -> Iterator[dict[str, Any]]:
    """A row a question: what the router did, what it saw and what came of it."""
    table, routed = evaluation.table, evaluation.scored["routed"]
    actions = np.asarray(routed.actions)
    fell_back = fallback(table, actions)
    for row, question in enumerate(table.questions):
        action = int(actions[row])
        used = 0 if fell_back[row] else action
        observation = table.outcome(row, action).observation
        yield {
            "split": split,
            "id": question.id,
            **{name: getattr(question, name) for name in _OF_QUESTION},
            "action": table.actions[action],
            "probabilities": _rounded(table.actions, probabilities[row]),
            "observation": None
            if observation is None or action == 0
            else {
                "text": observation.text,
                "values": observation.values,
                "error": observation.error,
                "version": observation.version,
            },
            "answer": _answer(table, row, used),
            "answers": {a: _answer(table, row, i) for i, a in enumerate(table.actions)},
            "outputs": {a: _output(table, row, i) for i, a in enumerate(table.actions) if i},
            "gold": question.answer,
            "correct": bool(routed.right[row]),
            "fallback": bool(fell_back[row]),
        }


def scores(evaluations: Mapping[str, Evaluation], files: Mapping[str, Path]) -> dict[str, Any]:
    """What each policy earned on each question, for sums over runs.

    Args:
        files: split -> question file: runs with the same one share its questions, whatever they
            were trained on.
    """
    return {
        "splits": {
            split: {
                "data": file_hash(files[split]),
                "ids": [q.id for q in evaluation.table.questions],
                "right": {
                    name: [round(float(v), 6) for v in scored.right]
                    for name, scored in {**evaluation.scored, **evaluation.tools()}.items()
                },
            }
            for split, evaluation in evaluations.items()
        },
    }


def manifest(seed: int | None, files: Mapping[str, Path], **hashes: Any) -> dict[str, Any]:
    """Versions, hashes and seed: what is needed to say what a run was."""
    return {
        "routerlab": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "seed": seed,
        "data": {split: file_hash(file) for split, file in files.items()},
        **hashes,
    }


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def data_hash(files: Mapping[str, Path]) -> str:
    """One SHA-256 over the question files of all splits."""
    parts = sorted(f"{split}:{file_hash(file)}" for split, file in files.items())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def write_run(
    folder: Path,
    results: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    per_question: Mapping[str, Any],
) -> None:
    """Write a run's results; `results.json` last, so that where it is, the others are."""
    write_lines(folder / PREDICTIONS, predictions)
    write_json(folder / SCORES, per_question)
    write_json(folder / RESULTS, results)


def _call_rate(evaluation: Evaluation, name: str) -> float | None:
    return evaluation.scored[name].call_rate if name in evaluation.scored else None


def _both(
    routed: Mapping[str, Comparison], direct: Mapping[str, Comparison], figure: Any
) -> dict[str, dict[str, Any]]:
    return {
        "routed_minus": {name: figure(it) for name, it in routed.items()},
        "minus_direct": {name: figure(it) for name, it in direct.items()},
    }


def _calls(evaluation: Evaluation) -> dict[str, Any]:
    scored = evaluation.scored.get("routed")
    if scored is None or scored.actions is None:
        return {}
    table, it = evaluation.table, counts(evaluation.table, scored.actions)
    share = np.bincount(scored.actions, minlength=len(table.actions)) / max(1, len(table))
    return {
        "fix": it.fix,
        "break": it.break_,
        "redundant_right": it.redundant_right,
        "redundant_wrong": it.redundant_wrong,
        "fallback": it.failed,
        "share": dict(zip(table.actions, share.tolist(), strict=True)),
    }


def _answer(table: OutcomeTable, row: int, column: int) -> str:
    answer = table.outcome(row, column).answer
    return "" if answer is None else answer.text


def _output(table: OutcomeTable, row: int, column: int) -> str:
    """What a tool said, called or not; "" where it failed."""
    seen = table.outcome(row, column).observation
    return "" if seen is None else seen.text


def _rounded(names: Sequence[str], values: NDArray[Any]) -> dict[str, float]:
    return {name: round(float(v), 6) for name, v in zip(names, values, strict=True)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
