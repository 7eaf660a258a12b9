"""One request to a chat server over HTTP: what comes back is JSON, or a `Failure` saying what next.

    again      it may pass: 408, 409, 425, 429, 5xx, no answer in time, half a body, no JSON
    unreached  nobody took the connection
    refused    this very request is not taken: any other 4xx
    hopeless   no request will be taken: a wrong key, no such model or address

Nothing is repeated here. The key is read from the environment when a connection is opened, and is
in no message.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import httpx2

from routerlab.errors import UserError

Verdict: TypeAlias = Literal["again", "unreached", "refused", "hopeless"]

MAX_BODY = 8 * 2**20
"""Bytes of a reply that are read; a completion is a few kilobytes."""

_PASSING = (408, 409, 425, 429)
_HOPELESS = {
    401: "the key was refused",
    403: "the key may not do this",
    404: "there is no such address or model",
    405: "this address takes no chat requests",
}
_CONNECT_S = 10.0


class Failure(Exception):
    """One request that got no answer.

    Attributes:
        verdict: as listed above.
        after: the wait in seconds that the server asked for (Retry-After), if it did.
    """

    def __init__(self, verdict: Verdict, message: str, after: float | None = None) -> None:
        self.verdict, self.after = verdict, after
        super().__init__(message)


class ChatServer:
    """Posts to one server's chat address; may be used by several threads.

    Args:
        base_url: up to and with the version: "http://localhost:8000/v1".
        api_key_env: name of the environment variable with the key; none is sent when empty.
        connections: kept open at once.
        timeout_s: from sending a request to the last byte of its answer.
    """

    def __init__(
        self, base_url: str, api_key_env: str, *, connections: int, timeout_s: float
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._key_env, self._connections, self._timeout_s = api_key_env, connections, timeout_s
        self._key = ""
        self._client: httpx2.Client | None = None
        self._lock = threading.Lock()

    def open(self) -> None:
        """Be ready to post; opened twice is fine.

        Raises:
            UserError: the variable that should hold the key is not set, or holds no key.
        """
        with self._lock:
            if self._client is None:
                self._key = _read_key(self._key_env)
                self._client = self._connect()

    def close(self) -> None:
        """Let the connections go."""
        with self._lock:
            client, self._client, self._key = self._client, None, ""
        if client is not None:
            client.close()

    def post(self, body: bytes) -> Any:
        """The JSON that the server answers to a chat request.

        Raises:
            Failure: anything else.
        """
        client = self._client
        if client is None:
            raise Failure("refused", "asked after it was closed")
        try:
            status, headers, received = self._exchange(client, body)
        except httpx2.TimeoutException as error:
            raise Failure("again", self._late()) from error
        except (httpx2.ConnectError, httpx2.InvalidURL, UnicodeError) as error:
            raise Failure("unreached", f"{self.base_url}: {self.clean(str(error))}") from error
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            said = self.clean(str(error)) or type(error).__name__
            raise Failure("again", f"{self.base_url}: {said}") from error
        if status != 200:
            raise self._refusal(status, received, headers)
        try:
            return json.loads(received)
        except (ValueError, RecursionError) as error:
            shown = self.clean(received.decode("utf-8", "replace"))
            raise Failure("again", f"an answer that is no JSON: {shown!r}") from error

    def clean(self, text: str) -> str:
        """A server's words on one line, short, and without the key."""
        if self._key:
            text = text.replace(self._key, "[key]")
        return " ".join(text.split())[:200]

    def _exchange(self, client: httpx2.Client, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        end = time.monotonic() + self._timeout_s
        with client.stream("POST", f"{self.base_url}/chat/completions", content=body) as reply:
            received = bytearray()
            for piece in reply.iter_bytes():
                received += piece
                if len(received) > MAX_BODY:
                    raise Failure("again", f"an answer of more than {MAX_BODY} bytes")
                if time.monotonic() > end:  # a server that drips is late, too
                    raise Failure("again", self._late())
        return reply.status_code, reply.headers, bytes(received)

    def _late(self) -> str:
        return f"no whole answer in {self._timeout_s:g} s"

    def _refusal(self, status: int, body: bytes, headers: Mapping[str, str]) -> Failure:
        if status in _HOPELESS or 300 <= status < 400:
            # Not the server's own words: some repeat a part of the key.
            why = _HOPELESS.get(status, "it wants to be asked elsewhere")
            named = f" (from {self._key_env})" if status in (401, 403) and self._key else ""
            return Failure("hopeless", f"{self.base_url} answered {status}: {why}{named}")
        message = f"{status} {self.clean(body.decode('utf-8', 'replace'))}".strip()
        if status in _PASSING or status >= 500:
            return Failure("again", message, retry_after(headers.get("retry-after", "")))
        return Failure("refused", message)

    def _connect(self) -> httpx2.Client:
        headers = {"content-type": "application/json", "user-agent": "routerlab"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        connect_s = min(_CONNECT_S, self._timeout_s)
        limits = httpx2.Limits(
            max_connections=self._connections, max_keepalive_connections=self._connections
        )
        # A proxy that the environment names is for the world outside, not for one's own machines.
        near = _is_near(urlsplit(self.base_url).hostname or "")
        return httpx2.Client(
            headers=headers,
            timeout=httpx2.Timeout(self._timeout_s, connect=connect_s, pool=None),
            limits=limits,
            transport=httpx2.HTTPTransport(limits=limits) if near else None,
            follow_redirects=False,  # the key goes to the address given, nowhere else
        )


def _is_near(host: str) -> bool:
    """Whether a host is this machine or one of a private network.

    >>> [_is_near(host) for host in ("localhost", "::1", "10.0.0.7", "8.8.8.8", "api.org")]
    [True, True, True, False, False]
    """
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_private


def retry_after(header: str) -> float | None:
    """Seconds to wait by a Retry-After header: a number of seconds, or a date.

    >>> retry_after("7"), retry_after("soon")
    (7.0, None)
    """
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def _read_key(variable: str) -> str:
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(
            f"reasoner: the environment variable {variable}, named by api_key_env, is not set. "
            "Put the key there, or give api_key_env: '' for a server without one."
        )
    if not key.isascii() or not key.isprintable():
        raise UserError(
            f"reasoner: the environment variable {variable} holds characters that no key has. "
            "Set it again."
        )
    return key
