"""What tools with weights share: any hub id or folder, loaded once a process by `from_pretrained`.

Only safetensors are read, code that comes with a checkpoint is never run, and weights that do not
fill the network are refused instead of being made up. It stops at loading and at samples; what is
heard in them is each tool's own. torch and transformers are imported when a tool is set up, so
that naming, listing and versioning tools stays light.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import re
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routerlab import __version__
from routerlab.errors import ToolError, UserError
from routerlab.hub import snapshot
from routerlab.tools.base import Tool
from routerlab.tools.signal import AUDIBLE_DB, level_curve, warm_clip
from routerlab.tools.wheels import wheel_mark
from routerlab.types import Clip

RATE = 16_000
"""Hz that speech models and most others listen at."""

DTYPES = ("float32", "float16", "bfloat16")
DEVICES = re.compile(r"cpu|mps|cuda(:\d+)?")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_WANTED = ("*.json", "*.txt", "*.safetensors")
# Copies of the weights in other number formats, and other frameworks' folders, stay where they are.
_UNWANTED = ("*/*", "*.fp32*", "*.fp16*", "*.non_ema*")
# Used in training only, so checkpoints may lack it.
_UNUSED = re.compile(r"masked_spec_embed$")


@dataclass(frozen=True)
class HubModel:
    """Which weights, and where they run.

    Args:
        name: a folder with config.json and safetensors, or a hub id "owner/name".
        revision: commit, tag or branch of a hub id; "" for its main branch as it is now.
        device: "cpu", "cuda", "cuda:1" or "mps".
        dtype: number format of the weights.

    Raises:
        ValueError: a device or dtype that is none.
    """

    name: str
    revision: str = ""
    device: str = "cpu"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Refuse what could only fail once the weights are there."""
        if not self.name:
            raise ValueError("give model: a folder, or a hub id 'owner/name'")
        if not DEVICES.fullmatch(self.device):
            raise ValueError(f"device is {self.device!r}; allowed: cpu, cuda, cuda:N, mps")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype is {self.dtype!r}; allowed: {', '.join(DTYPES)}")

    def folder(self) -> Path:
        """Where the files are; a hub id is fetched, or found in the hub's own cache.

        Raises:
            UserError: no such folder or id, no network and not in the cache, or no safetensors.
        """
        return _located(self.name, self.revision)

    def mark(self) -> str:
        """What tells these weights from any others: "owner/name@commit", or a hash of the files."""
        folder = self.folder()
        if folder.parent.name == "snapshots":
            return f"{self.name}@{folder.name}"
        return f"sha256:{_content(folder)}"

    def config(self) -> dict[str, Any]:
        """config.json as it stands."""
        read: dict[str, Any] = json.loads((self.folder() / "config.json").read_text("utf-8"))
        return read

    def network(self, kind: str) -> Any:
        """transformers' class `kind` with these weights, on its device, for inference only.

        Raises:
            UserError: the weights are another model's, or there is no such device.
        """
        import torch
        import transformers

        demand_device(self.device)
        try:
            with quiet():
                network, told = getattr(transformers, kind).from_pretrained(
                    self.folder(),
                    dtype=getattr(torch, self.dtype),
                    use_safetensors=True,
                    local_files_only=True,
                    trust_remote_code=False,
                    ignore_mismatched_sizes=True,  # told below, in words
                    output_loading_info=True,
                )
        except (OSError, ValueError, KeyError) as err:
            raise UserError(f"tools: {self.name!r} is no {kind}: {_first_line(err)}") from err
        lacking = [key for key in told["missing_keys"] if not _UNUSED.search(key)]
        lacking += [key for key, *_ in told.get("mismatched_keys", ())]
        if lacking:
            raise UserError(
                f"tools: {self.name!r} is no {kind}: {len(lacking)} weights are missing or of "
                f"another shape ({sorted(lacking)[0]}). Give a model that was trained for this."
            )
        return network.to(self.device).eval().requires_grad_(False)

    def part(self, kind: str) -> Any:
        """transformers' class `kind` (a tokenizer, a feature extractor) from the same files.

        Raises:
            UserError: the files lack it.
        """
        import transformers

        try:
            with quiet():
                return getattr(transformers, kind).from_pretrained(
                    self.folder(), local_files_only=True, trust_remote_code=False
                )
        except (OSError, ValueError, KeyError) as err:
            raise UserError(f"tools: {self.name!r} holds no {kind}: {_first_line(err)}") from err

    def tensor(self, values: NDArray[Any]) -> Any:
        """The same numbers as a tensor on its device."""
        import torch

        return torch.from_numpy(values).to(self.device)


class HubTool(Tool):
    """A tool that stands on a model of the hub, or of a folder in the same form.

    A subclass writes `load` (processor and network, by `self.source`) and `run_many`; it declares
    its own `__init__` where it has a default model or settings of its own.

    Args:
        model: a folder, or a hub id.
        revision: commit, tag or branch of a hub id; pin a commit so that nothing changes later.
        device: where it runs.
        dtype: number format of the weights.

    Attributes:
        source: where its weights come from.
        library: the package whose network it is.
    """

    batch_size = 8
    needs_torch: ClassVar[bool] = True
    library: ClassVar[str] = "transformers"

    def __init__(
        self, model: str, revision: str = "", device: str = "cpu", dtype: str = "float32"
    ) -> None:
        self.source = HubModel(model, revision, device, dtype)

    @property
    def version(self) -> str:
        """Package, weights and settings; where a folder lies does not count, what it holds does."""
        told = {k: v for k, v in self.settings.items() if k not in ("model", "revision")}
        library = ".".join(wheel_mark(self.library).split(".")[:2])
        return (
            f"routerlab {__version__} {type(self).__qualname__} r{self.revision} "
            f"{self.source.mark()} {library} {json.dumps(told, sort_keys=True)}"
        )

    @abstractmethod
    def load(self) -> None:
        """Load processor and network; called once a process."""

    def setup(self) -> None:
        """Load, and hear a first clip, so that no call pays for warm-up."""
        self.load()
        given = [("a tone", "noise")] if self.card.sees_choices else []
        self.run_many([warm_clip()], given)

    @abstractmethod
    def run_many(
        self, clips: Sequence[Clip], choices: Sequence[tuple[str, ...]] = ()
    ) -> list[dict[str, Any]]:
        """Values of several clips, in their order."""

    def run(self, clip: Clip, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Values of one clip."""
        return self.run_many([clip], list(args))[0]


def demand_device(device: str) -> None:
    """Refuse a GPU where there is none, before weights are read.

    Raises:
        UserError: there is no such device.
    """
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"tools: device is {device!r}, and no GPU is to be seen. Use cpu.")


def heard(clip: Clip, rate: int = RATE) -> NDArray[np.float32]:
    """The clip's samples at a model's rate: float32 [n].

    Raises:
        ToolError: kind "refused", for samples that are not finite.
    """
    if not np.isfinite(clip.samples).all():
        raise ToolError("refused", "the clip holds NaN or infinite samples")
    if clip.sample_rate == rate:
        return clip.samples
    import soxr

    changed = soxr.resample(clip.samples, clip.sample_rate, rate, quality="HQ")
    return np.ascontiguousarray(changed, dtype=np.float32)


def audible(clip: Clip, below_db: float = AUDIBLE_DB) -> bool:
    """Whether its loudest 50 ms reach a level: asked about silence, a model invents an answer."""
    return bool(level_curve(clip.samples, clip.sample_rate, 0.05, 0.025).max() >= below_db)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Loading without progress bars, advice and third parties' deprecation notes."""
    logging: Any = importlib.import_module("transformers.utils.logging")
    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@lru_cache(maxsize=64)
def _located(name: str, revision: str) -> Path:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder, name)
    if name.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(name):
        raise UserError(
            f"tools: there is no model {name!r}. Allowed: a folder with config.json and "
            "safetensors, or a hub id 'owner/name'. Check the path."
        )
    try:
        folder = snapshot(name, revision or None, _WANTED, _UNWANTED)
    except UserError as error:
        raise UserError(f"tools: {error}") from error
    return _checked(folder, name)


def _checked(folder: Path, given: str) -> Path:
    if not (folder / "config.json").is_file():
        raise UserError(f"tools: {given!r} has no config.json. Give a from_pretrained folder.")
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            f"tools: {given!r} has no *.safetensors, and nothing else is read. Give a revision "
            "that has them (often refs/pr/1), or save the model again with save_pretrained."
        )
    return folder


def _content(folder: Path) -> str:
    """SHA-256 (first 16 hex digits) over names and content of the files that are read."""
    total = hashlib.sha256()
    for file in sorted(file for pattern in _WANTED for file in folder.glob(pattern)):
        stat = file.stat()
        total.update(f"{file.name}:{_digest(str(file), stat.st_size, stat.st_mtime_ns)}\n".encode())
    return total.hexdigest()[:16]


@lru_cache(maxsize=256)
def _digest(file: str, size: int, mtime_ns: int) -> str:
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _first_line(err: BaseException) -> str:
    return str(err).strip().split("\n")[0] or type(err).__name__
