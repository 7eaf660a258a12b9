"""Deals jobs to worker processes and holds them to their limits: the engine of `ToolPool`.

One thread runs `Dispatcher.run` at a time. It owns the workers, waits on their connections, and
turns time-outs, deaths and excess memory into observations. A worker takes one job, or several
where a tool profits from a batch; a batch that is lost is run again one by one, so that the clip at
fault is known.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from multiprocessing.connection import Pipe, wait
from subprocess import TimeoutExpired
from threading import Event
from typing import Any, TypeAlias

import numpy as np

from routerlab.errors import InfrastructureError
from routerlab.tools import processes
from routerlab.tools.jobs import Job, Limits, Step, Worker, clip_header, limits_of, steps_of
from routerlab.tools.local import LocalTools
from routerlab.tools.specs import ToolSpec
from routerlab.tools.worker import BOOT
from routerlab.types import Observation

SETUP_S = 300.0
"""Limit of importing and of each tool's `setup`: the first run on a machine compiles numba code."""

_TICK_S = 0.1

Emit: TypeAlias = Callable[[Any], None]


class Dispatcher:
    """Workers, kept between runs, and the rules that end them.

    Args:
        specs: the tools that run in processes.
        mark: random, carried by every process of this pool.
        batches: name -> most clips of one call.
        local: the tools that run in this process.
    """

    def __init__(
        self,
        specs: Sequence[ToolSpec],
        versions: Mapping[str, str],
        trusted: Sequence[str],
        size: int,
        limits: Limits,
        mark: str,
        *,
        batches: Mapping[str, int],
        local: LocalTools,
    ) -> None:
        self.size = size
        self.calls = 0
        self._specs = tuple(specs)
        self._versions = versions
        self._trusted = tuple(trusted)
        self._limits = limits
        self._mark = mark
        self._local = local
        self._batches = {spec.name: batches.get(spec.name, 1) for spec in specs}
        self._limits_of = {spec.name: limits_of(spec, limits) for spec in specs}
        self._workers: list[Worker] = []
        self._started = 0
        self._prepared = False
        self._broken: dict[str, str] = {}

    def start(self, wanted: int) -> None:
        """Bring the number of processes to `wanted` (at most `size`).

        To one, until that one has prepared its tools: it may compile what the others then load.
        """
        if not self._specs:
            return
        if not self._prepared:
            wanted = 1
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
            if exhausted and not again and not any(w.jobs for w in self._workers):
                return
            self._listen(again, emit)
            self._enforce(again, emit)

    def _free(self) -> int:
        """Jobs worth holding ready: a batch for each process that is not busy, or not there."""
        free = self.size - sum(worker.state == "busy" for worker in self._workers)
        return free * max(self._batches.values(), default=1)

    def _deal(self, again: deque[Job], emit: Emit) -> None:
        for job in [job for job in again if self._settle(job, emit)]:
            again.remove(job)
        idle = [worker for worker in self._workers if worker.state == "idle"]
        for left, worker in zip(range(len(idle), 0, -1), idle, strict=True):
            if again:
                self._give(worker, self._batch(again, left))
        starting = sum(worker.state == "starting" for worker in self._workers)
        if len(again) > starting:
            self.start(len(self._workers) + len(again) - starting)

    def _batch(self, again: deque[Job], idle: int) -> list[Job]:
        """The next jobs of one worker: its share of them, as many as its tools may take at once."""
        first = again.popleft()
        most = max(self._batches[first.names[i]] for i in first.left)
        wanted = 1 if first.alone else min(most, -(-(len(again) + 1) // idle))
        return [first, *(again.popleft() for _ in range(wanted - 1))]

    def _settle(self, job: Job, emit: Emit) -> bool:
        """Answer for broken tools, call those of this process; emit a job with nothing left."""
        for i in job.left:
            if job.names[i] in self._broken:
                job.done[i] = self._failed(job.names[i], self._broken[job.names[i]])
            elif job.names[i] in self._local:
                job.done[i] = self._local.observe(job.names[i], job.clip, job.choices)
                self.calls += 1
        if job.left:
            return False
        emit((job.index, [job.done[i] for i in range(len(job.names))]))
        return True

    def _give(self, worker: Worker, jobs: list[Job]) -> None:
        worker.state, worker.jobs = "busy", jobs
        worker.steps = deque(steps_of(jobs, self._batches))
        self._expect(worker)
        header = {
            "clips": [clip_header(job.clip) for job in jobs],
            "choices": [job.choices for job in jobs],
            "steps": [[s.tool, [at for at, _ in s.places], self._timeout(s)] for s in worker.steps],
        }
        try:
            worker.pool.send_bytes(json.dumps(header).encode())
            for job in jobs:
                samples = np.ascontiguousarray(job.clip.samples, np.float32)
                worker.pool.send_bytes(samples.tobytes())
        except OSError:
            # It died while idle; listening finds its closed connection.
            return

    def _expect(self, worker: Worker) -> None:
        """Start the clock of the next step of a busy worker."""
        worker.tool = worker.steps[0].tool
        worker.since = time.monotonic()
        worker.deadline = worker.since + self._timeout(worker.steps[0])

    def _timeout(self, step: Step) -> float:
        return self._limits_of[step.tool].timeout_s * len(step.places)

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
                self._prepared = True
                worker.state, worker.tool = "idle", ""
                worker.base_mb = processes.weight_mb(worker.process.pid)
                self._broken |= message["failed"]
            case "result":
                seen = [Observation(**row) for row in message["observations"]]
                self._result(worker, seen, again, emit)
            case "refused":
                raise InfrastructureError(f"tools: no worker can start: {message['message']}")

    def _result(
        self, worker: Worker, observations: list[Observation], again: deque[Job], emit: Emit
    ) -> None:
        self.calls += len(observations)
        step = worker.steps.popleft()
        for (at, place), observation in zip(step.places, observations, strict=True):
            worker.jobs[at].done[place] = observation
        # What a MemoryError leaves behind is anyone's guess: a fresh process is cheap.
        if any(observation.error.startswith("memory:") for observation in observations):
            self._end(worker)
            again.extend(worker.jobs)
        elif worker.steps:
            self._expect(worker)
        else:
            done, worker.jobs = worker.jobs, []
            worker.state, worker.tool = "idle", ""
            for job in done:
                self._settle(job, emit)

    def _enforce(self, again: deque[Job], emit: Emit) -> None:
        now = time.monotonic()
        for worker in [w for w in self._workers if w.state != "idle"]:
            if now > worker.deadline:
                busy = worker.state == "busy"
                limit = self._timeout(worker.steps[0]) if busy else SETUP_S
                self._lost(worker, f"timeout: no answer within {limit:g} s", again, emit)
            elif worker.state == "busy" and now - worker.since > _TICK_S:
                weight = processes.weight_mb(worker.process.pid) - worker.base_mb
                allowed = self._limits_of[worker.tool].memory_mb
                if weight > allowed:
                    text = f"memory: {weight:.0f} MiB, {allowed} are allowed"
                    self._lost(worker, text, again, emit)

    def _lost(self, worker: Worker, error: str, again: deque[Job], emit: Emit) -> None:
        """Blame the tool that was at work, end the process, put the rest of its jobs back."""
        self._end(worker)
        if worker.jobs:
            step = worker.steps[0]
            if len(step.places) == 1:
                ((at, place),) = step.places
                self.calls += 1
                worker.jobs[at].done[place] = self._failed(step.tool, error)
            for at, _ in step.places:
                worker.jobs[at].alone = len(step.places) > 1 or worker.jobs[at].alone
            again.extend(worker.jobs)
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
        order["first"] = not self._prepared
        ours.send_bytes(json.dumps(order).encode())
        return Worker(process, ours, mark, deadline=time.monotonic() + SETUP_S)

    def _end(self, worker: Worker) -> None:
        self._workers.remove(worker)
        worker.pool.close()
        processes.end(worker.mark, worker.process)
