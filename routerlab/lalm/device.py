"""Where a model runs: a recipe's word for a device becomes a torch device. Nothing is loaded here.

While a Trainer trains, the Trainer decides; the word is for what has no Trainer.
"""

from __future__ import annotations

import torch

from routerlab.errors import UserError

AUTO = "auto"
"""A GPU where there is one, the processor otherwise."""


def resolve(name: str) -> torch.device:
    """The device that "auto", "cpu", "cuda" or "cuda:N" means on this machine.

    "cuda" without a number is the process's current GPU, which a Trainer sets for each rank.

    Raises:
        UserError: not the name of a device.

    >>> resolve("cpu"), resolve("cuda:1")
    (device(type='cpu'), device(type='cuda', index=1))
    """
    if name == AUTO:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UserError(
            f"device: {name!r} is no device. Allowed: auto, cpu, cuda, cuda:N. Leave it at auto "
            "to take a GPU where there is one."
        ) from error


def present(device: torch.device) -> torch.device:
    """The same device; UserError if this machine has no such GPU, before anything is loaded."""
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        found = "no CUDA device" if not count else f"{count} CUDA devices, numbered from 0"
        raise UserError(
            f"device: {str(device)!r} asked for, but PyTorch finds {found}. Allowed: auto, cpu"
            f"{', cuda' if count else ''}. Set device: auto, or run `nvidia-smi` to see why."
        )
    return device
