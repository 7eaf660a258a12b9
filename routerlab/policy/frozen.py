"""The first layers of a text model where nothing is trained: what they make of a prompt is kept.

With LoRA in the last layers only, a question that comes again enters the first trained layer with
the same states, so the layers below run once a question and not once an epoch. Holds only while
the shared beginning stays the same: other cards, or the same under other labels, are another one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from routerlab.policy.decoder import Places, SharedStates, through


class FrozenLayers:
    """States that enter layer `count`.

    Args:
        count: layers that are never trained; with 0 the embeddings pass as they are.
    """

    def __init__(self, count: int = 0) -> None:
        self.count = count
        self._shared: Tensor | None = None
        self._below = SharedStates()
        self._rows: dict[Hashable, Tensor] = {}

    def shared(self, decoder: Any, embed: Callable[[], Tensor]) -> Tensor:
        """What the shared beginning [1, P, D] enters the first trained layer with."""
        if self.count == 0:
            return embed()
        if self._shared is None or self._shared.device != _device(decoder):
            self._below = SharedStates()
            with torch.no_grad():
                states = embed()
                places = Places.of(decoder, states, 0)
                self._shared = through(decoder, states, 0, self.count, places, self._below)
        return self._shared

    def rows(
        self,
        decoder: Any,
        keys: Sequence[Hashable],
        lengths: Sequence[int],
        embed: Callable[[list[int]], Tensor],
    ) -> Tensor:
        """What the rows enter it with, [B, L, D] padded on the right; `shared` comes first.

        Args:
            keys: one a row: all that its states depend on beside the shared beginning.
            lengths: of the rows.
            embed: the embeddings [b, l, D] of some of them, by index.
        """
        if self.count == 0:
            return embed(list(range(len(keys))))
        assert self._shared is not None, "rows come after what they share"
        if new := [i for i, key in enumerate(keys) if key not in self._rows]:
            with torch.no_grad():
                states = embed(new)
                places = Places.of(decoder, states, self._shared.shape[1])
                states = through(decoder, states, 0, self.count, places, self._below)
            for i, row in zip(new, states, strict=True):
                # In the host's memory, and a copy: the padded batch need not be kept for it.
                self._rows[keys[i]] = row[: lengths[i]].to("cpu", copy=True)
        known = [self._rows[key].to(self._shared.device) for key in keys]
        return pad_sequence(known, batch_first=True)


def _device(decoder: Any) -> torch.device:
    """Where the layers are now: a Trainer moves a model, and back at its end."""
    device: torch.device = decoder.norm.weight.device
    return device
