"""`routerlab ask`: one question through a trained run: route, call the tool, reason.

Only the chosen action and direct are evaluated. What comes out is printed, nothing is written but
the cache of outcomes.
"""

from __future__ import annotations

import json
from typing import Any, cast

import torch
from lightning.pytorch import Trainer
from rich.console import Console

from routerlab.commands.ask import Asked
from routerlab.data.module import RouterDataModule
from routerlab.errors import UserError
from routerlab.lightning_cli import run
from routerlab.module import RouterModule
from routerlab.routing import restore, share_base
from routerlab.types import DIRECT, Outcome, Question, QuestionBatch


def ask(asked: Asked) -> dict[str, Any]:
    """Answer, print, and return what was printed as JSON would hold it.

    Raises:
        UserError: the run holds no router or no checkpoint, or the sound cannot be read.
    """
    cli = run(asked.plan)
    if not isinstance(cli.model, RouterModule):
        raise UserError(f"ask: {asked.plan.recipes[0]} trains no router. Give another --run.")
    answered = _answered(cli.model, cast(RouterDataModule, cli.datamodule), cli.trainer, asked)
    if asked.as_json:
        print(json.dumps(answered, indent=1))
    else:
        _show(answered)
    return answered


def _answered(
    model: RouterModule, data: RouterDataModule, trainer: Trainer, asked: Asked
) -> dict[str, Any]:
    # Gold is unknown; the record wants one of the choices, and nothing below looks at it.
    question = Question("ask", asked.audio, asked.question, asked.choices, asked.choices[0])
    with data.oracle() as oracle:
        data.cards = tuple(oracle.cards)
        restore(model, data, asked.plan.checkpoint or None, trainer)
        share_base(model.policy, data.reasoner)
        model.eval()
        with torch.no_grad():
            (row,) = model.policy.probabilities(QuestionBatch((question,), (data.clip(question),)))
        action = data.actions[int(row.argmax())]
        direct = oracle.outcome(question, DIRECT)
        chosen = direct if action == DIRECT else oracle.outcome(question, action)
    for outcome in (direct, chosen):
        if outcome.state == "reasoner_error":
            raise UserError(f"ask: the reasoner gave no answer ({outcome.error}). Ask again.")
    fallback = chosen.state == "tool_error"
    answering = direct if fallback else chosen
    return {
        "action": action,
        "probabilities": dict(zip(data.actions, map(float, row), strict=True)),
        "observation": chosen.observation.text if chosen.observation else "",
        "fallback": fallback,
        "answer": _text(answering),
        "raw": answering.answer.raw if answering.answer else "",
        "direct": _text(direct),
        "error": chosen.error,
    }


def _text(outcome: Outcome) -> str:
    return outcome.answer.text if outcome.answer else ""


def _show(answered: dict[str, Any]) -> None:
    out = Console(highlight=False, soft_wrap=True)
    ranked = sorted(answered["probabilities"].items(), key=lambda pair: -pair[1])
    shares = " · ".join(f"{name} {share:.2f}" for name, share in ranked)
    lines = [("action", answered["action"]), ("probabilities", shares)]
    if answered["observation"]:
        lines.append(("tool output", answered["observation"]))
    if answered["error"]:
        lines.append(("error", f"{answered['error']} (answered without the tool)"))
    answer, unread = answered["answer"], f"none of the choices: {answered['raw']!r}"
    lines += [("answer", answer or unread), ("direct alone", answered["direct"] or "none of them")]
    for name, value in lines:
        out.print(f"{name}: {value}", markup=False)
