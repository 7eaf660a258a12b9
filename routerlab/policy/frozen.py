"""The first layers of a text model where nothing is trained: what they make of a prompt is kept.

With LoRA in the last layers only, a question that comes again enters the first trained layer with
the same states, so the layers below run once a question and not once an epoch. Holds only while
what is shared stays the same: other cards, or the same under other labels, are something else.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from routerlab.policy.decoder import Part, states_after


class FrozenLayers:
    """Parts of prompts as they enter layer `count`.

    Args:
        count: layers that are never trained; with 0 the embeddings pass as they are.
    """

    def __init__(self, count: int = 0) -> None:
        self.count = count
        self._shared: dict[int, Part] = {}
        self._rows: dict[Hashable, dict[int, Part]] = {}

    def parts(
        self,
        decoder: Any,
        build: Callable[[Sequence[int]], list[Part]],
        keys: Sequence[Hashable],
        *,
        keep: bool = True,
    ) -> list[Part]:
        """The parts of B questions' prompts, with the states that enter layer `count`.

        Args:
            build: the parts of some of the questions, by index, with their embeddings.
            keys: one a question: all that its states depend on beside what is shared.
            keep: whether what is shared is the same at every call; if not, nothing is kept.
        """
        if self.count == 0:
            return build(range(len(keys)))
        if not keep:
            return self._entering(decoder, build(range(len(keys))))
        new = [i for i, key in enumerate(keys) if key not in self._rows]
        if new:
            for place, part in enumerate(self._entering(decoder, build(new))):
                if part.shared:
                    self._shared[place] = part
                    continue
                for row, i in enumerate(new):
                    self._rows.setdefault(keys[i], {})[place] = _alone(part, row)
        known = [self._rows[key] for key in keys]
        # A Trainer moves a model, and back at its end.
        device = decoder.norm.weight.device
        found = {place: _joined([rows[place] for rows in known]) for place in known[0]}
        return [part.to(device) for _, part in sorted((self._shared | found).items())]

    @torch.no_grad()
    def _entering(self, decoder: Any, parts: Sequence[Part]) -> list[Part]:
        states = states_after(decoder, parts, self.count)
        return [replace(p, states=s) for p, s in zip(parts, states, strict=True)]


def _alone(part: Part, row: int) -> Part:
    """One row without its padding, in the host's memory; a copy, so that the batch is let go."""
    length = part.shape[1] if part.lengths is None else int(part.lengths[row])
    states = part.states[row : row + 1, :length].to("cpu", copy=True)

    def own(values: Any) -> Any:
        return values[row : row + 1].cpu() if isinstance(values, torch.Tensor) else values

    return replace(
        part, states=states, past=own(part.past), lengths=own(part.lengths), read=own(part.read)
    )


def _joined(rows: Sequence[Part]) -> Part:
    """Rows as one part, padded on the right; all are rows of the same kind."""

    def stacked(values: Sequence[Any]) -> Any:
        return torch.cat(list(values)) if isinstance(values[0], torch.Tensor) else values[0]

    return replace(
        rows[0],
        states=pad_sequence([row.states[0] for row in rows], batch_first=True),
        past=stacked([row.past for row in rows]),
        lengths=stacked([row.lengths for row in rows]),
        read=stacked([row.read for row in rows]),
    )
