"""A checkpoint's own chat template, taken apart into the texts that stand around what is said.

The template is rendered a few times with marks in place of texts, and split at the marks. Prompts
are then built of the pieces, so that data text can be kept apart from control tokens, which a
rendered string could not. Knows nothing of token ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routerlab.errors import UserError

_SYSTEM, _FIRST, _SECOND, _REPLY = (f"⟦{name}⟧" for name in ("system", "first", "second", "reply"))
_SLOT = "<|AUDIO|>"
_CLIP = {"type": "audio", "audio": "clip.wav"}
_BEGIN = "<|im_start|>user\n"


@dataclass(frozen=True)
class Format:
    """The texts around a system turn, a user turn and its clips; control tokens included.

    Attributes:
        system: before and after the text of a system turn, up to where the user's text begins.
        unasked: what stands before the user's text when no system text is given.
        bare: what opens the user's turn, and nothing before it.
        clip: before and after the slot of a clip; `{n}` is its number from 1.
        closing: from the end of the user's text to where the assistant begins.
    """

    system: tuple[str, str] = ("<|im_start|>system\n", f"<|im_end|>\n{_BEGIN}")
    unasked: str = _BEGIN
    bare: str = _BEGIN
    clip: tuple[str, str] = ("<|audio_bos|>", "<|audio_eos|>")
    closing: str = "<|im_end|>\n<|im_start|>assistant\n"


def chatml(around: tuple[str, str] = ("", "")) -> Format:
    """Qwen's chat format where a checkpoint brings no template of its own.

    Args:
        around: what stands before and after a clip's marks.
    """
    before, after = Format.clip
    return Format(clip=(around[0] + before, after + around[1]))


def read_template(folder: Path) -> str | None:
    """The processor's template: the files in which transformers keeps it, the newest form first."""
    newest = folder / "chat_template.jinja"
    if newest.is_file():
        return newest.read_text(encoding="utf-8")
    for name in ("chat_template.json", "processor_config.json"):
        if (folder / name).is_file():
            found = json.loads((folder / name).read_text(encoding="utf-8")).get("chat_template")
            if isinstance(found, str):
                return found
    return None


def format_of(tokenizer: Any, template: str | None, around: tuple[str, str], given: str) -> Format:
    """What a template writes around texts; Qwen's format where it knows nothing of sound.

    Args:
        tokenizer: renders; its own template is used if `template` is None.
        around: the family's text around a clip's marks, for a checkpoint without a template.
        given: the model's name, for messages.

    Raises:
        UserError: the template leaves out or changes what is said.
    """
    template = template or tokenizer.chat_template
    if template is None:
        return chatml(around)

    def render(turns: Sequence[Mapping[str, Any]], go_on: bool = True) -> str:
        return str(
            tokenizer.apply_chat_template(
                list(turns), chat_template=template, tokenize=False, add_generation_prompt=go_on
            )
        )

    user = {"role": "user", "content": [_CLIP, _said(_FIRST), _CLIP, _said(_SECOND)]}
    heard = ""
    # A template may raise anything: one of text alone, because it expects a string.
    with suppress(Exception):
        heard = render([user])
    if heard.count(_SLOT) != 2:
        return chatml(around)
    found = None
    with suppress(Exception):
        found = _taken_apart(render, user, heard)
    if found is None:
        raise UserError(
            f"lalm: the chat template of {given!r} does not write a system turn, a clip and a text "
            "one after the other. Put a template that does into chat_template.jinja beside it."
        )
    return found


def _said(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _taken_apart(render: Any, user: Mapping[str, Any], heard: str) -> Format | None:
    """The format, or None where the marks do not come out as they went in."""
    plain = {"role": "user", "content": [_said(_FIRST)]}
    asked = _split(render([{"role": "system", "content": _SYSTEM}, plain]), _SYSTEM, _FIRST)
    unasked = _split(render([plain]), _FIRST)
    replied = _split(render([plain, {"role": "assistant", "content": _REPLY}], False), _REPLY)
    spoken = _split(heard, _FIRST, _SECOND)
    if not (asked and unasked and replied and spoken):
        return None
    end = replied[1]
    clips = [part.partition(_SLOT) for part in (spoken[0].removeprefix(unasked[0]), spoken[1])]
    if not asked[1].startswith(end) or not spoken[0].startswith(unasked[0]):
        return None
    if (clip := _numbered(clips[0], clips[1])) is None:
        return None
    return Format(
        system=(asked[0], asked[1]),
        unasked=unasked[0],
        bare=asked[1].removeprefix(end),
        clip=clip,
        closing=unasked[1],
    )


def _numbered(first: tuple[str, str, str], second: tuple[str, str, str]) -> tuple[str, str] | None:
    """What stands around the slots of two clips, their numbers made `{n}`; None if it differs."""
    if first == second:
        return first[0], first[2]
    if first[0].replace("1", "2") == second[0] and first[2] == second[2]:
        return first[0].replace("1", "{n}"), first[2]
    return None


def _split(text: str, *marks: str) -> list[str] | None:
    """The parts of a text around its marks; None if each is not there just once, in order."""
    parts = []
    for mark in marks:
        if text.count(mark) != 1:
            return None
        before, _, text = text.partition(mark)
        parts.append(before)
    return [*parts, text]
