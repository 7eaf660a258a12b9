"""Prediction in three stages, each of which can run alone: route, observe, reason.

    route    questions               -> routes.jsonl         action and probabilities
    observe  routes.jsonl            -> observations.jsonl   + the tool's output
    reason   observations.jsonl      -> predictions.jsonl    + the answer, and the official file

Between stages there are only files of JSON lines, so that the router, the tools and the reasoner
may run on different machines. A stage that stopped goes on where it was: rows are kept by id, as
long as what they were made from is the same (`resuming`). Gold is never read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from lightning.pytorch import Trainer

from routerlab.data.module import RouterDataModule
from routerlab.data.writers import PREDICTION_KEYS, write_lines, write_predictions
from routerlab.errors import UserError, unknown
from routerlab.oracle.records import is_lasting
from routerlab.reasoners.base import ReasonRequest, Reply
from routerlab.resuming import digest, go_on
from routerlab.routing import best_actions, restore, route, share_base
from routerlab.types import DIRECT, Answer, Observation, Question

Stage = Literal["route", "observe", "reason"]

ROUTES = "routes.jsonl"
OBSERVATIONS = "observations.jsonl"
PREDICTED = "predictions.jsonl"
OFFICIAL = "official.json"

CHUNK = 64
"""Questions whose clips are held at once."""


def predict(
    trainer: Trainer,
    model: Any,
    datamodule: RouterDataModule,
    ckpt_path: str | None = None,
    stage: Stage | None = None,
    split: str = "test",
    **_: Any,
) -> None:
    """Run one stage on a split, or all three in order.

    Raises:
        UserError: an unknown stage, or a stage whose input file is not there.
    """
    if stage is not None and stage not in get_args(Stage):
        raise UserError(unknown("stage: no stage", stage, get_args(Stage)))
    folder = Path(trainer.default_root_dir) / f"predict-{split}"
    datamodule.prepare_data()
    datamodule.setup("predict")
    questions = {q.id: q for q in datamodule.questions(split)}
    if not questions:
        raise UserError(f"predict: {datamodule.source!r} has no {split} split.")
    for name in get_args(Stage) if stage is None else (stage,):
        if name == "route":
            routed = _routed(trainer, model, datamodule, split, ckpt_path)
            write_lines(folder / ROUTES, routed)
            _say(name, (0, len(routed)))
        elif name == "observe":
            routes = _read(folder / ROUTES, "route")
            _say(name, observe_all(folder / OBSERVATIONS, routes, questions, datamodule))
        else:
            lines = _read(folder / OBSERVATIONS, "observe")
            _say(name, reason_all(folder / PREDICTED, lines, questions, datamodule))
            rows = _read(folder / PREDICTED, "reason")
            _refuse_unanswered(rows)
            _write_official(folder / OFFICIAL, datamodule, split, rows)


def _routed(
    trainer: Trainer,
    model: Any,
    datamodule: RouterDataModule,
    split: str,
    ckpt_path: str | None,
) -> list[dict[str, Any]]:
    """The router's choice for every question."""
    restore(model, datamodule, ckpt_path, trainer)
    share_base(model.policy, datamodule.reasoner)
    probabilities = route(model.policy, datamodule, split)
    names = datamodule.actions
    return [
        {
            "id": question.id,
            "action": names[action],
            "probabilities": {n: round(float(p), 6) for n, p in zip(names, row, strict=True)},
        }
        for question, action, row in zip(
            datamodule.questions(split), best_actions(probabilities), probabilities, strict=True
        )
    ]


def observe_all(
    target: Path,
    rows: Sequence[Mapping[str, Any]],
    questions: Mapping[str, Question],
    datamodule: RouterDataModule,
) -> tuple[int, int]:
    """Write every row with its tool's output, going on where an earlier run stopped.

    Returns:
        (rows kept, rows made); a row whose tool ran out of time or memory is made again.
    """
    by_id = {row["id"]: row for row in rows}
    wanted = {
        ident: digest(
            row, datamodule.versions.get(row["action"]), _heard(ident, questions, datamodule)
        )
        for ident, row in by_id.items()
    }

    def make(missing: Sequence[str]) -> Iterator[dict[str, Any]]:
        return observed([by_id[ident] for ident in missing], questions, datamodule)

    def keep(row: Mapping[str, Any]) -> bool:
        return row["observation"] is None or is_lasting(Observation(**row["observation"]))

    return go_on(target, wanted, make, keep=keep)


def reason_all(
    target: Path,
    rows: Sequence[Mapping[str, Any]],
    questions: Mapping[str, Question],
    datamodule: RouterDataModule,
) -> tuple[int, int]:
    """Write every row with the reasoner's answer, going on where an earlier run stopped.

    Returns:
        (rows kept, rows made); a row whose reasoner failed is made again.
    """
    by_id = {row["id"]: row for row in rows}
    reasoner = digest(datamodule.reasoner.identity())
    wanted = {
        ident: digest(_without_time(row), reasoner, _heard(ident, questions, datamodule))
        for ident, row in by_id.items()
    }

    def make(missing: Sequence[str]) -> Iterator[dict[str, Any]]:
        return reasoned([by_id[ident] for ident in missing], questions, datamodule)

    return go_on(target, wanted, make, keep=lambda row: not row["error"])


def _heard(ident: str, questions: Mapping[str, Question], datamodule: RouterDataModule) -> Any:
    """What is asked about which file, as it lies there now; gold is no part of it."""
    question = questions[ident]
    file = os.stat(question.audio) if os.path.exists(question.audio) else None
    stamp = None if file is None else (question.audio, file.st_size, file.st_mtime_ns)
    return question.question, question.choices, stamp, datamodule.clip.settings


def _without_time(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row but for how long its tool took, which changes no answer."""
    seen = row["observation"]
    return {**row, "observation": None if seen is None else {**seen, "seconds": 0.0}}


def _say(stage: str, rows: tuple[int, int]) -> None:
    kept, made = rows
    print(f"{stage}: {made} rows made" + (f", {kept} kept from an earlier run" if kept else ""))


def observed(
    rows: Sequence[Mapping[str, Any]],
    questions: Mapping[str, Question],
    datamodule: RouterDataModule,
) -> Iterator[dict[str, Any]]:
    """Each row with the output of the tool it calls, or the tool's error."""
    with datamodule.pool() as pool:
        for chunk in _chunks(rows):
            called = [row for row in chunk if row["action"] != DIRECT]
            asked = [(questions[row["id"]], row["action"]) for row in called]
            jobs = [(datamodule.clip(q), (action,), q.choices) for q, action in asked]
            seen = {called[job]["id"]: outputs[0] for job, outputs in pool.observe_many(jobs)}
            for row in chunk:
                output = seen.get(row["id"])
                yield {**row, "observation": None if output is None else vars(output)}


def reasoned(
    rows: Sequence[Mapping[str, Any]],
    questions: Mapping[str, Question],
    datamodule: RouterDataModule,
) -> Iterator[dict[str, Any]]:
    """Each row with the reasoner's answer; a failed tool falls back to answering directly."""
    try:
        for chunk in _chunks(rows):
            requests = [_request(row, questions[row["id"]], datamodule) for row in chunk]
            replies = datamodule.reasoner.answer_many(requests)
            for row, (reply,) in zip(chunk, replies, strict=True):
                yield {**row, "fallback": _failed(row), **_replied(reply)}
    finally:
        datamodule.reasoner.close()


def _request(
    row: Mapping[str, Any], question: Question, datamodule: RouterDataModule
) -> ReasonRequest:
    given = row["observation"]
    use = given is not None and not _failed(row)
    observations = (Observation(**given),) if use else ()
    clip = datamodule.clip(question)
    return ReasonRequest(clip, question.question, question.choices, (observations,))


def _replied(reply: Reply) -> dict[str, str]:
    """An answer's part of a row; a reasoner that failed gave none, and the row says why."""
    if isinstance(reply, Answer):
        return {"answer": reply.text, "raw": reply.raw, "read": reply.read, "error": ""}
    return {"answer": "", "raw": "", "read": "unparsed", "error": str(reply)}


def _failed(row: Mapping[str, Any]) -> bool:
    return bool(row["observation"] and row["observation"]["error"])


def _refuse_unanswered(rows: Sequence[Mapping[str, Any]]) -> None:
    """A question that the reasoner could not be asked is no wrong answer, and no file has it."""
    failed = [row["error"] for row in rows if row["error"]]
    if failed:
        raise UserError(
            f"predict: {len(failed)} of {len(rows)} questions got no answer, so there is no "
            f"official file. The first: {failed[0]} The same command asks those again."
        )


def _write_official(
    path: Path, datamodule: RouterDataModule, split: str, rows: Iterable[Mapping[str, Any]]
) -> None:
    answers = {r["id"]: Answer(None, r["answer"], raw=r["raw"], read=r["read"]) for r in rows}
    form = datamodule.origin.form
    benchmark = form if form in PREDICTION_KEYS else "auto"
    write_predictions(path, datamodule.files[split], answers, benchmark)
    print(f"official predictions: {path}")


def _read(path: Path, before: str) -> list[dict[str, Any]]:
    if not path.is_file():
        raise UserError(f"predict: no {path}. First: routerlab predict … stage={before}.")
    # Not `splitlines`: a text may hold other marks that Python takes for the end of a line.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _chunks(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]
