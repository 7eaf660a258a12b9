"""A real chat server in a process of its own: the embedded LALM behind OpenAI's wire format.

    python tests/endpoint_server.py         prints its port, then serves until it is ended

`POST /plan` takes {"faults": [...], "key": ...}: the next chat requests meet these faults in order
of arrival ("" is none), later ones are answered. `GET /counts` says what has come since. It reads
a prompt back into a `ReasonRequest` for `TransformersReasoner`, so its answers are the local ones.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import soundfile

from routerlab.audio import make_clip
from routerlab.reasoners.base import ReasonRequest
from routerlab.reasoners.endpoint_messages import INSTRUCTIONS
from routerlab.reasoners.transformers_reasoner import TransformersReasoner
from routerlab.types import Answer, Clip, Observation

MODEL = "embedded-lalm"
RAW = {
    "no json": b"<html>502</html>",
    "wrong json": b'{"choices": []}',
    "no text": b'{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}',
    "filtered": b'{"choices": [{"message": {"content": "C4"}, "finish_reason": "content_filter"}]}',
    "deep json": b"[" * 200_000,
}
"""Faults that are a body with status 200."""


class World:
    """What all requests of the server share: the model, the plan and the counts."""

    def __init__(self) -> None:
        # Answers written and options scored: one model is enough, but two protocols.
        self.writes = TransformersReasoner(protocol="generate", device="cpu")
        self.scores = TransformersReasoner(protocol="likelihood", length="sum", device="cpu")
        self.scores._lalm = self.writes.lalm  # loaded before the first request comes
        self.model_lock, self.lock = threading.Lock(), threading.Lock()
        self.plan({})

    def plan(self, plan: dict[str, Any]) -> None:
        with self.lock:
            self.faults: list[str] = list(plan.get("faults", ()))
            self.key: str = plan.get("key", "")
            self.counts = {"requests": 0, "answered": 0, "under_way": 0, "at_once": 0}
            self.bodies: list[dict[str, Any]] = []

    @contextmanager
    def counted(self, body: dict[str, Any]) -> Iterator[str]:
        with self.lock:
            self.counts["requests"] += 1
            self.counts["under_way"] += 1
            self.counts["at_once"] = max(self.counts["at_once"], self.counts["under_way"])
            kept = {k: v for k, v in body.items() if k != "messages"}
            self.bodies.append({**kept, "text": text_of(body)})
            fault = self.faults.pop(0) if self.faults else ""
        try:
            yield fault
        finally:
            with self.lock:
                self.counts["under_way"] -= 1

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = request_of(body)
        with self.model_lock:
            ((answer,),) = self.writes.answer_many([asked])
            assert isinstance(answer, Answer)
            text, logprobs = answer.raw, None
            if body.get("logprobs"):
                ((scored,),) = self.scores.answer_many([asked])
                assert isinstance(scored, Answer)
                assert scored.choice is not None
                letters = "ABCDEFGH"[: len(scored.log_probs)]
                text = f"({letters[scored.choice]})"
                pairs = zip(letters, scored.log_probs, strict=True)
                top = [{"token": f" {x}", "logprob": p} for x, p in pairs]
                logprobs = {"content": [
                    {"token": "(", "top_logprobs": [{"token": "(", "logprob": 0.0}]},
                    {"token": letters[scored.choice], "top_logprobs": top},
                ]}  # fmt: skip
        choice = {"index": 0, "message": {"role": "assistant", "content": text},
                  "finish_reason": "stop", "logprobs": logprobs}  # fmt: skip
        return {"object": "chat.completion", "model": MODEL, "choices": [choice]}


def text_of(body: dict[str, Any]) -> str:
    parts = body["messages"][-1]["content"]
    return "".join(part["text"] for part in parts if part["type"] == "text")


def clip_of(body: dict[str, Any]) -> Clip:
    part = body["messages"][-1]["content"][0]
    if part["type"] == "input_audio":
        assert part["input_audio"]["format"] == "wav"
        data = part["input_audio"]["data"]
    else:
        head, data = part["audio_url"]["url"].split(",", 1)
        assert head == "data:audio/wav;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
    return make_clip(samples, rate)


def request_of(body: dict[str, Any]) -> ReasonRequest:
    """The prompt, read back: question, choices, tool outputs; an instruction is left out."""
    question, choices, *rest = text_of(body).split("\n")
    outputs = [line.removeprefix("tool output: ") for line in rest if line not in _INSTRUCTIONS]
    seen = tuple(Observation(text.split(":")[0], {}, text, "1") for text in outputs)
    shown = tuple(choices.removeprefix("choices: ").split(" | "))
    return ReasonRequest(clip_of(body), question, shown, (seen,))


_INSTRUCTIONS = set(INSTRUCTIONS.values())


class Handler(BaseHTTPRequestHandler):
    """OpenAI's chat completions, as far as a reasoner needs them."""

    protocol_version = "HTTP/1.1"
    world: World

    def do_GET(self) -> None:
        if self.path == "/counts":
            with self.world.lock:
                self._json(200, {**self.world.counts, "bodies": self.world.bodies})
        else:
            self._json(200, {"data": [{"id": MODEL}]})

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(length) or b"{}")
        if self.path == "/plan":
            self.world.plan(body)
            self._json(200, {})
            return
        with self.world.counted(body) as fault:
            if fault:
                self._fail(fault)
            elif self.world.key and self.headers.get("authorization") != f"Bearer {self.world.key}":
                given = self.headers.get("authorization", "nothing")
                self._json(401, {"error": f"wrong key: {given}"})
            elif body["model"] != MODEL:
                self._json(404, {"error": f"no model {body['model']}"})
            else:
                answer = self.world.completion(body)
                with self.world.lock:
                    self.world.counts["answered"] += 1
                self._json(200, answer)

    def _fail(self, fault: str) -> None:
        kind, _, value = fault.partition(" after ")
        if kind in RAW:
            self._send(200, RAW[kind])
        elif kind == "hang":
            time.sleep(20)
            self.close_connection = True
        elif kind == "half":
            whole = json.dumps({"choices": [{"message": {"content": "C4"}}]}).encode()
            self._send(200, whole, cut=len(whole) // 2)
        elif kind == "drip":
            self._send(200, b"", cut=0, length=1000)
            for _ in range(100):
                self.wfile.write(b" ")
                time.sleep(0.1)
        else:
            headers = {"retry-after": value} if value else {}
            echo = self.headers.get("authorization", "")
            self._json(int(kind), {"error": f"{kind} on purpose {echo}"}, headers)

    def _json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode(), headers=headers)

    def _send(
        self,
        status: int,
        body: bytes,
        *,
        cut: int | None = None,
        length: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body) if length is None else length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that no longer waits is no error of the server."""


def main() -> None:
    Handler.world = World()
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
