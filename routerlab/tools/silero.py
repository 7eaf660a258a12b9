"""The silero-vad network in NumPy: how likely each 32 ms of sound at 16 kHz hold a voice.

The weights are those in the silero-vad wheel (its 16 kHz ONNX file; the safetensors beside it are
an older network's); the network is the published one: a short Fourier transform, four convolutions
and an LSTM. The library's own TorchScript runs frame by frame; here all frames go through the
convolutions together and only the LSTM goes step by step: the same probabilities, several times
faster, without torch. It stops at probabilities: spans are `voices`'.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from routerlab.errors import UserError
from routerlab.tools.wheels import INSTALL, wheel_file, wheel_mark

WHEEL = "silero-vad"
"""The package whose wheel holds the weights."""

FRAME, CONTEXT = 512, 64
"""Samples a frame, and of the frame before that it still sees."""

FRAME_S = FRAME / 16_000

_FFT, _STRIDE, _PAD = 256, 128, 64
_UNITS = 128
_BLOCK = 2048
_STFT, _RNN, _OUT = "stft.forward_basis_buffer", "decoder.rnn.", "decoder.decoder.2."
_LAYERS = tuple((f"encoder.{at}.reparam_conv.", stride) for at, stride in enumerate((1, 2, 2, 1)))
_SHAPES = {
    _STFT: (2 * (_FFT // 2 + 1), 1, _FFT),
    "encoder.0.reparam_conv.weight": (128, 129, 3),
    "encoder.1.reparam_conv.weight": (64, 128, 3),
    "encoder.2.reparam_conv.weight": (64, 64, 3),
    "encoder.3.reparam_conv.weight": (128, 64, 3),
    **{f"encoder.{at}.reparam_conv.bias": (n,) for at, n in enumerate((128, 64, 64, 128))},
    **{f"{_RNN}weight_{side}": (4 * _UNITS, _UNITS) for side in ("ih", "hh")},
    **{f"{_RNN}bias_{side}": (4 * _UNITS,) for side in ("ih", "hh")},
    f"{_OUT}weight": (1, _UNITS, 1),
    f"{_OUT}bias": (1,),
}

Array: TypeAlias = NDArray[np.float32]


def voice_probabilities(samples: Array) -> Array:
    """Probability of a voice in each frame of 512 samples (the last one padded with zeros).

    Args:
        samples: [n] at 16 kHz.

    Returns:
        [ceil(n / 512)]

    Raises:
        UserError: silero-vad is missing, or is a version with another network.
    """
    weights = _weights()
    count = -(-len(samples) // FRAME)
    whole = np.zeros(CONTEXT + count * FRAME, dtype=np.float32)
    whole[CONTEXT : CONTEXT + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(whole, CONTEXT + FRAME)[::FRAME]
    found = []
    state = np.zeros(_UNITS, np.float32), np.zeros(_UNITS, np.float32)
    for start in range(0, count, _BLOCK):
        seen = _encoded(frames[start : start + _BLOCK], weights)
        hidden, state = _recurrent(seen, state, weights)
        logits = np.maximum(hidden, 0) @ weights[f"{_OUT}weight"][0, :, 0] + weights[f"{_OUT}bias"]
        found.append(_sigmoid(logits))
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def _encoded(frames: Array, weights: dict[str, Array]) -> Array:
    """[frames, 576] -> [frames, 128]."""
    padded = np.pad(frames, ((0, 0), (0, _PAD)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _FFT, axis=1)[:, ::_STRIDE]
    parts = windows @ weights[_STFT][:, 0].T
    bins = _FFT // 2 + 1
    seen: Array = np.sqrt(parts[..., :bins] ** 2 + parts[..., bins:] ** 2)
    for layer, stride in _LAYERS:
        seen = _convolved(seen, weights[f"{layer}weight"], weights[f"{layer}bias"], stride)
    return seen[:, 0]


def _convolved(seen: Array, weight: Array, bias: Array, stride: int) -> Array:
    """Width 3, padded by 1, then ReLU: [frames, steps, in] -> [frames, steps', out]."""
    padded = np.pad(seen, ((0, 0), (1, 1), (0, 0)))
    steps = range(0, padded.shape[1] - 2, stride)
    near = np.stack([padded[:, at : at + 3].transpose(0, 2, 1) for at in steps], axis=1)
    flat = near.reshape(*near.shape[:2], -1) @ weight.reshape(len(weight), -1).T
    kept: Array = np.maximum(flat + bias, 0)
    return kept


def _recurrent(
    seen: Array, state: tuple[Array, Array], weights: dict[str, Array]
) -> tuple[Array, tuple[Array, Array]]:
    """An LSTM over frames [frames, 128]; gates in PyTorch's order: input, forget, cell, output."""
    bias = weights[f"{_RNN}bias_ih"] + weights[f"{_RNN}bias_hh"]
    given = seen @ weights[f"{_RNN}weight_ih"].T + bias
    recurrent = np.ascontiguousarray(weights[f"{_RNN}weight_hh"])
    hidden, cell = state
    out = np.empty((len(seen), _UNITS), np.float32)
    for index, row in enumerate(given):
        gates = row + recurrent @ hidden
        sigmoid = _sigmoid(gates)
        cell = sigmoid[_UNITS : 2 * _UNITS] * cell + sigmoid[:_UNITS] * np.tanh(
            gates[2 * _UNITS : 3 * _UNITS]
        )
        hidden = sigmoid[3 * _UNITS :] * np.tanh(cell)
        out[index] = hidden
    return out, (hidden, cell)


def _sigmoid(values: Any) -> Any:
    return 0.5 * (1 + np.tanh(0.5 * values))


@cache
def _weights() -> dict[str, Array]:
    weights = _tensors(wheel_file(WHEEL, "data/silero_vad_16k_op15.onnx").read_bytes())
    if {key: value.shape for key, value in weights.items()} != _SHAPES:
        raise UserError(
            f"tools: {wheel_mark(WHEEL)} holds another network than the one known here. {INSTALL}"
        )
    return weights


def _tensors(onnx: bytes) -> dict[str, Array]:
    """The float32 tensors of an ONNX file, by name less "model.".

    Field numbers are those of onnx.proto: a model's graph is 7, a graph's tensors are 5; of a
    tensor, 1 is a dimension, 8 the name, 9 the values.
    """
    found = {}
    for graph in (part for field, part in _fields(memoryview(onnx)) if field == 7):
        for tensor in (part for field, part in _fields(graph) if field == 5):
            parts = list(_fields(tensor))
            (name,) = (bytes(part).decode() for field, part in parts if field == 8)
            (raw,) = (part for field, part in parts if field == 9)
            shape = tuple(int(part) for field, part in parts if field == 1)
            found[name.removeprefix("model.")] = np.frombuffer(raw, "<f4").reshape(shape)
    return found


def _fields(message: Any) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field of a protocol buffer: an int, or the bytes of what it holds."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 == 0:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
            value, at = message[at : at + size], at + size
        yield key >> 3, value


def _varint(message: Any, at: int) -> tuple[int, int]:
    """An integer of seven bits a byte, least first, and where it ends."""
    value = shift = 0
    while message[at] >= 128:
        value |= (message[at] & 127) << shift
        shift, at = shift + 7, at + 1
    return value | message[at] << shift, at + 1
