"""What tools on networks of the wav2vec 2.0 family share: waveforms in, one row of numbers each.

Wav2Vec2, HuBERT, WavLM and their like read samples at 16 kHz. The base sizes normalise over the
whole input and take no mask, so that padding changes what they say: only pieces of one length go
through together. It stops at rows; what they mean is each tool's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from routerlab.errors import UserError
from routerlab.tools.hub_models import RATE, HubModel
from routerlab.tools.signal import Floats, warm_clip

_LEAST_S = 0.1


class WaveformModel:
    """A network and its feature extractor, warmed up.

    Args:
        source: where the weights are.
        kind: transformers' class of the network ("WavLMForXVector").
        output: which of its outputs is the row ("logits", "embeddings").

    Raises:
        UserError: the weights are another model's, or it does not read waveforms at 16 kHz.
    """

    def __init__(self, source: HubModel, kind: str, output: str) -> None:
        self._network = source.network(kind)
        if not hasattr(self._network, "_get_feat_extract_output_lengths"):
            raise UserError(
                f"tools: {source.name!r} reads no waveform. Allowed: models of the kind of "
                "Wav2Vec2, HuBERT and WavLM."
            )
        self._features = source.part("Wav2Vec2FeatureExtractor")
        if self._features.sampling_rate != RATE:
            raise UserError(
                f"tools: {source.name!r} listens at {self._features.sampling_rate} Hz; "
                f"allowed: {RATE}. Give a model for speech at that rate."
            )
        self._output = output
        self._least = max(round(_LEAST_S * RATE), least_samples(self._network))
        self.rows([warm_clip().samples], 1)

    @property
    def labels(self) -> list[str]:
        """What the places of a row are called in config.json."""
        names = self._network.config.id2label
        return [str(names[at]) for at in range(len(names))]

    def rows(self, pieces: Sequence[Floats], size: int) -> Floats:
        """Rows [pieces, D], in their order; a piece too short for the network is repeated.

        Args:
            pieces: float32 [n] each at 16 kHz, of any lengths, at least one sample.
            size: most pieces that go through together.
        """
        filled = [np.resize(piece, max(len(piece), self._least)) for piece in pieces]
        found: list[Floats] = [np.zeros(0)] * len(filled)
        for places in equal_batches([len(piece) for piece in filled], size):
            given = self._features(
                [filled[at] for at in places], sampling_rate=RATE, return_tensors="pt"
            )["input_values"]
            out = self._network(given.to(self._network.device, self._network.dtype))
            for at, row in zip(places, out[self._output].float().cpu().numpy(), strict=True):
                found[at] = row
        return np.array(found)


def equal_batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Places of equal lengths, at most `size` together.

    >>> list(equal_batches([5, 9, 5, 5], 2))
    [[0, 2], [3], [1]]
    """
    places: dict[int, list[int]] = {}
    for at, length in enumerate(lengths):
        places.setdefault(length, []).append(at)
    for alike in places.values():
        yield from (alike[at : at + size] for at in range(0, len(alike), size))


def least_samples(network: Any) -> int:
    """Fewest samples of which a network's convolutions make what its pooling needs.

    That is one frame, and for an x-vector two behind its time-delay layers: it takes a spread.
    """
    config = network.config
    frames = 1
    if hasattr(network, "tdnn"):
        layers = zip(config.tdnn_kernel, config.tdnn_dilation, strict=True)
        frames = 2 + sum((kernel - 1) * dilation for kernel, dilation in layers)
    convolutions = zip(config.conv_kernel, config.conv_stride, strict=True)
    for kernel, stride in reversed(list(convolutions)):
        frames = (frames - 1) * stride + kernel
    return int(frames)
