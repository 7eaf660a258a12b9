"""Beat This! (Foscarin et al. 2024): its network from a folder, and its checkpoints as safetensors.

    python -m routerlab.tools.beat_weights final0.ckpt FOLDER

A checkpoint of its authors is a pickle: only numbers and plain settings are taken from it
(`weights_only`), and a folder is written with config.json and model.safetensors, which is all that
`beats` reads. It stops at the network; beats are `beats`'.
"""

from __future__ import annotations

import inspect
import json
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from routerlab.errors import UserError
from routerlab.tools.hub_models import HubModel, demand_device
from routerlab.tools.wheels import wheel_mark

WHEEL = "beat-this"


def network(source: HubModel) -> Any:
    """The network of a folder or hub id, on its device, for inference only.

    Raises:
        UserError: beat-this is missing, the weights are another model's, or no such device.
    """
    import torch
    from safetensors.torch import load_file

    demand_device(source.device)
    folder = source.folder()
    weights: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= load_file(file)
    built = _filled(source.config(), weights, source.name)
    return built.to(source.device, getattr(torch, source.dtype)).eval().requires_grad_(False)


def convert(checkpoint: str, folder: str) -> Path:
    """Write a checkpoint of the authors (final0.ckpt, small0.ckpt ...) as a folder for `beats`.

    Raises:
        UserError: no such file, no such checkpoint, or beat-this is missing.
    """
    import torch
    from safetensors.torch import save_file

    try:
        held = torch.load(checkpoint, map_location="cpu", weights_only=True)
        settings, weights = held["hyper_parameters"], held["state_dict"]
    except FileNotFoundError:
        raise UserError(f"tools: there is no checkpoint {checkpoint!r}.") from None
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, EOFError) as err:
        raise UserError(
            f"tools: {checkpoint!r} is no checkpoint of Beat This!: {type(err).__name__}. "
            "Give a .ckpt of its authors."
        ) from err
    config = {key: settings[key] for key in _settings() if key in settings}
    # The names are those inside the authors' training module, and of compiled networks.
    bare = {
        key.removeprefix("model.").replace("_orig_mod.", ""): value.contiguous().clone()
        for key, value in weights.items()
    }
    _filled(config, bare, checkpoint)
    made = Path(folder)
    made.mkdir(parents=True, exist_ok=True)
    save_file(bare, made / "model.safetensors")
    (made / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return made


def main(words: Sequence[str]) -> int:
    """Convert one checkpoint; 0, or 2 with a line on what is wrong."""
    if len(words) != 2:
        print("usage: python -m routerlab.tools.beat_weights CHECKPOINT FOLDER", file=sys.stderr)
        return 2
    try:
        print(convert(*words))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _filled(config: Mapping[str, Any], weights: dict[str, Any], name: str) -> Any:
    """The network of a config with every weight given, or a UserError."""
    given = {key: config[key] for key in _settings() if key in config}
    try:
        built = _network_class()(**given)
        built.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError, KeyError, AssertionError) as err:
        said = str(err).strip().split("\n")[0]
        raise UserError(f"tools: {name!r} is no Beat This! network: {said}") from err
    return built


def _settings() -> list[str]:
    """What the network takes."""
    return list(inspect.signature(_network_class()).parameters)


def _network_class() -> Any:
    wheel_mark(WHEEL)
    from beat_this.model.beat_tracker import BeatThis

    return BeatThis


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
