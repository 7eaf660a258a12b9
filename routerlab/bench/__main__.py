"""Counts and times what a survey, a router and `ask` cost on this machine; prints tables.

    python -m routerlab.bench                       the model that ships, on whatever is here
    python -m routerlab.bench --lalm 7b-random      the true size with random weights, on a GPU
    python -m routerlab.bench --lalm tiny-random    the same road on any machine, in seconds
    python -m routerlab.bench --lalm 7b-random --save FOLDER   such a model, to try a recipe on

Clips and texts are made up: cost is measured, not truth. Tools are not run. Counts are exact; what
is computed from configurations says so in its title.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from routerlab.bench.goals import goal_grid, memory_grid
from routerlab.bench.machine import Machine
from routerlab.bench.models import RANDOM, open_lalm, save_random
from routerlab.bench.router import (
    Step,
    asked,
    decision_grid,
    decisions,
    step_grid,
    steps,
    unload,
)
from routerlab.bench.survey import Rung, climb, computed_grid, cost_grid
from routerlab.bench.work import TEXTS, Work
from routerlab.errors import UserError
from routerlab.lalm.checkpoint import EMBEDDED
from routerlab.lalm.device import resolve
from routerlab.lalm.model import LALM, DType
from routerlab.policy.router import RouterPolicy
from routerlab.reasoners.settings import Protocol, Saving
from routerlab.reasoners.transformers_reasoner import TransformersReasoner
from routerlab.report.grid import Grid


class Bench:
    """One model, and the reasoners and routers that are put on it in turn."""

    def __init__(self, args: argparse.Namespace) -> None:
        device = resolve(args.device)
        self.args = args
        self.dtype: DType = _dtype(args, device)
        self.lalm: LALM = open_lalm(args.lalm, self.dtype, device)
        self.name = EMBEDDED if args.lalm in RANDOM else args.lalm
        self.machine = Machine.found(device, self.lalm.dtype, args.product)
        self.work = Work(args.questions, args.seconds, args.tools)

    def reasoner(self, protocol: Protocol, without: Sequence[Saving]) -> TransformersReasoner:
        """On the model, with these savings left out."""
        made = self._reasoner(protocol, without)
        made.borrow(self.lalm, nullcontext)
        return made

    def _reasoner(self, protocol: Protocol, without: Sequence[Saving]) -> TransformersReasoner:
        return TransformersReasoner(
            self.name,
            dtype=self.dtype,
            device=str(self.machine.device),
            protocol=protocol,
            batch_size=self.args.batch_size,
            max_new_tokens=self.args.new_tokens,
            without=without,
        )

    def policy(self, layers: int | None) -> RouterPolicy:
        """Its adapter put into the model; `unload` takes it out."""
        made = RouterPolicy(
            self.name,
            dtype=self.dtype,
            lora_r=8,
            lora_layers=layers,
            device=str(self.machine.device),
        )
        made.configure(self.work.cards, lalm=self.lalm)
        return made

    def run(self) -> None:
        """Measure and print, table after table."""
        args, machine, work = self.args, self.machine, self.work
        asks = f"{work.questions} questions of {work.seconds:g} s × {work.actions} actions"
        print(
            f"{args.lalm} in {self.dtype} on {machine.name}, torch {torch.__version__}; peak of a "
            f"matrix product here {machine.peak / 1e12:.4g} · 10^12 operations/s; {asks}; "
            f"{machine.clock}\n",
            flush=True,
        )
        survey = self._survey() if args.part != "router" else None
        router = self._router() if args.part != "survey" else None
        _show(memory_grid(work.seconds))
        if survey and router:
            _show(goal_grid(*survey, *router))

    def _survey(self) -> tuple[list[Rung], list[Rung]]:
        args, work, machine = self.args, self.work, self.machine
        scored = climb(self.reasoner, "likelihood", work, args.repeats)
        _show(cost_grid(scored, "survey by likelihood", machine))
        _show(computed_grid(scored, work.seconds))
        written = climb(self.reasoner, "generate", work, args.repeats)
        _show(cost_grid(written, "survey by generate", machine))
        return scored, written

    def _router(self) -> tuple[list[Step], float]:
        args, machine = self.args, self.machine
        work = replace(self.work, questions=max(self.work.questions, args.router_batch))
        _show(decision_grid(decisions(self.policy, work, args.router_batch), "router, deciding"))
        trained = steps(self.policy, work, args.router_batch, args.repeats, machine)
        _show(step_grid(trained, f"router, training in steps of {args.router_batch}", machine))
        policy = self.policy(None)
        one = asked(policy, self._reasoner("likelihood", ()), work, args.repeats)
        unload(policy)
        print(f"ask: {one:.2g} s (one decision, two prompts, no tool)\n", flush=True)
        return trained, one


def _dtype(args: argparse.Namespace, device: torch.device) -> DType:
    given: DType | None = args.dtype
    return given or ("bfloat16" if device.type == "cuda" else "float32")


def _show(grid: Grid) -> None:
    """At once: what comes next may take minutes."""
    grid.show()
    print(flush=True)


def _count(word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r}; allowed: 1 or more")
    return int(word)


def _parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m routerlab.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--lalm", default=EMBEDDED, help=f"embedded, a folder, a hub id or {', '.join(RANDOM)}"
    )
    parser.add_argument(
        "--save", metavar="FOLDER", type=Path, help="write a random model there, measure nothing"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="bfloat16 on a GPU")
    parser.add_argument(
        "--part", choices=["all", "survey", "router"], default="all", help="measured"
    )
    parser.add_argument("--questions", type=_count, default=16)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each clip")
    parser.add_argument("--tools", type=int, default=len(TEXTS), choices=range(1, len(TEXTS) + 1))
    parser.add_argument("--batch-size", type=_count, default=8, help="questions a survey's batch")
    parser.add_argument("--router-batch", type=_count, default=8, help="questions a router's step")
    parser.add_argument("--new-tokens", type=_count, default=16, help="most that generate writes")
    parser.add_argument("--repeats", type=int, default=2, help="the fastest counts")
    parser.add_argument("--product", type=_count, help="rows of the matrix product for the peak")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; 2 if it was asked for something that cannot be."""
    args = _parsed(words)
    try:
        if args.save is None:
            Bench(args).run()
        else:
            device = resolve(args.device)
            save_random(args.lalm, args.save, _dtype(args, device), device)
            print(f"{args.save}: {args.lalm}. Give it as model.policy.lalm={args.save}")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
