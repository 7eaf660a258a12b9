"""Text into token ids in a model's chat format, with slots for sound. Knows nothing of tensors.

Data text (a question, an option, a tool's output, a card) goes through a tokenizer from which every
added token was taken away, so `<|im_start|>` or `<|AUDIO|>` inside it are ordinary characters. The
control tokens of a prompt are put in by id, here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenizers import Tokenizer

from routerlab.errors import UserError

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
    """The chat format that Qwen's audio models share (ChatML), over one tokenizer.

    A system turn, when there is one; one user turn made of pieces; the assistant's opening.

    Args:
        tokenizer: a fast one, with Qwen's control tokens.
        around: text before and after each clip's marks, `{n}` being the clip's number from 1.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, around: tuple[str, str] = ("", "")
    ) -> None:
        self.special = _special(tokenizer)
        self._plain = _without_added_tokens(tokenizer)
        self._around = around

    def text_ids(self, text: str) -> list[int]:
        """Ids of data text; never a control token, whatever the text holds."""
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids

    def opening(self, system: str = "") -> list[int]:
        """The system turn (left out when empty) and the start of the user's turn."""
        return [*(self._turn("system", system) if system else []), *self._open("user")]

    def closing(self, cue: str = "") -> list[int]:
        """The end of the user's turn and the start of the assistant's, with what it begins by."""
        return [self.special.end, *self.text_ids("\n"), *self._open("assistant"), *self._cue(cue)]

    def user(self, pieces: Sequence[Piece], system: str = "") -> Prompt:
        """System turn and an open user turn holding `pieces`; a prefix to be continued."""
        texts = [self.opening(system)]
        before, after = self._around
        for piece in pieces:
            if isinstance(piece, str):
                texts[-1] += self.text_ids(piece)
            else:
                named = self.text_ids(before.format(n=len(texts)))
                texts[-1] += [*named, self.special.audio_start]
                texts.append([self.special.audio_end, *self.text_ids(after)])
        return Prompt(tuple(tuple(text) for text in texts), self.special.audio)

    def chat(self, system: str, pieces: Sequence[Piece], *, cue: str = "") -> Prompt:
        """A whole prompt, up to where the assistant goes on after `cue`."""
        prompt = self.user(pieces, system)
        *head, last = prompt.texts
        return Prompt((*head, (*last, *self.closing(cue))), prompt.slot)

    def _open(self, role: str) -> list[int]:
        return [self.special.start, *self.text_ids(f"{role}\n")]

    def _turn(self, role: str, text: str) -> list[int]:
        end = [self.special.end, *self.text_ids("\n")]
        return [*self._open(role), *self.text_ids(text), *end]

    def _cue(self, cue: str) -> list[int]:
        return self.text_ids(cue) if cue else []


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
    return Tokenizer.from_str(json.dumps({**parts, "added_tokens": [], "post_processor": None}))


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
