"""A model behind any OpenAI-compatible chat server as the reasoner: vLLM, SGLang, a hosted model.

One request a prompt, so N questions under K tools cost N × (K + 1). It keeps no cache: the oracle
does, and what was paid is never paid again. Waiting and giving up are `endpoint_client`, texts and
sound are `endpoint_messages`.
"""

from __future__ import annotations

import json
import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from routerlab.errors import ProblemList, ReasonerError
from routerlab.reasoners.base import ReasonRequest, Reply
from routerlab.reasoners.endpoint_client import ChatClient, Limits
from routerlab.reasoners.endpoint_http import ChatServer
from routerlab.reasoners.endpoint_messages import (
    INSTRUCTIONS,
    MESSAGES_VERSION,
    TOP_LOG_PROBS,
    AudioStyle,
    ChoiceStyle,
    Encoding,
    audio_part,
    messages,
    read,
    read_completion,
    shown_choices,
)
from routerlab.reasoners.prompts import PROMPT_VERSION
from routerlab.types import Answer

_ALLOWED = {
    "audio": ("input_audio", "audio_url"),
    "encoding": ("pcm16", "float32"),
    "choices": ("text", "letters"),
}
_OURS = ("model", "messages", "temperature", "seed", "max_tokens", "logprobs", "top_logprobs")
# No key is all capitals, so a key given in place of its variable's name is refused unseen.
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_SECRET = re.compile(
    r"(api|access|auth)[-_]?(key|token)|authorization|password|secret|bearer", re.IGNORECASE
)


class EndpointReasoner:
    """Answers by asking a chat server, a bounded number of requests at once.

    The settings up to `extra` change answers and are part of every cache key, the others are not.

    Args:
        base_url: of the server, with the version: "http://localhost:8000/v1".
        model: the name under which the server knows the model.
        server: what else decides its answers, in your words: engine, version, number format,
            revision ("vllm 0.11 bf16 rev 1a2b"). It then stands in the cache key in place of
            `base_url`, so that the same server may move.
        audio: how the clip stands in the message: `input_audio` (OpenAI's), or `audio_url` (a
            data: address).
        encoding: samples of the WAV sent: `pcm16` (read everywhere, cut at ±1), or `float32`.
        choices: shown by their `text`, or with `letters`.
        log_probs: take the likeliest letter where the server offers log-probabilities; needs
            `choices: letters`. A server that offers none is read by its text.
        system: text of the system turn; none when empty.
        instruction: last line of the prompt; one that fits `choices` if None, none when empty.
        temperature: 0 is greedy; not sent when None, for servers that refuse it.
        seed: sent with every request; not sent when None.
        max_tokens: the longest answer; not sent when None.
        extra: more fields of the request's JSON, as the server knows them.
        api_key_env: *name* of the environment variable that holds the key; no key when empty.
        concurrency: requests under way at once.
        timeout_s: from sending a request to the last byte of its answer.
        retries: how often a request is sent again after a passing failure.
        backoff_s: the first wait between them; it doubles, and a random half of it is dropped.
        max_wait_s: the longest wait; a server that asks for more (Retry-After) ends the run.
        max_calls: requests sent in all by this process, those sent again included; then the run
            stops, and the same command goes on. None for no end.

    Raises:
        ProblemList: every wrong setting at once.
    """

    def __init__(
        self,
        base_url: str = "http://localhost:8000/v1",
        model: str = "",
        *,
        server: str = "",
        audio: AudioStyle = "input_audio",
        encoding: Encoding = "pcm16",
        choices: ChoiceStyle = "text",
        log_probs: bool = False,
        system: str = "",
        instruction: str | None = None,
        temperature: float | None = 0.0,
        seed: int | None = 0,
        max_tokens: int | None = 64,
        extra: dict[str, Any] | None = None,
        api_key_env: str = "",
        concurrency: int = 8,
        timeout_s: float = 120.0,
        retries: int = 5,
        backoff_s: float = 0.5,
        max_wait_s: float = 60.0,
        max_calls: int | None = None,
    ) -> None:
        self.base_url, self.model, self.server = base_url, model, server
        self.audio, self.encoding, self.choices = audio, encoding, choices
        self.log_probs, self.system = log_probs, system
        self.instruction = INSTRUCTIONS.get(choices, "") if instruction is None else instruction
        self.temperature, self.seed, self.max_tokens = temperature, seed, max_tokens
        self.extra = dict(extra or {})
        self.limits = Limits(concurrency, timeout_s, retries, backoff_s, max_wait_s, max_calls)
        problems = [
            *address_problems(base_url, api_key_env),
            *self._problems(),
            *_limit_problems(self.limits),
        ]
        if problems:
            raise ProblemList([f"reasoner: {problem}" for problem in problems])
        self._client = ChatClient(
            ChatServer(base_url, api_key_env, connections=concurrency, timeout_s=timeout_s),
            self.limits,
        )

    def identity(self) -> dict[str, Any]:
        """All that changes an answer, as far as it can be known from here; asks nothing."""
        return {
            "reasoner": "endpoint",
            "model": self.model,
            "server": self.server or self.base_url.rstrip("/"),
            "prompt": PROMPT_VERSION,
            "messages": MESSAGES_VERSION,
            "audio": self.audio,
            "encoding": self.encoding,
            "choices": self.choices,
            "log_probs": self.log_probs,
            "system": self.system,
            "instruction": self.instruction,
            "temperature": self.temperature,
            "seed": self.seed,
            "max_tokens": self.max_tokens,
            "extra": self.extra,
        }

    @property
    def calls(self) -> int:
        """Requests sent so far, those sent again included."""
        return self._client.sent

    def answer_many(self, requests: Sequence[ReasonRequest]) -> list[list[Reply]]:
        """One list a request, one reply a prompt, in order; a failure is a `ReasonerError`.

        Raises:
            UserError: nothing can be asked: no budget or no key, or the call before this one
                showed that the server cannot be used. Nothing that was answered is lost by it.
        """
        prompts = [(request, k) for request in requests for k in range(len(request.observations))]
        if not prompts:
            return [[] for _ in requests]
        self._client.check()
        try:
            replies = iter(
                _spread(self._answer, prompts, self.limits.concurrency, self._client.interrupt)
            )
        except BaseException:
            self._client.close()  # break off the waits of what is under way
            raise
        return [[next(replies) for _ in request.observations] for request in requests]

    def close(self) -> None:
        """Close the connections; the next answer opens new ones."""
        self._client.close()
        self._client.heed()

    def _answer(self, request: ReasonRequest, place: int) -> Reply:
        def answer(payload: Any) -> Answer:
            return read(read_completion(payload), request.choices, self.choices)

        return self._client.ask(self._body(request, place), answer)

    def _body(self, request: ReasonRequest, place: int) -> bytes:
        """The JSON of one prompt; made when it is sent, for a clip may weigh megabytes."""
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": messages(
                audio_part(request.clip, self.audio, self.encoding),
                request.question,
                shown_choices(request.choices, self.choices),
                request.observations[place],
                system=self.system,
                instruction=self.instruction,
            ),
            "temperature": self.temperature,
            "seed": self.seed,
            "max_tokens": self.max_tokens,
        }
        if self.log_probs:
            fields |= {"logprobs": True, "top_logprobs": TOP_LOG_PROBS}
        given = {name: value for name, value in fields.items() if value is not None}
        return json.dumps({**given, **self.extra}).encode()

    def _problems(self) -> Iterator[str]:
        if not self.model:
            yield "model is empty. Give the name under which the server knows it (GET /v1/models)."
        given = {"audio": self.audio, "encoding": self.encoding, "choices": self.choices}
        for name, value in given.items():
            if value not in _ALLOWED[name]:
                yield f"{name} is {value!r}. Allowed: {', '.join(_ALLOWED[name])}."
        if self.log_probs and self.choices != "letters":
            yield "log_probs needs choices: letters; a choice's text is many tokens."
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            yield f"temperature is {self.temperature}. Allowed: 0 to 2, or null; 0 is greedy."
        if self.max_tokens is not None and self.max_tokens < 1:
            yield f"max_tokens is {self.max_tokens}. Allowed: 1 or more, or null."
        yield from _extra_problems(self.extra)


def _spread(
    answer: Callable[[ReasonRequest, int], Reply],
    prompts: Sequence[tuple[ReasonRequest, int]],
    threads: int,
    interrupted: Callable[[], None],
) -> list[Reply]:
    """The reply to every prompt, in order, asked for by so many threads at once.

    The threads are daemons, so that an interrupted run need not wait for a server that hangs (a
    pool of `concurrent.futures` would be joined at the end of the process).
    """
    waiting = iter(range(len(prompts)))
    taking, done = threading.Lock(), threading.Event()
    said: queue.SimpleQueue[tuple[int, Reply | BaseException]] = queue.SimpleQueue()

    def work() -> None:
        while not done.is_set():
            with taking:
                place = next(waiting, None)
            if place is None:
                return
            try:
                said.put((place, answer(*prompts[place])))
            except BaseException as error:  # a bug must reach the caller, not end a thread
                said.put((place, error))

    found: dict[int, Reply] = {}
    try:
        for number in range(min(threads, len(prompts))):
            threading.Thread(target=work, name=f"endpoint-{number}", daemon=True).start()
        while len(found) < len(prompts):
            place, reply = said.get()
            if isinstance(reply, BaseException) and not isinstance(reply, ReasonerError):
                raise reply
            found[place] = reply
    except KeyboardInterrupt:
        if not found:
            raise
        # What was paid for is handed over first; the next `check` or `close` raises it.
        interrupted()
    finally:
        done.set()
    left = ReasonerError("endpoint: interrupted")
    return [found.get(place, left) for place in range(len(prompts))]


def address_problems(base_url: str, api_key_env: str) -> Iterator[str]:
    """What is wrong with where to ask; what may be a key is not shown."""
    if not _is_address(base_url):
        yield "base_url is no address. Write it like http://localhost:8000/v1."
    elif urlsplit(base_url).username or urlsplit(base_url).password or "?" in base_url:
        yield "base_url holds a name, password or query. Keys go through api_key_env alone."
    if api_key_env and not _VARIABLE.fullmatch(api_key_env):
        yield (
            "api_key_env is no variable's name. Give the name of an environment variable, in "
            "capitals (OPENAI_API_KEY), never the key."
        )


def _is_address(url: str) -> bool:
    try:
        where = urlsplit(url)
        return where.scheme in ("http", "https") and bool(where.hostname) and where.port != 0
    except ValueError:  # a port that is none, a bracket left open
        return False


def _extra_problems(extra: Mapping[str, Any]) -> Iterator[str]:
    taken = sorted(set(extra) & set(_OURS))
    if taken:
        yield f"extra names {', '.join(taken)}. Use the setting of that name, or log_probs."
    secret = [name for name in _names(extra) if _SECRET.search(name)]
    if secret:
        yield f"extra names {', '.join(secret)}. Keys go through api_key_env alone."
    try:
        json.dumps(dict(extra), allow_nan=False)
    except (TypeError, ValueError):
        yield "extra holds what JSON cannot. Allowed: texts, numbers, lists, mappings."


def _names(tree: Any) -> Iterator[str]:
    """Every key of a mapping, at any depth."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield str(name)
            yield from _names(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _names(value)


def _limit_problems(limits: Limits) -> Iterator[str]:
    least: Mapping[str, tuple[float | None, float]] = {
        "concurrency": (limits.concurrency, 1),
        "retries": (limits.retries, 0),
        "backoff_s": (limits.backoff_s, 0),
        "max_wait_s": (limits.max_wait_s, 0),
        "max_calls": (limits.max_calls, 0),
    }
    for name, (value, lowest) in least.items():
        if value is not None and value < lowest:
            yield f"{name} is {value}. Allowed: {lowest} or more."
    if limits.timeout_s <= 0:
        yield f"timeout_s is {limits.timeout_s}. Allowed: above 0."
