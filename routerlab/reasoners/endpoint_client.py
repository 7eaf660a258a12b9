"""Asks a chat server until it answers or is given up: waits, budget, and when to stop for good.

    ask   take a place in the budget -> post -> read
          again      wait (backoff with jitter, Retry-After), then post again
          refused    given up at once
          hopeless   given up, and so is everything after it

A failure is a value (`ReasonerError`). A reason to stop is raised at the *next* `check`, so that
what was answered until then reaches the cache.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from routerlab.errors import ReasonerError, UserError
from routerlab.reasoners.endpoint_http import ChatServer, Failure
from routerlab.reasoners.endpoint_messages import Garbled

T = TypeVar("T")

_KEPT = "What was answered is kept: the same command goes on from there."
_FIRST_REFUSALS = 16


@dataclass(frozen=True)
class Limits:
    """How a server is asked; none of it changes an answer.

    Attributes:
        concurrency: requests under way at once.
        timeout_s: from sending a request to the last byte of its answer.
        retries: how often a request is sent again after a passing failure.
        backoff_s: the first wait; it doubles each time, and a random half of it is dropped.
        max_wait_s: the longest wait; a server that asks for a longer one ends the run.
        max_calls: requests sent in all, those sent again included; None for no end.
    """

    concurrency: int = 8
    timeout_s: float = 120.0
    retries: int = 5
    backoff_s: float = 0.5
    max_wait_s: float = 60.0
    max_calls: int | None = None


class ChatClient:
    """Asks one server within its limits; may be used by several threads."""

    def __init__(self, server: ChatServer, limits: Limits) -> None:
        self.server, self.limits = server, limits
        self.sent = 0
        self.answered = 0
        self._refused = 0
        self._unanswered = 0
        self._reached = False
        self._stop = ""
        self._interrupted = False
        self._not_before = 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        # Waits only: nothing that a seed promises may hang on it.
        self._random = random.Random()

    def check(self) -> None:
        """Be ready to ask, unless there is no point in sending anything.

        Raises:
            UserError: no budget is left, no key is set, or the last requests showed that the
                server cannot be used. The last is said once; after that it is tried again.
        """
        self.heed()
        with self._lock:
            stop, self._stop = self._stop, ""
            self._unanswered = 0
        if self._spent:
            raise UserError(self._budget())
        if stop:
            raise UserError(stop)
        self.server.open()

    def ask(self, body: bytes, read: Callable[[Any], T]) -> T | ReasonerError:
        """Send a chat request until `read` accepts the answer's JSON, or it is given up."""
        closed = self._closed
        failure = Failure("again", "not sent")
        for attempt in range(self.limits.retries + 1):
            closed.wait(self._pause(attempt))
            if closed.is_set() or not self._take():
                return ReasonerError(self._stop or f"closed; before that: {failure}")
            try:
                answer = read(self.server.post(body))
            except Garbled as garbled:
                failure = Failure("again", self.server.clean(str(garbled)))
                self._reached = True
            except Failure as error:
                failure = error
                self._reached |= error.verdict != "unreached"
            else:
                with self._lock:
                    self.answered, self._unanswered, self._reached = self.answered + 1, 0, True
                return answer
            if not self._worth_another(failure):
                break
        return self._given_up(failure)

    def interrupt(self) -> None:
        """Break off what is under way; the next `check` or `heed` raises KeyboardInterrupt."""
        self._interrupted = True
        self.close()

    def heed(self) -> None:
        """Raise a KeyboardInterrupt that has been put off."""
        if self._interrupted:
            self._interrupted = False
            raise KeyboardInterrupt

    def close(self) -> None:
        """Close the connections; waits are broken off. The next `check` opens new ones."""
        self._closed.set()
        self._closed = threading.Event()
        self.server.close()

    # --- before a request --------------------------------------------------------------------

    @property
    def _spent(self) -> bool:
        return self.limits.max_calls is not None and self.sent >= self.limits.max_calls

    def _take(self) -> bool:
        """Count a request before it is sent; False once the run is to stop."""
        with self._lock:
            if self._spent and not self._stop:
                self._stop = self._budget()
            if self._stop:
                return False
            self.sent += 1
            return True

    def _pause(self, attempt: int) -> float:
        """Seconds that this request must wait."""
        if self._stop:
            return 0.0
        pause = 0.0
        if attempt:
            longest = min(self.limits.backoff_s * 2 ** (attempt - 1), self.limits.max_wait_s)
            pause = longest * self._random.uniform(0.5, 1.0)
        # All requests keep off a server that asked for it, and do not come back at the same moment.
        asked = self._not_before - time.monotonic()
        if asked > 0:
            pause = max(pause, asked + self._random.uniform(0.0, self.limits.backoff_s))
        return pause

    # --- after a failure ---------------------------------------------------------------------

    def _worth_another(self, failure: Failure) -> bool:
        """Whether to send again; heeds the wait that the server asked for."""
        if failure.after is not None:
            with self._lock:
                if failure.after > self.limits.max_wait_s and not self._stop:
                    self._stop = (
                        f"reasoner: {self.server.base_url} asks to wait {failure.after:.0f} s, "
                        f"more than max_wait_s {self.limits.max_wait_s:g}. {_KEPT}"
                    )
                self._not_before = max(self._not_before, time.monotonic() + failure.after)
        if failure.verdict == "unreached":
            return self._reached  # a server that was there may come back
        return failure.verdict == "again"

    def _given_up(self, failure: Failure) -> ReasonerError:
        """The error of a request without an answer; decides whether the run is to stop."""
        with self._lock:
            self._refused += failure.verdict == "refused"
            self._unanswered += failure.verdict in ("again", "unreached")
            why = self._hopeless(failure)
            if why and not self._stop:
                self._stop = f"reasoner: {why}. {_KEPT}"
        return ReasonerError(f"endpoint: {failure}", final=not self._stop)

    def _hopeless(self, failure: Failure) -> str:
        """Why the whole run is to stop; "" if it is not."""
        where = self.server.base_url
        if failure.verdict == "hopeless":
            return str(failure)
        if failure.verdict == "unreached" and not self._reached:
            return f"{failure}. Nothing answers there: start the server or mend base_url"
        if not self.answered and self._refused >= _FIRST_REFUSALS:
            return f"{where} refused the first {self._refused} requests: {failure}"
        if self._unanswered >= max(_FIRST_REFUSALS, 3 * self.limits.concurrency):
            return (
                f"{where} left {self._unanswered} requests in a row without an answer, each sent "
                f"{self.limits.retries + 1} times: {failure}"
            )
        return ""

    def _budget(self) -> str:
        return (
            f"reasoner: max_calls {self.limits.max_calls} reached: {self.sent} requests sent, "
            f"{self.answered} answered. {_KEPT}"
        )
