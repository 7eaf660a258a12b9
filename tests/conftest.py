"""What every test shares: one thread, no network, and an environment that is put back."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Set before anything imports torch or a tokenizer.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
# What a test asserts is never how fast a busy machine is.
settings.register_profile("routerlab", deadline=None)
settings.load_profile("routerlab")

_CONNECT = socket.socket.connect


def _refuse(self: socket.socket, address: object) -> None:
    """Local sockets (process pools, two ranks on one machine) may connect, nothing else."""
    host = address[0] if isinstance(address, tuple) else "local"
    if host not in ("local", "localhost", "127.0.0.1", "::1"):
        raise AssertionError(f"a test tried to reach {address}")
    _CONNECT(self, address)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", _refuse)


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    """Lightning leaves its seed in the environment, and later tests would read it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
