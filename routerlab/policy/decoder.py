"""The text model, run for one answer a row: what is read at a row's end is computed only there.

In the last layer all positions give keys and values, but one position a row gives a query and goes
through the feed-forward part. Layers are the model's own modules, LoRA in them included. For the
text models of Qwen's audio families, whose parts have the same names.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def states_at_ends(decoder: Any, embeds: Tensor, ends: Tensor, cache: Any) -> Tensor:
    """Hidden states [B, D] after the last norm, at one position a row.

    Args:
        decoder: a Qwen text model.
        embeds: [B, L, D], padded on the right.
        ends: int64 [B], the position of each row that is read.
        cache: keys and values of what comes before, B rows; it is added to.
    """
    past, length = cache.get_seq_length(), embeds.shape[1]
    positions = torch.arange(past, past + length, device=embeds.device)
    # Padding comes after everything that is read, so one mask serves all rows.
    mask = torch.ones(length, past + length, dtype=torch.bool, device=embeds.device).tril(past)
    rope = decoder.rotary_emb(embeds, _as_wanted(decoder, positions))
    hidden = embeds
    for layer in decoder.layers[:-1]:
        hidden = layer(
            hidden,
            attention_mask=mask[None, None],
            position_embeddings=rope,
            past_key_values=cache,
            use_cache=True,
        )
    seen = torch.arange(past + length, device=embeds.device) <= past + ends[:, None]
    return decoder.norm(_last(decoder.layers[-1], hidden, rope, ends, seen, cache.layers[-1]))  # type: ignore[no-any-return]


def _last(
    layer: Any, hidden: Tensor, rope: tuple[Tensor, Tensor], ends: Tensor, seen: Tensor, past: Any
) -> Tensor:
    """The last layer, [B, D]: keys and values of all positions, everything else of the ends."""
    attention = layer.self_attn
    rows = torch.arange(len(hidden), device=hidden.device)
    normed = layer.input_layernorm(hidden)
    query = _heads(attention.q_proj(normed[rows, ends][:, None]), attention.head_dim)
    key = _heads(attention.k_proj(normed), attention.head_dim)
    value = _heads(attention.v_proj(normed), attention.head_dim)
    cos, sin = (part.expand(len(hidden), -1, -1) for part in rope)
    query = _rotate(query, cos[rows, ends][:, None, None], sin[rows, ends][:, None, None])
    key = torch.cat([past.keys, _rotate(key, cos[:, None], sin[:, None])], dim=2)
    value = torch.cat([past.values, value], dim=2)
    mixed = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=seen[:, None, None],
        scale=attention.scaling,
        enable_gqa=attention.num_key_value_groups > 1,
    )
    at_end = hidden[rows, ends] + attention.o_proj(mixed.flatten(1))
    return at_end + layer.mlp(layer.post_attention_layernorm(at_end))  # type: ignore[no-any-return]


def _heads(states: Tensor, width: int) -> Tensor:
    """[B, L, H · width] -> [B, H, L, width]."""
    return states.view(*states.shape[:2], -1, width).transpose(1, 2)


def _rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, as the model's own layers apply them."""
    left, right = states.chunk(2, dim=-1)
    return states * cos + torch.cat([-right, left], dim=-1) * sin


def _as_wanted(decoder: Any, positions: Tensor) -> Tensor:
    """Positions [1, L], or [3, 1, L] where time, height and width each have their own."""
    axes = hasattr(decoder.rotary_emb, "mrope_section")
    return positions.expand(3, 1, -1) if axes else positions[None]
