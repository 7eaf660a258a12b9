"""The text model run for one answer a row, with a prompt's beginning shared by all rows.

    shared [1, P, D] ─► keys and values ─┐
    rows   [B, L, D] ────────────────────┴─► hidden states at one position a row [B, D]

What is read at a row's end is computed only there: in the last layer all positions give keys and
values, and one a row gives a query and goes through the feed-forward part. Layers are the model's
own modules, LoRA in them included; gradients flow to both inputs. For the text models of Qwen's
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
    """Keys and values of one row, by layer, which every later row sees before its own.

    Stands where the model's layers expect transformers' cache: a layer's first call records, its
    later calls read.
    """

    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def update(
        self, key: Tensor, value: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """What the layer attends to: [B, H, P + L, width] each."""
        if layer_idx not in self.layers:
            self.layers[layer_idx] = (key, value)
            return key, value
        keys, values = (states.expand(len(key), -1, -1, -1) for states in self.layers[layer_idx])
        return torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)


@dataclass(frozen=True)
class Places:
    """Where a run of positions stands: its rotary angles and what each position may look at.

    Padding comes after everything that is read, so one mask serves all rows.
    """

    rope: tuple[Tensor, Tensor]
    mask: Tensor

    @classmethod
    def of(cls, decoder: Any, states: Tensor, past: int) -> Places:
        """Of states [B, L, D] that come after `past` positions."""
        length, device = states.shape[1], states.device
        positions = torch.arange(past, past + length, device=device)
        axes = hasattr(decoder.rotary_emb, "mrope_section")  # time, height and width each
        rope = decoder.rotary_emb(states, positions.expand(3, 1, -1) if axes else positions[None])
        mask = torch.ones(length, past + length, dtype=torch.bool, device=device).tril(past)
        return cls(rope, mask[None, None])


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
        own = SharedStates({index: (known[0], known[1])} if known else {})
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
    known, last = SharedStates(), len(decoder.layers) - 1
    before = Places.of(decoder, shared, 0)
    begun = through(decoder, shared, first, last, before, known, recompute=recompute)
    _record(decoder.layers[last], begun, before, known)
    places = Places.of(decoder, rows, shared.shape[1])
    states = through(decoder, rows, first, last, places, known, recompute=recompute)
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
    seen = places.mask[0, 0][ends]
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
