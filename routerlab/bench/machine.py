"""The machine under a benchmark: operations issued, peak of its matrix product, memory, time."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_PRODUCTS: dict[str, tuple[int, int]] = {"mm": (0, 1), "addmm": (1, 2), "bmm": (0, 1)}
_PRODUCTS["baddbmm"] = (1, 2)
_ATTENTION = "_scaled_dot_product"


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations of matrix products, convolutions and attention that run inside it.

    Multiplications and additions, as they are issued: padding and what a mask hides are counted.
    torch's own `FlopCounterMode` knows neither attention on a processor nor grouped heads.

    >>> with Operations() as counted:
    ...     _ = torch.ones(2, 3) @ torch.ones(3, 4)
    >>> counted.total
    48
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator and count it; one that is made of others is taken apart first."""
        given = kwargs or {}
        with self:
            parts = func.decompose(*args, **given)
        if parts is not NotImplemented:
            return parts
        out = func(*args, **given)
        self.total += _operations(func.overloadpacket.__name__, args, out)
        return out


def _operations(name: str, args: Any, out: Any) -> int:
    if name in _PRODUCTS:
        left, right = (args[place].shape for place in _PRODUCTS[name])
        return 2 * int(left.numel()) * int(right[-1])
    if name == "convolution":
        weight: Tensor = args[1]
        return int(2 * out.numel() * weight[0].numel())
    if name.startswith(_ATTENTION):
        # Forward two products; backward five, behind the gradient in the arguments.
        back = name.endswith("_backward")
        query, key = args[int(back)].shape, args[1 + int(back)].shape
        return int((10 if back else 4) * query.numel() * key[-2])
    return 0


def operations(work: Callable[[], Any]) -> int:
    """Operations that some work issues."""
    with Operations() as counted:
        work()
    return int(counted.total)


def counted_and_timed(
    work: Callable[[], Any], device: torch.device, repeats: int
) -> tuple[int, float]:
    """Operations of some work, and its least time: that of the counted run, or of those after."""
    issued: list[int] = []
    first = seconds(lambda: issued.append(operations(work)), device)
    return issued[0], min(first, seconds(work, device, repeats)) if repeats else first


def seconds(work: Callable[[], Any], device: torch.device, repeats: int = 1) -> float:
    """Least time of some runs: by the clock on a GPU, of the processor elsewhere.

    Other work on the machine takes a processor's clock away from us, but not its seconds.
    """
    times = []
    for _ in range(repeats):
        begin = _now(device)
        work()
        times.append(_now(device) - begin)
    return min(times)


def product_peak(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """Operations a second of a square matrix product, the best of twenty.

    Args:
        size: rows and columns; 8,192 on a GPU and 1,024 elsewhere if None.
    """
    width = size or (8_192 if device.type == "cuda" else 1_024)
    left, right = (torch.randn(width, width, device=device, dtype=dtype) for _ in range(2))
    return 2 * width**3 / seconds(lambda: left @ right, device, repeats=20)


@dataclass(frozen=True)
class Machine:
    """A device in words, and its measured peak in operations a second."""

    device: torch.device
    name: str
    peak: float

    @classmethod
    def found(cls, device: torch.device, dtype: torch.dtype, size: int | None = None) -> Machine:
        """The device, with its peak measured now."""
        if device.type == "cuda":
            name = torch.cuda.get_device_name(device)
        else:
            threads = torch.get_num_threads()
            name = f"{platform.machine()} processor, {threads} thread{'s' * (threads > 1)}"
        return cls(device, name, product_peak(device, dtype, size))

    @property
    def clock(self) -> str:
        """What times are of."""
        cuda = self.device.type == "cuda"
        return "times by the clock" if cuda else "times of the processor, all threads together"

    def share(self, count: float, seconds: float) -> float:
        """Share of the peak that so many operations in so many seconds are."""
        return count / seconds / self.peak


def fresh_memory(device: torch.device) -> None:
    """Forget the highest memory seen so far."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def highest_memory(device: torch.device) -> float | None:
    """Most GPU memory held since, in GB of 10^9 bytes; None where there is no GPU."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None


def _now(device: torch.device) -> float:
    """The device's queue emptied first."""
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
