"""The Omni audio tower over a padded batch of clips at once, for training speed.

transformers' own forward runs attention chunk by chunk in a Python loop. This one runs the same
modules with one masked attention call a layer; a test holds the two equal. Inference uses theirs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def tower_features(tower: Any, mels: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Audio embeddings of B clips and how many each has.

    Args:
        tower: a `Qwen2_5OmniAudioEncoder`.
        mels: float [B, T, bins], zero-padded.
        frames: long [B], the clips' lengths in log-mel frames; none longer than one chunk.

    Returns:
        Embeddings [B, T', D], meaningless beyond a clip's own count, and counts, long [B].
    """
    if mels.shape[1] > 2 * tower.n_window:
        raise ValueError(f"{mels.shape[1]} frames exceed one chunk of {2 * tower.n_window}")
    within = torch.arange(mels.shape[1], device=mels.device) < frames[:, None]
    hidden = F.gelu(tower.conv1(mels.to(tower.conv1.weight.dtype).transpose(1, 2)))
    hidden = F.gelu(tower.conv2(hidden * within[:, None])).transpose(1, 2)
    hidden = hidden + tower.positional_embedding.positional_embedding[: hidden.shape[1]]
    lengths = (frames - 1) // 2 + 1
    inside = torch.arange(hidden.shape[1], device=mels.device) < lengths[:, None]
    for layer in tower.layers:
        hidden = _layer(layer, hidden, inside[:, None, None])
    if hidden.shape[1] % 2:
        hidden = F.pad(hidden, (0, 0, 0, 1))
    hidden = (hidden[:, 0::2] + hidden[:, 1::2]) / 2
    return tower.proj(tower.ln_post(hidden)), (lengths - 2) // 2 + 1


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
