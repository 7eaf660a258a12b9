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

from routerlab.policy.decoder import Part, states_after


class FrozenLayers:
    """States that enter layer `count`.

    Args:
        count: layers that are never trained; with 0 the embeddings pass as they are.
    """

    def __init__(self, count: int = 0) -> None:
        self.count = count
        self._shared: Tensor | None = None
        self._rows: dict[Hashable, Tensor] = {}

    def states(
        self,
        decoder: Any,
        beginning: Callable[[], Tensor],
        keys: Sequence[Hashable],
        lengths: Sequence[int],
        embed: Callable[[list[int]], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """What the shared beginning [1, P, D] and the rows [B, L, D] enter it with.

        Args:
            beginning: embeddings of what is shared.
            keys: one a row: all that its states depend on beside the shared beginning.
            lengths: of the rows, which are padded on the right.
            embed: the embeddings [b, l, D] of some of them, by index.
        """
        if self.count == 0:
            return beginning(), embed(list(range(len(keys))))
        new = [i for i, key in enumerate(keys) if key not in self._rows]
        if new:
            with torch.no_grad():
                shared = Part(beginning())
                rows = Part(embed(new), past=shared.shape[1], sees=(0,))
                self._shared, found = states_after(decoder, [shared, rows], self.count)
            for i, row in zip(new, found, strict=True):
                # In the host's memory, and a copy: the padded batch need not be kept for it.
                self._rows[keys[i]] = row[: lengths[i]].to("cpu", copy=True)
        assert self._shared is not None, "it is run together with the first rows"
        # A Trainer moves a model, and back at its end.
        place = decoder.norm.weight.device
        known = [self._rows[key].to(place) for key in keys]
        return self._shared.to(place), pad_sequence(known, batch_first=True)
