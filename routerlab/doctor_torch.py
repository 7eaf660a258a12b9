"""torch and its kin as a process of their own sees them: versions, what fails at import, GPUs.

A broken build may end the process that imports it (torchaudio with another torch, a driver that is
too old), so nothing of it is imported here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from typing import Any, Literal, TypeAlias

from packaging.requirements import Requirement

State: TypeAlias = Literal["ok", "note", "fail"]

_SECONDS = 180.0
_KIN = ("torch", "torchaudio", "torchvision")

_PROBE = """
import importlib, json
said = {"versions": {}, "errors": {}, "gpus": []}
for name in ("torch", "torchaudio", "torchvision"):
    try:
        said["versions"][name] = importlib.import_module(name).__version__
    except BaseException as error:
        lines = str(error).strip().splitlines() or [""]
        said["errors"][name] = type(error).__name__ + ": " + lines[0]
if "torch" in said["versions"]:
    import torch
    said["cuda"] = torch.version.cuda
    try:
        for i in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(i)
            name = torch.cuda.get_device_name(i)
            said["gpus"].append({"name": name, "free_gb": free / 1e9, "total_gb": total / 1e9})
    except Exception as error:
        said["errors"]["cuda"] = str(error).strip().splitlines()[0]
print(json.dumps(said))
"""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        state: "ok", "note" (something is missing that the quickstart does not need), or "fail".
        todo: what to do about it, a line for each thing; "" for nothing.
    """

    name: str
    state: State
    text: str
    todo: str = ""


def probe_torch() -> dict[str, Any]:
    """Versions of torch and its kin, what failed at import, and GPUs: from a process of its own."""
    command = [sys.executable, "-c", _PROBE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return said
    except subprocess.TimeoutExpired:
        return _unseen(f"no end after {_SECONDS:.0f} s", slow=True)
    except (ValueError, IndexError):
        why = f"the process ended with code {done.returncode}"
    return _unseen(why)


def _unseen(why: str, *, slow: bool = False) -> dict[str, Any]:
    """What is known where the process said nothing."""
    errors = {"torch": f"importing it failed: {why}"}
    return {"versions": {}, "errors": errors, "gpus": [], "slow": slow}


def torch_pair(said: Mapping[str, Any]) -> Finding:
    """Whether torch, torchaudio and torchvision can be imported and belong together."""
    versions, errors = said["versions"], said["errors"]
    pinned = [line for line in _pinned() if line.split("~")[0] in _KIN]
    todo = " ".join(["pip install", *(f'"{line}"' for line in pinned)])
    if said.get("slow"):
        # Nothing that is installed is at fault.
        todo = "Try again when less is running here. How long it takes: python -c 'import torch'"
    broken = [f"{name}: {errors[name]}" for name in _KIN if name in errors]
    if broken:
        return Finding("torch", "fail", "; ".join(broken), todo)
    text = ", ".join(f"{name} {versions[name]}" for name in _KIN)
    if not _same_minor(versions["torch"], versions["torchaudio"]):
        return Finding("torch", "fail", f"{text}: torch and torchaudio are no pair", todo)
    return Finding("torch", "ok", text)


def _same_minor(one: str, other: str) -> bool:
    """Whether two versions agree but for their last part.

    >>> _same_minor("2.11.0+cu130", "2.11.1"), _same_minor("2.11.0", "2.12.0")
    (True, False)
    """
    return one.split(".")[:2] == other.split(".")[:2]


def _pinned() -> list[str]:
    try:
        needs = [Requirement(line) for line in requires("routerlab") or []]
    except PackageNotFoundError:
        return list(_KIN)
    return [f"{need.name}{need.specifier}" for need in needs if need.marker is None]


def gpus(said: Mapping[str, Any]) -> Finding:
    """The GPUs that torch can use; none is no failure."""
    found = said.get("gpus", ())
    if "torch" in said["errors"]:
        return Finding("gpu", "note", "not known: torch was not imported")
    if "cuda" in said["errors"]:
        return Finding(
            "gpu", "note", f"not usable: {said['errors']['cuda']}", "Look at the driver."
        )
    if not found:
        built = "this torch is built without CUDA" if not said.get("cuda") else "no GPU is seen"
        return Finding("gpu", "note", f"none: {built}; the quickstart needs none")
    listed = (f"{g['name']}, {g['free_gb']:.0f} of {g['total_gb']:.0f} GB free" for g in found)
    return Finding("gpu", "ok", f"{'; '.join(listed)}; CUDA {said.get('cuda')}")
