"""What this machine offers: Python, packages, torch, memory, disk, sound formats, the hub.

Each check is a function that returns a `Finding` and never raises. torch is `doctor_torch`, which
recipes fit the machine `doctor_recipes`; how findings are shown is `commands.doctor`.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from packaging.requirements import Requirement

from routerlab.audio import load_clip
from routerlab.doctor_torch import Finding, gpus, probe_torch, torch_pair
from routerlab.errors import UserError
from routerlab.lalm.checkpoint import EMBEDDED, locate
from routerlab.tools.listing import missing

GB = 1e9
FORMATS = ("wav", "flac", "ogg", "mp3")
HUB_SECONDS = 3.0
HUB = "https://huggingface.co"

_OLDEST_PYTHON = (3, 11)
_LEAST_DISK = 1.0  # GB: the quickstart's questions, cache and checkpoints, with room to spare


@dataclass(frozen=True)
class Machine:
    """What was found, and the figures that recipes are held against.

    Attributes:
        memory_gb: (free, in all) main memory.
        gpus: a mapping a GPU: name, free_gb, total_gb.
    """

    findings: tuple[Finding, ...]
    memory_gb: tuple[float, float] = (0.0, 0.0)
    gpus: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def fails(self) -> list[str]:
        """Names of the checks without which nothing runs."""
        return [found.name for found in self.findings if found.state == "fail"]


def examine() -> Machine:
    """Look at everything; takes as long as importing torch, and some seconds where offline."""
    torch = probe_torch()
    memory = memory_gb()
    checks: tuple[Callable[[], Finding], ...] = (
        python,
        packages,
        lambda: torch_pair(torch),
        lambda: gpus(torch),
        lambda: main_memory(*memory),
        disk,
        model,
        sound,
        extras,
        hub,
    )
    found = tuple(check() for check in checks)
    return Machine(found, memory, tuple(torch.get("gpus", ())))


# --- Python and its packages --------------------------------------------------------------------


def python() -> Finding:
    """The interpreter's version, system and cores."""
    here = ".".join(map(str, sys.version_info[:3]))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{here} on {platform.system()} {platform.machine()}, {cores} cores"
    if sys.version_info >= _OLDEST_PYTHON:
        return Finding("python", "ok", text)
    return Finding("python", "fail", text, "Install Python 3.11 or newer.")


def packages() -> Finding:
    """Whether all that routerlab always needs is installed, in the versions it names."""
    try:
        lines = requires("routerlab") or []
    except PackageNotFoundError:
        return Finding("packages", "fail", "routerlab is not installed", "pip install -e .")
    wrong = [said for line in lines if (said := _wrong(Requirement(line)))]
    if not wrong:
        return Finding("packages", "ok", f"routerlab {version('routerlab')} and all that it needs")
    names = " ".join(f'"{line}"' for line, _ in wrong)
    return Finding("packages", "fail", ", ".join(text for _, text in wrong), f"pip install {names}")


def _wrong(need: Requirement) -> tuple[str, str] | None:
    """(as pip names it, what is wrong) of a requirement that is not met; None if it is."""
    if need.marker is not None and not need.marker.evaluate({"extra": ""}):
        return None
    wanted = f"{need.name}{need.specifier}"
    try:
        here = version(need.name)
    except PackageNotFoundError:
        return wanted, f"{need.name} is missing"
    if need.specifier.contains(here, prereleases=True):
        return None
    return wanted, f"{need.name} is {here}, needed is {need.specifier}"


def extras() -> Finding:
    """Which extras of routerlab are installed, and the line that installs the others."""
    try:
        known = metadata("routerlab").get_all("Provides-Extra") or []
    except PackageNotFoundError:
        known = []
    lacking = [name for name in known if missing([f"routerlab[{name}]"])]
    here = [name for name in known if name not in lacking]
    text = f"{', '.join(here) or 'none'}" + (f"; not {', '.join(lacking)}" if lacking else "")
    todo = f'pip install "routerlab[{",".join(lacking)}]"' if lacking else ""
    return Finding("extras", "note" if lacking else "ok", text, todo)


# --- memory, disk, files ------------------------------------------------------------------------


def memory_gb() -> tuple[float, float]:
    """(free, in all) main memory in GB, within the limits of a container."""
    seen = psutil.virtual_memory()
    free, total = float(seen.available), float(seen.total)
    try:
        limit = float(Path("/sys/fs/cgroup/memory.max").read_text())
        used = float(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free / GB, total / GB
    return min(free, limit - used) / GB, min(total, limit) / GB


def main_memory(free: float, total: float) -> Finding:
    """Main memory; whether it suffices is judged for each recipe."""
    return Finding("memory", "ok", f"{free:.1f} of {total:.1f} GB free")


def disk() -> Finding:
    """Room under the working folder, and whether it can be written to."""
    place = Path("runs") if Path("runs").is_dir() else Path()
    try:
        with tempfile.TemporaryFile(dir=place):
            free = shutil.disk_usage(place).free / GB
    except OSError as error:
        text = f"{place.resolve()} cannot be written to ({error.strerror})"
        return Finding("disk", "fail", text, "Go to a folder of yours: results are put there.")
    text = f"{free:.1f} GB free for runs/"
    if free < _LEAST_DISK:
        return Finding("disk", "fail", text, f"Free {_LEAST_DISK:g} GB, or go to another disk.")
    return Finding("disk", "ok", text)


def model() -> Finding:
    """Whether the LALM that ships is whole."""
    try:
        folder = locate(EMBEDDED)
    except UserError as error:
        return Finding("model", "fail", str(error), "Install routerlab again.")
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6
    return Finding("model", "ok", f"the LALM that ships is here, {size:.1f} MB")


def sound(formats: tuple[str, ...] = FORMATS) -> Finding:
    """Which formats can be read here: a tone is written in each and read back."""
    refused: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for ending in formats:
            why = _unread(Path(folder) / f"tone.{ending}")
            if why:
                refused[ending] = why
    read = [ending for ending in formats if ending not in refused]
    text = f"{', '.join(read) or 'nothing'} read"
    if not refused:
        return Finding("sound", "ok", text)
    text += "; " + "; ".join(f"{ending}: {why}" for ending, why in refused.items())
    todo = 'pip install --upgrade "soundfile>=0.12"'
    return Finding("sound", "fail" if "wav" in refused else "note", text, todo)


def _unread(path: Path) -> str:
    """Why a tone cannot be written as this file and read back; "" if it can."""
    try:
        import soundfile

        tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
        soundfile.write(path, tone, 16_000)
        seconds = load_clip(path).seconds
    except Exception as error:  # whatever a broken library raises is the finding
        return " ".join(str(error).replace(str(path), path.name).split())[:120]
    return "" if abs(seconds - 1.0) < 0.2 else f"1 s was read as {seconds:.1f} s"


# --- the hub ------------------------------------------------------------------------------------


def hub() -> Finding:
    """Whether the Hugging Face hub answers; recipes whose weights are here need none."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return Finding("hub", "note", "switched off by HF_HUB_OFFLINE; what is here is used")
    where = os.environ.get("HF_ENDPOINT") or HUB
    began = time.monotonic()
    why = reached(where)
    if why:
        text = f"offline: {where} does not answer ({why}); weights that are here need no hub"
        return Finding("hub", "note", text)
    return Finding("hub", "ok", f"{where} answers in {time.monotonic() - began:.1f} s")


def reached(url: str) -> str:
    """Why an address does not answer; "" if it does, whatever it says."""
    found = answer_of(url)
    return found if isinstance(found, str) else ""


def answer_of(url: str, key: str = "", seconds: float = HUB_SECONDS) -> tuple[int, Any] | str:
    """Status and JSON (None if it is none) that an address answers; or why it does not.

    In a thread: looking a name up offline may take longer than any time limit of a connection.
    """
    found: list[tuple[int, Any] | str] = []

    def ask() -> None:
        import httpx2

        try:
            with httpx2.Client(timeout=seconds) as client:
                said = client.get(url, headers={"authorization": f"Bearer {key}"} if key else {})
            with suppress(ValueError):
                found.append((said.status_code, said.json()))
                return
            found.append((said.status_code, None))
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            found.append(" ".join(str(error).split()) or type(error).__name__)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds + 0.5)
    return found[0] if found else f"no answer in {seconds:g} s"
