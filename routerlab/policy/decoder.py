"""The text model run for one answer a row, with a prompt's beginning shared by all rows.

    read_ends   shared [1, P, D] ─► keys and values ─┐
                rows   [B, L, D] ────────────────────┴─► states at one position a row [B, D]

    read_cues   shared ─► keys and values ─┐
                rows   ─► keys and values ─┴─► cue [1, C, D] ─► states at its end [B, D]

What is read at a row's end is computed only there: in the last layer all positions give keys and
values, and one a row gives a query and goes through the feed-forward part. Layers are the model's
own modules, LoRA in them included; gradients flow to all inputs. For the text models of Qwen's
audio families, whose parts have the same names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint


@dataclass
class SharedStates:
    """Keys and values by layer, which later positions see before their own.

    Stands where the model's layers expect transformers' cache: a layer's first call records, its
    later calls read.

    Attributes:
        layers: keys, values, of what stands first; then keys, values of what follows it. Each
            [1 or B, H, length, width]: those of one row are seen by every row.
    """

    layers: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)

    def update(
        self, key: Tensor, value: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """What the layer attends to: [B, H, P + L, width] each."""
        if layer_idx not in self.layers:
            self.layers[layer_idx] = (key, value)
            return key, value
        seen = [states.expand(len(key), -1, -1, -1) for states in self.layers[layer_idx]]
        return torch.cat([*seen[0::2], key], dim=2), torch.cat([*seen[1::2], value], dim=2)

    def then(self, rows: SharedStates) -> SharedStates:
        """These, and behind them those of rows: what comes next sees both."""
        return SharedStates({i: (*states, *rows.layers[i]) for i, states in self.layers.items()})


@dataclass(frozen=True)
class Places:
    """Where a run of positions stands: its rotary angles and what each position may look at.

    Attributes:
        rope: cosines and sines, each [1 or B, L, width].
        mask: bool [1 or B, 1, L, keys].
    """

    rope: tuple[Tensor, Tensor]
    mask: Tensor

    @classmethod
    def of(cls, decoder: Any, states: Tensor, past: int, *, sees_past: bool = True) -> Places:
        """Of states [B, L, D] that come after `past` positions, and see them or do not.

        Padding comes after everything that is read, so one mask serves all rows.
        """
        length, device = states.shape[1], states.device
        positions = torch.arange(past, past + length, device=device)
        seen = past if sees_past else 0
        mask = torch.ones(length, seen + length, dtype=torch.bool, device=device).tril(seen)
        return cls(_rope(decoder, states, positions[None]), mask[None, None])

    @classmethod
    def after(cls, decoder: Any, states: Tensor, past: int, rows: int, lengths: Tensor) -> Places:
        """Of states [B, C, D], each after `past` positions and its row, padded to `rows`.

        Args:
            lengths: int64 [B], of the rows; their padding is not seen.
        """
        count, length = states.shape[:2]
        steps = torch.arange(length, device=states.device)
        before = torch.ones(count, past, dtype=torch.bool, device=states.device)
        real = torch.arange(rows, device=states.device) < lengths[:, None]
        seen = torch.cat([before, real], dim=1)[:, None].expand(-1, length, -1)
        own = (steps <= steps[:, None]).expand(count, -1, -1)
        positions = past + lengths[:, None] + steps
        return cls(_rope(decoder, states, positions), torch.cat([seen, own], dim=2)[:, None])


def _rope(decoder: Any, states: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    axes = hasattr(decoder.rotary_emb, "mrope_section")  # time, height and width each
    rope: tuple[Tensor, Tensor] = decoder.rotary_emb(
        states, positions.expand(3, -1, -1) if axes else positions
    )
    return rope


def through(
    decoder: Any,
    states: Tensor,
    first: int,
    stop: int,
    places: Places,
    shared: SharedStates,
    *,
    recompute: bool = False,
) -> Tensor:
    """States [B, L, D] after layers `first` to `stop` − 1; see `read_ends` for `recompute`."""
    run = _recomputed if recompute else _layer
    for layer in decoder.layers[first:stop]:
        states = run(layer, states, places, shared)
    return states


def _layer(layer: Any, states: Tensor, places: Places, shared: SharedStates) -> Tensor:
    # The cache goes by place: transformers 5.24 renamed its keyword.
    after: Tensor = layer(
        states, places.mask, None, shared, use_cache=True, position_embeddings=places.rope
    )
    return after


def _recomputed(layer: Any, states: Tensor, places: Places, shared: SharedStates) -> Tensor:
    """One layer of which only what goes in is kept; the backward pass runs it again.

    transformers' own checkpointing would drop the shared keys and values. Each of the two runs has
    a record of its own, so that both record, or both read. The embeddings need no gradient: those
    of the adapter inside are found by autograd itself (`use_reentrant=False`).
    """
    index = layer.self_attn.layer_idx
    known = shared.layers.get(index, ())

    def run(states: Tensor, *known: Tensor) -> tuple[Tensor, ...]:
        own = SharedStates({index: known} if known else {})
        after = _layer(layer, states, places, own)
        return (after,) if known else (after, *own.layers[index])

    after, *new = checkpoint(run, states, *known, use_reentrant=False, preserve_rng_state=False)
    if new:
        shared.layers[index] = (new[0], new[1])
    return after  # type: ignore[no-any-return]


def read_ends(
    decoder: Any,
    shared: Tensor,
    rows: Tensor,
    ends: Tensor,
    first: int = 0,
    *,
    recompute: bool = False,
) -> Tensor:
    """Hidden states [B, D] after the last norm, at one position a row.

    Args:
        decoder: a Qwen text model.
        shared: [1, P, D], what enters layer `first` of the shared beginning.
        rows: [B, L, D], what enters layer `first` of the rows, padded on the right.
        ends: int64 [B], the position of each row that is read.
        first: the layer to begin with; embeddings enter layer 0.
        recompute: keep no activations inside layers (gradient checkpointing).
    """
    known = recorded(decoder, shared, Places.of(decoder, shared, 0), first, recompute=recompute)
    places = Places.of(decoder, rows, shared.shape[1])
    return _read(decoder, rows, ends, places, known, first, recompute)


def read_cues(
    decoder: Any,
    shared: SharedStates,
    rows: SharedStates,
    lengths: Tensor,
    cue: Tensor,
    *,
    recompute: bool = False,
) -> Tensor:
    """Hidden states [B, D] after the last norm, at the end of a cue that follows each row.

    Only the cue sees the shared beginning: the rows are what they are without it.

    Args:
        decoder: a Qwen text model.
        shared: of the beginning, as `recorded` from position 0.
        rows: of the rows, as `recorded` behind the beginning without seeing it.
        lengths: int64 [B], of the rows.
        cue: embeddings [1, C, D].
        recompute: keep no activations inside layers (gradient checkpointing).
    """
    past, longest = (states.layers[0][0].shape[2] for states in (shared, rows))
    cues = cue.expand(len(lengths), -1, -1)
    places = Places.after(decoder, cues, past, longest, lengths)
    ends = torch.full_like(lengths, cue.shape[1] - 1)
    return _read(decoder, cues, ends, places, shared.then(rows), 0, recompute)


def recorded(
    decoder: Any, states: Tensor, places: Places, first: int = 0, *, recompute: bool = False
) -> SharedStates:
    """Keys and values in all layers from `first` on, of states [B, L, D] that enter it."""
    known, last = SharedStates(), len(decoder.layers) - 1
    states = through(decoder, states, first, last, places, known, recompute=recompute)
    _record(decoder.layers[last], states, places, known)
    return known


def _read(
    decoder: Any,
    states: Tensor,
    ends: Tensor,
    places: Places,
    known: SharedStates,
    first: int,
    recompute: bool,
) -> Tensor:
    last = len(decoder.layers) - 1
    states = through(decoder, states, first, last, places, known, recompute=recompute)
    return decoder.norm(_at_ends(decoder.layers[last], states, ends, places, known))  # type: ignore[no-any-return]


def _record(layer: Any, states: Tensor, places: Places, known: SharedStates) -> None:
    """A layer's keys and values, and nothing else of it."""
    key, value = _keys_values(layer, layer.input_layernorm(states), places)
    known.update(key, value, layer.self_attn.layer_idx)


def _at_ends(
    layer: Any, states: Tensor, ends: Tensor, places: Places, shared: SharedStates
) -> Tensor:
    """One layer, [B, D]: keys and values of all positions, everything else of the ends."""
    attention, rows = layer.self_attn, torch.arange(len(states), device=states.device)
    normed = layer.input_layernorm(states)
    key, value = shared.update(*_keys_values(layer, normed, places), attention.layer_idx)
    cos, sin = (part.expand(len(states), -1, -1)[rows, ends][:, None, None] for part in places.rope)
    query = _heads(attention.q_proj(normed[rows, ends][:, None]), attention.head_dim)
    seen = places.mask.expand(len(states), -1, -1, -1)[rows, 0, ends]
    mixed = scaled_dot_product_attention(
        _rotate(query, cos, sin),
        key,
        value,
        attn_mask=seen[:, None, None],
        scale=attention.scaling,
        enable_gqa=attention.num_key_value_groups > 1,
    )
    at_end = states[rows, ends] + attention.o_proj(mixed.flatten(1))
    return at_end + layer.mlp(layer.post_attention_layernorm(at_end))  # type: ignore[no-any-return]


def _keys_values(layer: Any, normed: Tensor, places: Places) -> tuple[Tensor, Tensor]:
    attention = layer.self_attn
    cos, sin = (part[:, None] for part in places.rope)
    key = _heads(attention.k_proj(normed), attention.head_dim)
    return _rotate(key, cos, sin), _heads(attention.v_proj(normed), attention.head_dim)


def _heads(states: Tensor, width: int) -> Tensor:
    """[B, L, H · width] -> [B, H, L, width]."""
    return states.view(*states.shape[:2], -1, width).transpose(1, 2)


def _rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, as the model's own layers apply them."""
    left, right = states.chunk(2, dim=-1)
    return states * cos + torch.cat([-right, left], dim=-1) * sin
