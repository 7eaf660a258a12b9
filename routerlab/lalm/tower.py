"""Qwen2.5-Omni's audio tower over all chunks of all clips at once.

transformers' own forward runs attention chunk by chunk in a Python loop: 160 calls a layer for a
batch of 16 clips of 20 seconds, and a GPU waits for them. This one runs the same modules with one
attention call a layer; a test holds the two equal. Works under autograd.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def tower_features(tower: Any, mel: Tensor, frames: Tensor) -> Tensor:
    """Features of B clips, one after the other: [sum of slots, D].

    Args:
        tower: a `Qwen2_5OmniAudioEncoder`.
        mel: float [B, bins, F], padded on the right.
        frames: int64 [B], how many of F are the clip's.
    """
    chunks, inside = _chunks(mel, frames, 2 * tower.n_window)
    hidden = F.gelu(tower.conv1(chunks.to(tower.conv1.weight.dtype))) * inside[:, None]
    hidden = F.gelu(tower.conv2(hidden)).transpose(1, 2)
    places = tower.positional_embedding.positional_embedding[: hidden.shape[1]]
    hidden = hidden + places.to(hidden.dtype)
    # The second convolution has stride 2: it centres on every other frame.
    inside = inside[:, ::2]
    for layer in tower.layers:
        hidden = _layer(layer, hidden, inside[:, None, None])
    row = hidden[inside]
    first = _pairs((frames - 1) // 2 + 1)
    pooled = (row[first] + row[first + 1]) / 2
    return tower.proj(tower.ln_post(pooled))  # type: ignore[no-any-return]


def _chunks(mel: Tensor, frames: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Chunks [N, bins, F] of at most `size` frames, zero beyond a clip; what is real: [N, F]."""
    clips, bins, length = mel.shape
    size = min(size, length)
    mel = F.pad(mel, (0, -length % size)).view(clips, bins, -1, size).transpose(1, 2)
    place = torch.arange(mel.shape[1] * size, device=mel.device)
    inside = (place < frames[:, None]).view(clips, -1, size)
    used = inside[..., 0]
    return mel[used] * inside[used][:, None], inside[used]


def _layer(layer: Any, hidden: Tensor, inside: Tensor) -> Tensor:
    attention = layer.self_attn
    normed = layer.self_attn_layer_norm(hidden)
    heads = (*normed.shape[:2], attention.num_heads, -1)
    query, key, value = (
        project(normed).view(heads).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=inside)
    hidden = hidden + attention.out_proj(mixed.transpose(1, 2).reshape(normed.shape))
    inner = layer.activation_fn(layer.fc1(layer.final_layer_norm(hidden)))
    out: Tensor = hidden + layer.fc2(inner)
    return out


def _pairs(lengths: Tensor) -> Tensor:
    """Where each pooled pair begins in a row of clips of these lengths; the odd end is left out."""
    ends = lengths.cumsum(0)
    place = torch.arange(int(ends[-1]), device=lengths.device)
    clip = torch.bucketize(place, ends, right=True)
    inner = place - (ends - lengths)[clip]
    return place[(inner % 2 == 0) & (inner + 1 < lengths[clip])]
