"""What a pool hands out: jobs, the steps they are run in, and the workers that run them.

It stops at records; who gets what, and for how long, is `dispatch`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from subprocess import Popen
from typing import Any, Literal

from routerlab.tools.specs import ToolSpec
from routerlab.types import Clip, Observation


@dataclass(frozen=True)
class Limits:
    """Seconds a tool call and MiB a process."""

    timeout_s: float
    memory_mb: int


@dataclass
class Job:
    """A clip, the tools asked for, and what they have said so far.

    Attributes:
        choices: the question's options, for tools that see them.
        alone: whether it was in a batch that was lost, so must run by itself.
    """

    index: int
    clip: Clip
    names: tuple[str, ...]
    choices: tuple[str, ...] = ()
    alone: bool = False
    done: dict[int, Observation] = field(default_factory=dict)

    @property
    def left(self) -> list[int]:
        """Positions in `names` still without an observation."""
        return [i for i in range(len(self.names)) if i not in self.done]


@dataclass(frozen=True)
class Step:
    """One call: a tool, and the place of its name in each job (several: a batch)."""

    tool: str
    places: tuple[tuple[int, int], ...]
    """(index of a job among the worker's, position in that job's `names`)."""


@dataclass(eq=False)
class Worker:
    """One process. `tool` is what it sets up or runs now; `steps[0]` what it works on.

    Attributes:
        base_mb: what it held when its tools were set up.
    """

    process: Popen[bytes]
    pool: Connection
    mark: str
    deadline: float
    state: Literal["starting", "idle", "busy"] = "starting"
    tool: str = ""
    jobs: list[Job] = field(default_factory=list)
    steps: deque[Step] = field(default_factory=deque)
    since: float = 0.0
    base_mb: float = 0.0


def limits_of(spec: ToolSpec, limits: Limits) -> Limits:
    """A spec's own limits, the pool's where it has none."""
    return Limits(spec.timeout_s or limits.timeout_s, spec.memory_mb or limits.memory_mb)


def clip_header(clip: Clip) -> dict[str, Any]:
    """All of a clip but its samples."""
    kept = ("sample_rate", "fingerprint", "cut_seconds", "path")
    return {key: getattr(clip, key) for key in kept}


def steps_of(jobs: Sequence[Job], batches: Mapping[str, int]) -> Iterator[Step]:
    """What is left of some jobs, tool by tool; a tool's clips together as far as it takes them."""
    places: dict[str, list[tuple[int, int]]] = {}
    for at, job in enumerate(jobs):
        for place in job.left:
            places.setdefault(job.names[place], []).append((at, place))
    for tool, found in places.items():
        size = batches[tool]
        for start in range(0, len(found), size):
            yield Step(tool, tuple(found[start : start + size]))
