"""A loaded audio language model, taken apart: hear a clip, embed a prompt, run the text model.

Router and reasoner stand on this one object. Nothing here scores, generates or trains; every
function but `audio_features` works under autograd, and calls the model's own submodules, so LoRA
layers put into `LALM.model` act.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import linear

from routerlab.errors import UserError
from routerlab.lalm.chat import Chat, Piece, Prompt, Special
from routerlab.lalm.checkpoint import EMBEDDED, fingerprint, locate, read_config
from routerlab.lalm.counts import Counted
from routerlab.lalm.device import present
from routerlab.lalm.families import Family, family_of, slots
from routerlab.lalm.quant import Quantize, four_bit
from routerlab.lalm.room import Room, room_for
from routerlab.lalm.template import format_of, read_template
from routerlab.types import Clip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transformers import DynamicCache

DType: TypeAlias = Literal["float32", "bfloat16"]

# Fewer frames than this leave no position after the tower's convolution and pooling.
_LEAST_FRAMES = 4

# A loading bar for less than this many bytes is noise.
_WORTH_A_BAR = 2**28


class LALM:
    """A model, its tokenizer and its front end.

    Attributes:
        model: the Hugging Face model, in eval mode. Replace its parts (LoRA) in place, or put a
            `PeftModel` around it here: both are understood.
        chat_format: text and control tokens into ids.
        max_seconds: sound beyond this is not heard; never more than the front end takes.
        quantize: how the text model's weights are held.
        counted: what was computed so far.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        extractor: Any,
        family: Family,
        folder: Path,
        max_seconds: float | None = None,
        max_tokens: int | None = None,
        quantize: Quantize = "none",
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        form = format_of(tokenizer, read_template(folder), family.around, str(folder))
        self.chat_format = Chat(tokenizer, form=form)
        self.quantize = quantize
        self.counted = Counted()
        self._max_tokens = max_tokens
        self._extractor = extractor
        self._family = family
        self._folder = folder
        limit = extractor.n_samples / extractor.sampling_rate
        self.max_seconds = min(limit, max_seconds or limit)

    @classmethod
    def load(
        cls,
        path: str = EMBEDDED,
        *,
        revision: str | None = None,
        dtype: DType = "float32",
        device: str = "cpu",
        max_seconds: float | None = None,
        max_tokens: int | None = None,
        quantize: Quantize = "none",
    ) -> LALM:
        """Load "embedded", a folder or a hub id by the ordinary `from_pretrained` path.

        Args:
            max_tokens: in one pass (see `routerlab.lalm.room`); sized to the memory if None.
            quantize: "4bit" needs a CUDA device and bitsandbytes.

        Raises:
            UserError: no such model or device, an unknown family, weights that are not safetensors.
        """
        from transformers import AutoTokenizer, WhisperFeatureExtractor

        place = present(torch.device(device))
        folder = locate(path, revision)
        family = family_of(read_config(folder), path)
        width: torch.dtype = getattr(torch, dtype)
        how = {} if quantize == "none" else four_bit(place, width)
        with _told_in_a_line(path), _quiet(folder):
            # The small files first: what is wrong with them need not wait for the weights.
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            extractor = WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True)
            model = family.load(folder, width, **how)
        # Weights in four bits are made on the GPU and stay there.
        model = model if how else model.to(device=place)
        model.requires_grad_(False)
        return cls(model, tokenizer, extractor, family, folder, max_seconds, max_tokens, quantize)

    def lent(self, max_seconds: float | None = None, max_tokens: int | None = None) -> LALM:
        """The same weights for another user, with limits and counts of its own."""
        other = copy(self)
        limit = self._extractor.n_samples / self._extractor.sampling_rate
        other.max_seconds = min(limit, max_seconds or limit)
        other._max_tokens, other.counted = max_tokens, Counted()
        other.__dict__.pop("room", None)
        return other

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the files that the model was loaded from."""
        return fingerprint(self._folder)

    @cached_property
    def room(self) -> Room:
        """How much to run at once; a GPU's memory is looked at on first use."""
        text = self.base.config.get_text_config()
        return room_for(text, self.device, self.dtype.itemsize, self._max_tokens)

    @property
    def special(self) -> Special:
        """Ids of the control tokens."""
        return self.chat_format.special

    @property
    def base(self) -> Any:
        """The Hugging Face model itself, out of a `PeftModel` if there is one around it."""
        unwrap = getattr(self.model, "get_base_model", None)
        return self.model if unwrap is None else unwrap()

    @property
    def device(self) -> torch.device:
        """Where the embeddings are."""
        device: torch.device = self.base.get_input_embeddings().weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Of frozen weights and activations; what is trained may be wider."""
        dtype: torch.dtype = self.base.model.audio_tower.dtype
        return dtype

    @property
    def hidden_size(self) -> int:
        """Width of the text model."""
        return int(self.base.get_input_embeddings().weight.shape[1])

    @property
    def vocabulary(self) -> int:
        """How many logits the head gives."""
        return int(self.base.get_input_embeddings().weight.shape[0])

    @cached_property
    def stops(self) -> frozenset[int]:
        """Ids that end an answer: the end of a turn and what the tokenizer calls end or padding."""
        named = (self.tokenizer.eos_token_id, self.tokenizer.pad_token_id, self.special.end)
        return frozenset(int(token) for token in named if token is not None)

    def text_ids(self, text: str) -> list[int]:
        """Ids of data text; never a control token (see `routerlab.lalm.chat`)."""
        return self.chat_format.text_ids(text)

    def chat(self, system: str | None, pieces: Sequence[Piece], *, cue: str = "") -> Prompt:
        """A whole prompt in the model's chat format, up to where the assistant goes on."""
        return self.chat_format.chat(system, pieces, cue=cue)

    @torch.no_grad()
    def audio_features(self, clips: Sequence[Clip]) -> list[Tensor]:
        """The audio tower's features, [T_i, hidden] a clip; the same clip twice is heard once."""
        unique = list({clip.fingerprint: clip for clip in clips}.values())
        if not unique:
            return []
        mel, frames = self.log_mel(unique)
        row = self._family.tower(self.base, mel.to(self.device, self.dtype), frames.to(self.device))
        self.counted.tower_passes += len(unique)
        parts = torch.split(row, [slots(n) for n in frames.tolist()])
        heard = dict(zip((clip.fingerprint for clip in unique), parts, strict=True))
        return [heard[clip.fingerprint] for clip in clips]

    def silence(self, clips: Sequence[Clip]) -> list[Tensor]:
        """Zeros in the shape of each clip's features, at no pass of the tower."""
        lengths = [slots(self._frames(self._bounded(clip))) for clip in clips]
        return [torch.zeros(n, self.hidden_size, dtype=self.dtype) for n in lengths]

    def log_mel(self, clips: Sequence[Clip]) -> tuple[Tensor, Tensor]:
        """Log-mel [B, bins, F] padded on the right, and each clip's frames, int64 [B]."""
        sounds = [self._bounded(clip) for clip in clips]
        window = self._extractor.n_fft
        # The models' own processors pad with silence far beyond the end, so the last frames of a
        # clip look into zeros; without the margin they would look into a mirror image.
        margin = np.zeros(window, np.float32)
        mel = self._extractor(
            [np.concatenate([sound, margin]) for sound in sounds],
            sampling_rate=self._extractor.sampling_rate,
            padding="max_length" if self._family.whole_window else "longest",
            truncation=True,  # to the front end's window, margin and all
            return_tensors="pt",
            device="cpu" if self.device.type == "cpu" else str(self.device),
        ).input_features
        frames = torch.tensor([self._frames(sound) for sound in sounds])
        kept = self._extractor.nb_max_frames if self._family.whole_window else int(frames.max())
        return mel[..., :kept], frames

    def embed(self, ids: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Embeddings [B, L, D] of ids [B, L], each run of audio slots filled by its clip.

        Args:
            ids: int64, on any device; as many audio slots as `features` has rows in all.
            features: of the batch's clips, row after row.
        """
        ids = ids.to(self.device)
        embeds: Tensor = self.base.get_input_embeddings()(ids).to(self.dtype)
        if not features:
            return embeds
        here = (ids == self.special.audio)[..., None]
        sound = torch.cat([f.to(embeds.device, embeds.dtype) for f in features])
        if int(here.sum()) != len(sound):
            raise ValueError(f"{int(here.sum())} audio slots for {len(sound)} audio features")
        return embeds.masked_scatter(here, sound)

    def forward(
        self,
        inputs_embeds: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor | None = None,
        cache: DynamicCache | None = None,
    ) -> Tensor:
        """Hidden states [B, L, D] after the last norm; `cache` is read and added to.

        Args:
            inputs_embeds: [B, L, D].
            attention_mask: [B, past + L], 1 where real; or bool [B, 1, L, past + L], True where a
                query may look.
            position_ids: int64 [B, L] or [3, B, L]; from a two-dimensional mask when None: 0, 1,
                2 ... over the real tokens.
            cache: keys and values of `past` tokens.
        """
        if position_ids is None:
            past = attention_mask.long().cumsum(-1).sub(1).clamp(min=0)
            position_ids = past[:, -inputs_embeds.shape[1] :]
        hidden: Tensor = (
            self._family.decoder(self.base)(
                None,
                attention_mask.to(self.device),
                position_ids.to(self.device),
                cache,  # by place: transformers 5.24 renamed its keyword
                inputs_embeds=inputs_embeds,
                use_cache=cache is not None,
            )
        ).last_hidden_state
        return hidden

    def logits(self, hidden: Tensor, only: Tensor | None = None) -> Tensor:
        """The head's float32 logits; give it only the positions that are asked for.

        Args:
            hidden: [..., D].
            only: int64 [n], the tokens whose logits are wanted; all if None. In a narrow model
                these few are computed in float32: bfloat16 would round them to eighths.
        """
        head = self._family.head(self.base)
        weight: Tensor = head.weight
        if only is not None and self.dtype != torch.float32:
            return linear(hidden.float(), weight[only].float())
        out: Tensor = head(hidden.to(weight.dtype)).float()
        self.counted.head_positions += out[..., 0].numel()
        return out if only is None else out[..., only]

    def logit_of(self, hidden: Tensor, tokens: Tensor, logits: Tensor) -> Tensor:
        """One token's logit at each position, float32 [n]; in a narrow model not rounded.

        Args:
            hidden: [n, D].
            tokens: int64 [n].
            logits: what `logits` gave for these positions, [n, vocabulary].
        """
        if self.dtype == torch.float32:
            return logits.gather(-1, tokens[:, None]).squeeze(-1)
        weight: Tensor = self._family.head(self.base).weight
        return (hidden.float() * weight[tokens].float()).sum(-1)

    def pad_left(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Ids [B, L] padded on the left, and the mask [B, L] of real tokens (int64)."""
        longest = max(len(row) for row in rows)
        ids = [[self.special.pad] * (longest - len(row)) + list(row) for row in rows]
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        return torch.tensor(ids, device=self.device), torch.tensor(mask, device=self.device)

    def new_cache(self) -> DynamicCache:
        """An empty cache for `forward`."""
        from transformers import DynamicCache

        return DynamicCache(config=self._family.decoder(self.base).config)

    def _frames(self, sound: NDArray[np.float32]) -> int:
        """Frames of 10 ms, the last one begun."""
        return -(-len(sound) // int(self._extractor.hop_length))

    def _bounded(self, clip: Clip) -> NDArray[np.float32]:
        rate = self._extractor.sampling_rate
        if clip.sample_rate != rate:
            raise UserError(
                f"lalm: a clip at {clip.sample_rate} Hz. Allowed: {rate} Hz. Load it with "
                f"load_clip(path, sample_rate={rate})."
            )
        sound = clip.samples[: int(self.max_seconds * rate)]
        short = max(0, _LEAST_FRAMES * self._extractor.hop_length - len(sound))
        return np.pad(sound, (0, short)) if short else sound


def expand_cache(cache: DynamicCache, rows: Sequence[int]) -> DynamicCache:
    """A cache of len(rows) rows, row i holding the keys and values of row `rows[i]` of `cache`.

    Gradients flow back to `cache`, which stays as it is. A cache of one row, and one whose rows are
    asked for as they stand, is not copied.
    """
    from transformers import DynamicCache

    layers = cast("list[Any]", cache.layers)
    count, device = len(layers[0].keys), layers[0].keys.device
    if count == 1:
        taken = [(_repeated(each.keys, rows), _repeated(each.values, rows)) for each in layers]
    elif list(rows) == list(range(count)):
        taken = [(each.keys, each.values) for each in layers]
    else:
        index = torch.tensor(rows, device=device)
        taken = [(each.keys[index], each.values[index]) for each in layers]
    return DynamicCache(taken)


def _repeated(states: Tensor, rows: Sequence[int]) -> Tensor:
    return states.expand(len(rows), -1, -1, -1)


@contextmanager
def _told_in_a_line(path: str) -> Iterator[None]:
    """What transformers says of files that are damaged, incomplete or of another make."""
    from safetensors import SafetensorError

    try:
        yield
    except (UserError, torch.OutOfMemoryError):
        raise
    except (OSError, ImportError, ValueError, RuntimeError, SafetensorError) as error:
        said = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(
            f"lalm: {path!r} cannot be loaded ({said}). Fetch it again, or save it again with "
            "save_pretrained."
        ) from error


@contextmanager
def _quiet(folder: Path) -> Iterator[None]:
    """Without transformers' reports, and its loading bar where loading takes no time."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    small = sum(file.stat().st_size for file in folder.glob("*.safetensors")) < _WORTH_A_BAR
    shown = logging.is_progress_bar_enabled()
    if small:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if small and shown:
            logging.enable_progress_bar()
