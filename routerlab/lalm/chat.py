"""Text into token ids in a model's chat format, with slots for sound. Knows nothing of tensors.

Data text (a question, an option, a tool's output, a card) goes through a tokenizer from which every
added token was taken away, so `<|im_start|>` or `<|AUDIO|>` inside it are ordinary characters.
Control tokens come from the format's own texts (`routerlab.lalm.template`), here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenizers import Tokenizer

from routerlab.errors import UserError
from routerlab.lalm.template import Format, chatml

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class _Audio(Enum):
    SOUND = "audio"


AUDIO: Final = _Audio.SOUND
"""Stands for one clip among the pieces of a prompt."""

Piece: TypeAlias = str | _Audio


@dataclass(frozen=True)
class Special:
    """Ids of the control tokens that a prompt is built of."""

    start: int
    end: int
    audio: int
    audio_start: int
    audio_end: int
    pad: int


@dataclass(frozen=True)
class Prompt:
    """A prompt whose clips have no length yet.

    Attributes:
        texts: token ids between the clips: one more entry than there are clips. The marks that
            open and close a clip are part of the text around it.
        slot: the id that stands for one audio position.
    """

    texts: tuple[tuple[int, ...], ...]
    slot: int

    def ids(self, slots: Sequence[int] = ()) -> list[int]:
        """The whole prompt; `slots[i]` is the number of positions of clip i."""
        return [*self.texts[0], *self.after(slots)]

    def after(self, slots: Sequence[int]) -> list[int]:
        """From the first clip on: what follows `texts[0]`, which is shared where cards are."""
        if len(slots) != len(self.texts) - 1:
            raise ValueError(f"{len(self.texts) - 1} clips in the prompt, {len(slots)} lengths")
        ids: list[int] = []
        for count, text in zip(slots, self.texts[1:], strict=True):
            ids += [self.slot] * count
            ids += text
        return ids


class Chat:
    """A chat format over one tokenizer.

    A system turn, when there is one; one user turn made of pieces; the assistant's opening.

    Args:
        tokenizer: a fast one, with Qwen's control tokens.
        around: text before and after each clip's marks, `{n}` being the clip's number from 1.
        form: the checkpoint's own format; Qwen's (ChatML) with `around` if None.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        around: tuple[str, str] = ("", ""),
        form: Format | None = None,
    ) -> None:
        self.special = _special(tokenizer)
        self.form = form or chatml(around)
        self._plain = _without_added_tokens(tokenizer)
        self._tokenizer = tokenizer
        self._marks: dict[str, list[int]] = {}

    def text_ids(self, text: str) -> list[int]:
        """Ids of data text; never a control token, whatever the text holds."""
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids

    def opening(self, system: str | None = "") -> list[int]:
        """The system turn and the start of the user's turn.

        Args:
            system: its text; no such turn when empty; the template's own, if it has one, when None.
        """
        if not system:
            return self._fixed(self.form.unasked if system is None else self.form.bare)
        return [*self.system_turn(system), *self._fixed(self.form.bare)]

    def system_turn(self, system: str) -> list[int]:
        """A whole system turn, and nothing of the user's."""
        before, after = self.form.system
        after = after.removesuffix(self.form.bare)
        return [*self._fixed(before), *self.text_ids(system), *self._fixed(after)]

    def closing(self, cue: str = "") -> list[int]:
        """The end of the user's turn and the start of the assistant's, with what it begins by."""
        return [*self._fixed(self.form.closing), *(self.text_ids(cue) if cue else [])]

    def user(self, pieces: Sequence[Piece], system: str | None = "") -> Prompt:
        """System turn and an open user turn holding `pieces`; a prefix to be continued."""
        texts = [self.opening(system)]
        before, after = self.form.clip
        for piece in pieces:
            if isinstance(piece, str):
                texts[-1] += self.text_ids(piece)
            else:
                texts[-1] += self._fixed(before.replace("{n}", str(len(texts))))
                texts.append(self._fixed(after))
        return Prompt(tuple(tuple(text) for text in texts), self.special.audio)

    def chat(self, system: str | None, pieces: Sequence[Piece], *, cue: str = "") -> Prompt:
        """A whole prompt, up to where the assistant goes on after `cue`."""
        prompt = self.user(pieces, system)
        *head, last = prompt.texts
        return Prompt((*head, (*last, *self.closing(cue))), prompt.slot)

    def _fixed(self, text: str) -> list[int]:
        """Ids of a text of the format, in which control tokens are control tokens; a new list."""
        if text not in self._marks:
            self._marks[text] = self._tokenizer.encode(text, add_special_tokens=False)
        return list(self._marks[text])


def _without_added_tokens(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """The same tokenizer, blind to every token that was added to its vocabulary.

    `split_special_tokens` would leave added tokens alone that are not marked special, of which
    Qwen's vocabularies have some (`<|fim_prefix|>`, `<tool_call>`).
    """
    if not tokenizer.is_fast:
        raise UserError(
            f"lalm: {type(tokenizer).__name__} is not a fast tokenizer. Allowed: a folder with "
            "tokenizer.json. Convert it with transformers' convert_slow_tokenizer."
        )
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    # A tokenizer that was trained with keeps that run's truncation and padding in its file.
    gone = dict.fromkeys(("post_processor", "truncation", "padding"))
    return Tokenizer.from_str(json.dumps({**parts, **gone, "added_tokens": []}))


def _special(tokenizer: PreTrainedTokenizerFast) -> Special:
    names = {
        "start": "<|im_start|>",
        "end": "<|im_end|>",
        "audio": "<|AUDIO|>",
        "audio_start": "<|audio_bos|>",
        "audio_end": "<|audio_eos|>",
    }
    known = tokenizer.get_added_vocab()
    if missing := [name for name in names.values() if name not in known]:
        raise UserError(
            f"lalm: the tokenizer has no {', '.join(missing)}. Allowed: the tokenizers of Qwen's "
            "audio models. Give the folder of such a model."
        )
    ids = {field: known[name] for field, name in names.items()}
    pad = tokenizer.pad_token_id
    return Special(**ids, pad=ids["end"] if pad is None else int(pad))
