"""What the page's browser of questions needs, as JSON that can stand inside a script element.

A row a question with what was asked, what each action would have led to and what the router did.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from routerlab.data.writers import plain
from routerlab.report.page.figures import OUTCOMES, Split, outcomes
from routerlab.report.page.sound import Sound

_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
"""Signs that could end a script element or open a comment in one; the same text in JSON."""


def script_json(value: Any) -> str:
    """JSON that no HTML parser reads as anything but text.

    >>> script_json({"a": "</script>"})
    '{"a":"\\\\u003c/script\\\\u003e"}'
    """
    text = json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))
    for sign, escape in _ESCAPED.items():
        text = text.replace(sign, escape)
    # A lone half of a surrogate pair, which JSON may hold, is no text that a file can hold.
    return text.encode("utf-8", "replace").decode("utf-8")


def browser_data(
    splits: Sequence[Split],
    sound: Sound,
    cards: Mapping[str, Mapping[str, Any]],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """All that the browser shows."""
    actions = splits[0].actions if splits else ()
    return {
        "actions": [_action(name, cards.get(name, {}), versions.get(name, "")) for name in actions],
        "outcomes": dict(OUTCOMES),
        "sound": {"mode": sound.mode, "folder": sound.folder},
        "splits": {split.name: _rows(split, sound) for split in splits},
    }


def _action(name: str, card: Mapping[str, Any], version: str) -> dict[str, str]:
    said = {key: str(card.get(key) or "") for key in ("measures", "unit", "stops_at")}
    return {"name": name, "version": version, **said}


def _rows(split: Split, sound: Sound) -> list[dict[str, Any]]:
    return [_row(split, index, outcome, sound) for index, outcome in enumerate(outcomes(split))]


def _row(split: Split, index: int, outcome: str, sound: Sound) -> dict[str, Any]:
    row, path = split.rows[index], str(split.rows[index].get("audio") or "")
    answers, said = row.get("answers") or {}, row.get("outputs") or {}
    return {
        "id": str(row["id"]),
        "question": str(row.get("question") or ""),
        "choices": [str(choice) for choice in row.get("choices") or ()],
        "gold": str(row.get("gold") or ""),
        "category": str(row.get("category") or ""),
        "kind": " · ".join(
            str(row[key]) for key in ("sub_category", "difficulty", "task") if row.get(key)
        ),
        "action": int(split.chosen[index]),
        "p": [round(float(p), 4) for p in split.probabilities[index]],
        "right": [int(right) for right in split.right[index]],
        "answers": [str(answers.get(action) or "") for action in split.actions],
        "outputs": [str(said.get(action) or "") for action in split.actions],
        "seen": row.get("observation"),
        "answer": str(row.get("answer") or ""),
        "correct": bool(row["correct"]),
        "outcome": outcome,
        "clip": sound.clips.get(path, -1),
        "audio": path,
        "silent": sound.missing.get(path, ""),
    }
