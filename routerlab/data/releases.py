"""Which published file this is: a digest over questions, and the releases known by theirs.

The digest covers ids, questions, options and answers in the order of ids, so that neither white
space, nor further keys (predictions), nor another container changes it. A file that was edited
has another digest, and no release.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from routerlab.types import Question

_MMAU, _MMAU_NEW = "MMAU test-mini, first release", "MMAU test-mini v05.15.25"

RELEASES: Mapping[str, str] = {
    "8e7e986994ae253d": f"{_MMAU} (2024-10-23)",
    "8747cd99018ad64a": f"{_MMAU} (2024-12-09)",
    "6f840c603adad13e": f"{_MMAU} (2025-01-28)",
    "6c75b251ea67e811": f"{_MMAU} (2025-03-25)",
    "34fe4a7c2820d360": f"{_MMAU_NEW} (2025-05-18)",
    "1ef3fcf8c5323e85": f"{_MMAU_NEW} (2025-05-19)",
    "486e3fe07c4d4434": f"{_MMAU_NEW} (2025-05-22)",
    "883b0fdcb31c6166": f"{_MMAU_NEW} (2025-05-30)",
    "875424b978c4636d": f"{_MMAU_NEW} (2025-06-23, first)",
    "e34c1faff8f03839": f"{_MMAU_NEW} (2025-06-23)",
    "903cb53ce6accdf8": f"{_MMAU_NEW} (2025-08-09)",
    "db8f37942fe2753a": "MMAR (MMAR-meta.jsonl, 2026-02-16)",
}
"""First 16 digits of a digest -> the file's name and date in its benchmark's own repository."""


def questions_digest(questions: Iterable[Question]) -> str:
    """SHA-256 (hex) over what is asked, whatever file it stands in.

    >>> one = Question("1", "a.wav", "Who?", ("x", "y"), "x")
    >>> questions_digest([one])[:16]
    '0f814f38836cbb34'
    """
    parts = sorted([q.id, q.question, list(q.choices), q.answer] for q in questions)
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


def release_of(questions: Iterable[Question]) -> str:
    """The published file that asks exactly these questions; "" if none known does."""
    return RELEASES.get(questions_digest(questions)[:16], "")


def file_digest(path: str | Path) -> str:
    """SHA-256 (hex) of a file's bytes, read piece by piece."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
