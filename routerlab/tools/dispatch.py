"""Deals jobs to worker processes and holds them to their limits: the engine of `ToolPool`.

One thread runs `Dispatcher.run` at a time. It owns the workers, waits on their connections, and
turns time-outs, deaths and excess memory into observations.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from subprocess import Popen, TimeoutExpired
from threading import Event
from typing import Any, Literal, TypeAlias

import numpy as np

from routerlab.errors import InfrastructureError
from routerlab.tools import processes
from routerlab.tools.specs import ToolSpec
from routerlab.tools.worker import BOOT
from routerlab.types import Clip, Observation

SETUP_S = 300.0
"""Limit of importing and of each tool's `setup`: the first run on a machine compiles numba code."""

_TICK_S = 0.1

Emit: TypeAlias = Callable[[Any], None]


@dataclass(frozen=True)
class Limits:
    """Seconds a tool call and MiB a process."""

    timeout_s: float
    memory_mb: int


@dataclass
class Job:
    """A clip, the tools asked for, and what they have said so far."""

    index: int
    clip: Clip
    names: tuple[str, ...]
    done: dict[int, Observation] = field(default_factory=dict)

    @property
    def left(self) -> list[int]:
        """Positions in `names` still without an observation."""
        return [i for i in range(len(self.names)) if i not in self.done]


@dataclass(eq=False)
class Worker:
    """One process. `tool` is what it sets up or runs now; `job` what it works on."""

    process: Popen[bytes]
    pool: Connection
    mark: str
    deadline: float
    state: Literal["starting", "idle", "busy"] = "starting"
    tool: str = ""
    job: Job | None = None
    waiting: deque[int] = field(default_factory=deque)
    since: float = 0.0


class Dispatcher:
    """Workers, kept between runs, and the rules that end them.

    Args:
        mark: random, carried by every process of this pool.
    """

    def __init__(
        self,
        specs: Sequence[ToolSpec],
        versions: Mapping[str, str],
        trusted: Sequence[str],
        size: int,
        limits: Limits,
        mark: str,
    ) -> None:
        self.size = size
        self.calls = 0
        self._specs = tuple(specs)
        self._versions = versions
        self._trusted = tuple(trusted)
        self._limits = limits
        self._mark = mark
        self._workers: list[Worker] = []
        self._started = 0
        self._broken: dict[str, str] = {}

    def start(self, wanted: int) -> None:
        """Bring the number of processes to `wanted` (at most `size`)."""
        for _ in range(min(wanted, self.size) - len(self._workers)):
            self._workers.append(self._spawn())

    def run(self, jobs: Iterator[Job], emit: Emit, stop: Event) -> None:
        """Work through the jobs; emit (index, observations) each, then None, or an exception."""
        try:
            self._run(jobs, emit, stop)
            emit(None)
        # Whatever it is, it must reach the consumer's thread and be raised there.
        except BaseException as err:
            emit(err)
        finally:
            for worker in [w for w in self._workers if w.state == "busy"]:
                self._end(worker)

    def close(self) -> None:
        """End all processes: idle ones by themselves, then whatever still carries the mark."""
        for worker in self._workers:
            worker.pool.close()
        for worker in self._workers:
            if worker.state == "idle":
                try:
                    worker.process.wait(timeout=1.0)
                except TimeoutExpired:
                    continue
        for worker in self._workers:
            processes.end(worker.mark, worker.process)
        if self._started:
            processes.end(self._mark)
        self._workers.clear()

    def _run(self, jobs: Iterator[Job], emit: Emit, stop: Event) -> None:
        again: deque[Job] = deque()
        exhausted = False
        while not stop.is_set():
            while not exhausted and len(again) < self._free():
                job = next(jobs, None)
                exhausted = job is None
                if job is not None:
                    again.append(job)
            self._deal(again, emit)
            if exhausted and not again and not any(w.job for w in self._workers):
                return
            self._listen(again, emit)
            self._enforce(again, emit)

    def _free(self) -> int:
        """Jobs worth holding ready: one for each process that is not busy, or not yet there."""
        return self.size - sum(worker.state == "busy" for worker in self._workers)

    def _deal(self, again: deque[Job], emit: Emit) -> None:
        for job in [job for job in again if self._settle(job, emit)]:
            again.remove(job)
        for worker in self._workers:
            if again and worker.state == "idle":
                self._give(worker, again.popleft())
        starting = sum(worker.state == "starting" for worker in self._workers)
        if len(again) > starting:
            self.start(len(self._workers) + len(again) - starting)

    def _settle(self, job: Job, emit: Emit) -> bool:
        """Answer for broken tools; emit the job if nothing is left of it."""
        for i in job.left:
            if job.names[i] in self._broken:
                job.done[i] = self._failed(job.names[i], self._broken[job.names[i]])
        if job.left:
            return False
        emit((job.index, [job.done[i] for i in range(len(job.names))]))
        return True

    def _give(self, worker: Worker, job: Job) -> None:
        worker.state, worker.job, worker.waiting = "busy", job, deque(job.left)
        self._expect(worker)
        clip = {k: getattr(job.clip, k) for k in ("sample_rate", "fingerprint", "cut_seconds")}
        header = {
            "clip": {**clip, "path": job.clip.path},
            "names": [job.names[i] for i in job.left],
        }
        try:
            worker.pool.send_bytes(json.dumps(header).encode())
            worker.pool.send_bytes(np.ascontiguousarray(job.clip.samples, np.float32).tobytes())
        except OSError:
            # It died while idle; listening finds its closed connection.
            return

    def _expect(self, worker: Worker) -> None:
        """Start the clock of the next tool of a busy worker."""
        assert worker.job is not None
        worker.tool = worker.job.names[worker.waiting[0]]
        worker.since = time.monotonic()
        worker.deadline = worker.since + self._limits.timeout_s

    def _listen(self, again: deque[Job], emit: Emit) -> None:
        by_connection = {worker.pool: worker for worker in self._workers}
        for ready in wait(list(by_connection), timeout=_TICK_S):
            worker = by_connection[ready]  # type: ignore[index]
            try:
                message = json.loads(worker.pool.recv_bytes())
            except (EOFError, OSError):
                note = processes.death_note(worker.process)
                self._lost(worker, f"crash: the process ended with {note}", again, emit)
                continue
            self._hear(worker, message, again, emit)

    def _hear(
        self, worker: Worker, message: Mapping[str, Any], again: deque[Job], emit: Emit
    ) -> None:
        match message["at"]:
            case "setup":
                worker.tool, worker.deadline = message["tool"], time.monotonic() + SETUP_S
            case "ready":
                worker.state, worker.tool = "idle", ""
                self._broken |= message["failed"]
            case "result":
                self._result(worker, Observation(**message["observation"]), again, emit)
            case "refused":
                raise InfrastructureError(f"tools: no worker can start: {message['message']}")

    def _result(
        self, worker: Worker, observation: Observation, again: deque[Job], emit: Emit
    ) -> None:
        assert worker.job is not None
        job = worker.job
        self.calls += 1
        job.done[worker.waiting.popleft()] = observation
        # What a MemoryError leaves behind is anyone's guess: a fresh process is cheap.
        if observation.error.startswith("memory:"):
            self._end(worker)
            again.append(job)
        elif worker.waiting:
            self._expect(worker)
        else:
            worker.state, worker.job, worker.tool = "idle", None, ""
            self._settle(job, emit)

    def _enforce(self, again: deque[Job], emit: Emit) -> None:
        now = time.monotonic()
        for worker in [w for w in self._workers if w.state != "idle"]:
            if now > worker.deadline:
                limit = SETUP_S if worker.state == "starting" else self._limits.timeout_s
                self._lost(worker, f"timeout: no answer within {limit:g} s", again, emit)
            elif worker.state == "busy" and now - worker.since > _TICK_S:
                weight = processes.weight_mb(worker.process.pid)
                if weight > self._limits.memory_mb:
                    text = f"memory: {weight:.0f} MiB, {self._limits.memory_mb} are allowed"
                    self._lost(worker, text, again, emit)

    def _lost(self, worker: Worker, error: str, again: deque[Job], emit: Emit) -> None:
        """Blame the tool that was at work, end the process, put the rest of the job back."""
        self._end(worker)
        if worker.job is not None:
            self.calls += 1
            job, at = worker.job, worker.waiting[0]
            job.done[at] = self._failed(worker.tool, error)
            again.append(job)
        elif worker.state == "starting":
            if not worker.tool:
                raise InfrastructureError(f"tools: a worker could not start ({error})")
            kind, _, rest = error.partition(": ")
            self._broken[worker.tool] = f"{kind}: in setup: {rest}"

    def _failed(self, name: str, error: str) -> Observation:
        return Observation(name, {}, "", self._versions[name], error)

    def _spawn(self) -> Worker:
        ours, theirs = Pipe()
        self._started += 1
        mark = f"{self._mark}.{self._started}."
        arguments = ["-c", BOOT, json.dumps(sys.path), str(theirs.fileno())]
        process = processes.start(arguments, mark, theirs.fileno())
        theirs.close()
        specs = [asdict(s) for s in self._specs if s.name not in self._broken]
        order = {"specs": specs, "trusted": self._trusted, **asdict(self._limits)}
        ours.send_bytes(json.dumps(order).encode())
        return Worker(process, ours, mark, deadline=time.monotonic() + SETUP_S)

    def _end(self, worker: Worker) -> None:
        self._workers.remove(worker)
        worker.pool.close()
        processes.end(worker.mark, worker.process)
