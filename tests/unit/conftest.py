"""Unit tests decide; they do not talk: a connection or a child process is an error here."""

import socket
import subprocess
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def no_io(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections and processes; the repository's own rules may start an interpreter."""

    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise AssertionError("a unit test does no I/O: this belongs into tests/integration")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    if request.path.name != "test_repo.py":
        monkeypatch.setattr(subprocess, "Popen", refuse)
