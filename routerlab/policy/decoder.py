"""The text model run once over several parts of a prompt, of which some see others.

    cards [1, P, D] ─────────────┐
    rows  [B, L, D], see cards ──┤ each layer's products ─► states at what is read, [B, D]
                                 ┘ over all positions at once

What differs from part to part is attention alone: a part is causal in itself and sees, before its
own positions, all of the parts that it names. So a shared beginning costs its positions once and
no pass of its own, which counts where a pass is bound by starting kernels. What is read at a row's
end is computed only there: in the last layer all positions give keys and values, and those that are
read a query. The modules are the model's own, LoRA in them included; gradients flow to all states.
For the text models of Qwen's audio families, whose parts have the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from routerlab.errors import UserError

_LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}


@dataclass(frozen=True)
class Part:
    """Positions that stand one behind the other, in one row or in B.

    Attributes:
        states: [B, L, D], what enters; padding comes last.
        past: the place of each row's first position, a number or int64 [B].
        sees: earlier parts, by index, that it sees as a whole: of one row, or of as many.
        lengths: int64 [B], of the rows without padding; None where there is none.
        read: int64 [B], which position of each row is read; None where none is.
        shared: one row for all questions.
    """

    states: Tensor
    past: int | Tensor = 0
    sees: tuple[int, ...] = ()
    lengths: Tensor | None = None
    read: Tensor | None = None
    shared: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """B and L."""
        return self.states.shape[0], self.states.shape[1]

    @property
    def positions(self) -> Tensor:
        """Where each position stands, int64 [B, L]."""
        rows, length = self.shape
        steps = torch.arange(length, device=self.states.device)
        first = self.past[:, None] if isinstance(self.past, Tensor) else self.past
        return (first + steps).expand(rows, -1)

    @property
    def visible(self) -> Tensor:
        """What others see of it: bool [B, L], or [1, L] if that is everything."""
        steps = torch.arange(self.shape[1], device=self.states.device)
        if self.lengths is None:
            return torch.ones_like(steps, dtype=torch.bool)[None]
        return steps < self.lengths[:, None]

    @property
    def real(self) -> Tensor | None:
        """Which of its B · L positions are no padding, int64; None if all."""
        return None if self.lengths is None else self.visible.flatten().nonzero()[:, 0]

    def to(self, device: torch.device) -> Part:
        """The part on a device."""
        moved: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    @property
    def begins(self) -> Tensor:
        """Where each row begins among its real positions, int64 [B]."""
        if self.lengths is None:
            rows, length = self.shape
            return torch.arange(rows, device=self.states.device) * length
        return self.lengths.cumsum(0) - self.lengths


def read_at(
    decoder: Any, parts: Sequence[Part], first: int = 0, *, recompute: bool = False
) -> list[Tensor]:
    """Hidden states [B, D] after the last norm, of each part that is read, in their order.

    Args:
        decoder: a Qwen text model.
        parts: what enters layer `first`; embeddings enter layer 0.
        first: the layer to begin with.
        recompute: keep no activations inside layers (gradient checkpointing).
    """
    run, last = _Run(decoder, parts), len(decoder.layers) - 1
    states = run.through(first, last, recompute=recompute)
    return [decoder.norm(ends) for ends in run.at_ends(decoder.layers[last], states)]


def states_after(decoder: Any, parts: Sequence[Part], stop: int) -> list[Tensor]:
    """What each part enters layer `stop` with, [B, L, D]; `parts` enter layer 0."""
    run = _Run(decoder, parts)
    return run.apart(run.through(0, stop))


def check_layers(decoder: Any) -> None:
    """Refuse layers with parts that are not run here: what they do would be left out.

    Raises:
        UserError: such a part, by name.
    """
    layer = decoder.layers[0]
    for module, known in ((layer, _LAYER), (layer.self_attn, _ATTENTION)):
        if unknown := {name for name, _ in module.named_children()} - known:
            raise UserError(
                f"router: layers of this LALM have a part {sorted(unknown)[0]!r}. Allowed: the "
                f"parts of Qwen2's layers. Teach routerlab/policy/decoder.py the new one."
            )


class _Run:
    """Parts in a row: their N positions without padding, and angles and masks for every layer."""

    def __init__(self, decoder: Any, parts: Sequence[Part]) -> None:
        self.decoder, self.parts = decoder, parts
        self.real = [part.real for part in parts]
        self.counts = [
            part.states.shape[:2].numel() if real is None else len(real)
            for part, real in zip(parts, self.real, strict=True)
        ]
        self.cos, self.sin = self._angles()
        # A part that sees no other and is not read is causal throughout: no mask is the fastest.
        self.masks = [
            self._mask(part) if part.sees or part.read is not None else None for part in parts
        ]

    def through(self, first: int, stop: int, *, recompute: bool = False) -> Tensor:
        """States [N, D] after layers `first` to `stop` − 1."""
        states = self.together([part.states for part in self.parts])
        for layer in self.decoder.layers[first:stop]:
            if recompute:
                states = checkpoint(
                    self._layer, layer, states, use_reentrant=False, preserve_rng_state=False
                )
            else:
                states = self._layer(layer, states)
        return states

    def together(self, states: Sequence[Tensor]) -> Tensor:
        """[B, L, …] of each part -> [N, …], without padding."""
        flat = zip((each.flatten(0, 1) for each in states), self.real, strict=True)
        return torch.cat([each if real is None else each[real] for each, real in flat])

    def apart(self, states: Tensor) -> list[Tensor]:
        """[N, …] -> [B, L, …] of each part, zeros for padding."""
        found = []
        pieces = torch.split(states, self.counts)
        for part, real, piece in zip(self.parts, self.real, pieces, strict=True):
            whole = piece
            if real is not None:
                padded = piece.new_zeros(part.states.shape[:2].numel(), *piece.shape[1:])
                whole = padded.index_copy(0, real, piece)
            found.append(whole.view(*part.shape, *piece.shape[1:]))
        return found

    def at_ends(self, layer: Any, states: Tensor) -> list[Tensor]:
        """One layer, [B, D] a part that is read: all else but keys and values only there."""
        attention, normed = layer.self_attn, layer.input_layernorm(states)
        key, value = (_heads(attention, p(normed)) for p in (attention.k_proj, attention.v_proj))
        known = self.apart(torch.cat([self._turned(key), value], dim=1))
        places = self._read_places()
        query = self._turned(_heads(attention, attention.q_proj(normed[places])), places)
        done, mixed = 0, []
        for index, part in enumerate(self.parts):
            if part.read is not None:
                asked = query[done : done + part.shape[0], None]
                mixed.append(self._attend(attention, index, asked, known, part.read))
                done += part.shape[0]
        ends = states[places] + attention.o_proj(torch.cat(mixed).flatten(1))
        ends = ends + layer.mlp(layer.post_attention_layernorm(ends))
        rows = [len(part.read) for part in self.parts if part.read is not None]
        return list(torch.split(ends, rows))

    def _layer(self, layer: Any, states: Tensor) -> Tensor:
        """As the model's own layer, but that each part attends for itself: [N, D] -> [N, D]."""
        attention, normed = layer.self_attn, layer.input_layernorm(states)
        query, key, value = (
            _heads(attention, project(normed))
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        # Queries and keys are turned together, and all three parted together.
        turned = self._turned(torch.cat([query, key], dim=1))
        sizes = [query.shape[1], 2 * key.shape[1]]
        pieces = [
            torch.split(piece, sizes, dim=2)
            for piece in self.apart(torch.cat([turned, value], dim=1))
        ]
        known = [piece[1] for piece in pieces]
        mixed = [self._attend(attention, i, piece[0], known) for i, piece in enumerate(pieces)]
        states = states + attention.o_proj(self.together(mixed).flatten(1))
        return states + layer.mlp(layer.post_attention_layernorm(states))  # type: ignore[no-any-return]

    def _attend(
        self,
        attention: Any,
        index: int,
        query: Tensor,
        known: Sequence[Tensor],
        read: Tensor | None = None,
    ) -> Tensor:
        """[B, Q, H, width] of one part, over what it sees and itself; at `read` alone if given.

        Args:
            known: keys and values of each part, one behind the other: [B, L, 2 · H', width].
        """
        part, mask = self.parts[index], self.masks[index]
        if read is not None and mask is not None:
            rows = torch.arange(len(read), device=read.device)
            mask = mask.expand(len(read), -1, -1, -1)[rows, :, read][:, :, None]
        own = known[index]
        if part.sees:
            seen = [known[i].expand(len(query), -1, -1, -1) for i in part.sees]
            own = torch.cat([*seen, own], dim=1)
        key, value = own.transpose(1, 2).chunk(2, dim=1)
        if (groups := attention.num_key_value_groups) > 1:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        mixed = scaled_dot_product_attention(
            query.transpose(1, 2),
            key,
            value,
            attn_mask=mask,
            is_causal=mask is None,
            scale=attention.scaling,
        )
        return mixed.transpose(1, 2)

    def _mask(self, part: Part) -> Tensor:
        """What each position may look at, bool [1 or B, 1, L, keys]: what is seen, then itself."""
        length, device = part.shape[1], part.states.device
        seen = [self.parts[i].visible for i in part.sees]
        rows = max([1, *map(len, seen)])
        before = [each[:, None].expand(rows, length, -1) for each in seen]
        own = torch.ones(length, length, dtype=torch.bool, device=device).tril()
        return torch.cat([*before, own.expand(rows, -1, -1)], dim=2)[:, None]

    def _angles(self) -> tuple[Tensor, Tensor]:
        """Cosine and sine of each position's rotary angles, [N, 1, width], some sines negated."""
        decoder, states = self.decoder, self.parts[0].states
        positions = self.together([part.positions for part in self.parts])[None]
        axes = hasattr(decoder.rotary_emb, "mrope_section")  # time, height and width each
        cos, sin = decoder.rotary_emb(states, positions.expand(3, -1, -1) if axes else positions)
        left, right = sin.chunk(2, dim=-1)
        return cos[0][:, None], torch.cat([-left, right], dim=-1)[0][:, None]

    def _turned(self, heads: Tensor, places: Tensor | None = None) -> Tensor:
        """Rotary positions put into [N, H, width], or into those of some places."""
        cos, sin = self.cos, self.sin
        if places is not None:
            cos, sin = cos[places], sin[places]
        left, right = heads.chunk(2, dim=-1)
        return torch.addcmul(heads * cos, torch.cat([right, left], dim=-1), sin)

    def _read_places(self) -> Tensor:
        """Where in [N, …] the positions are that are read."""
        found, done = [], 0
        for part, count in zip(self.parts, self.counts, strict=True):
            if part.read is not None:
                found.append(done + part.begins + part.read)
            done += count
        return torch.cat(found)


def _heads(attention: Any, states: Tensor) -> Tensor:
    """[N, H · width] -> [N, H, width]."""
    return states.view(len(states), -1, attention.head_dim)
