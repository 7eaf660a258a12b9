"""How much is run at once: sized to a GPU's free memory, or a setting on a processor.

Sizes change how long things take and no answer in float32; in bfloat16 on a GPU the last bits
depend on the shape of a batch. What still does not fit is halved by who asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

_SHARE = 0.4
"""Of the free memory for copies of prefixes; as much again for what a pass computes with."""


@dataclass(frozen=True)
class Room:
    """Most of what one pass may hold, padding included.

    Attributes:
        rows: tokens in one pass over what follows the prefixes.
        prefixes: tokens in one pass over prefixes.
        positions: keys and values of prefixes, copied for the rows of a pass.
        spare: tokens of padding that cost less time than a pass of its own would.
        packed: tokens in one row of several suffixes, each of which looks at all of them in vain.
    """

    rows: int
    prefixes: int
    positions: int
    spare: int = 0
    packed: int = 512

    @classmethod
    def of(cls, tokens: int) -> Room:
        """For so many tokens in a pass over rows; the rest in proportion.

        >>> Room.of(2_048)
        Room(rows=2048, prefixes=16384, positions=65536, spare=0, packed=512)
        """
        return cls(tokens, 8 * tokens, 32 * tokens)


CPU = Room.of(2_048)
"""Small batches stay in a processor's caches."""

MOST = Room(16_384, 65_536, 131_072, spare=1_024, packed=16_384)
"""On a GPU: beyond this, larger batches are no faster. A pass over few tokens takes as long as its
kernels take to start, 20 ms at 28 layers; an H100 computes 1,000 tokens of a 7B in that time."""


def room_for(config: Any, device: torch.device, itemsize: int, tokens: int | None = None) -> Room:
    """What fits.

    Args:
        config: of the text model.
        itemsize: bytes of one activation.
        tokens: in a pass over rows; None sizes it to the memory found.
    """
    if tokens is not None:
        return Room.of(tokens)
    if device.type != "cuda":
        return CPU
    free, _ = torch.cuda.mem_get_info(device)
    return fitted(int(free), position_bytes(config, itemsize), token_bytes(config, itemsize))


def fitted(free: int, position: int, token: int) -> Room:
    """The room in so many free bytes.

    Args:
        position: bytes of one position's keys and values.
        token: bytes of one token in a pass.

    >>> fitted(60 * 2**30, 57_344, 230_000)
    Room(rows=16384, prefixes=65536, positions=131072, spare=1024, packed=16384)
    >>> fitted(2 * 2**30, 57_344, 230_000)
    Room(rows=3734, prefixes=3734, positions=14979, spare=1024, packed=16384)
    """
    budget = _SHARE * free
    fits = int(budget / token)
    return Room(
        rows=max(512, min(MOST.rows, fits)),
        prefixes=max(512, min(MOST.prefixes, fits)),
        positions=max(4_096, min(MOST.positions, int(budget / position))),
        spare=MOST.spare,
        packed=MOST.packed,
    )


def position_bytes(config: Any, itemsize: int) -> int:
    """Keys and values of one position in all layers; 56 KiB for a 7B of Qwen2.5 in bfloat16."""
    heads = config.num_key_value_heads or config.num_attention_heads
    width = config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * itemsize)


def token_bytes(config: Any, itemsize: int) -> int:
    """What a layer computes with at once, for one token, and the token's keys and values.

    An upper estimate: eight states of the residual's width, three of the feed-forward part's.
    """
    states = 8 * config.hidden_size + 3 * config.intermediate_size
    return int(itemsize * states) + position_bytes(config, itemsize)
