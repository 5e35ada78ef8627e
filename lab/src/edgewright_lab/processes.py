"""Starting, watching and ending the lab's processes, all of them through its guardian."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright_lab.errors import LabError

_TAIL_BYTES = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run, and where."""

    name: str
    """Unique in a lab; the log file is named after it."""

    argv: Sequence[str]
    directory: Path
    env: Mapping[str, str]
    """The environment, but for PATH, HOME, LANG and the like: secrets reach only whom they are for."""

    grace_seconds: float = 5.0
    """How long it may take to end after SIGTERM; 0 kills at once."""


class Processes:
    """The processes of one lab. Safe to use from several threads.

    Every child has a session of its own, and ends when this object is closed or this Python process dies.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._lock = threading.Lock()
        self._asked = 0
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._answers = ours.makefile("rb")
        with theirs:
            # A session of its own, so that Ctrl-C reaches the lab only, which then stops things in order.
            self._guardian = subprocess.Popen(
                [sys.executable, "-m", "edgewright_lab.guardian"],
                stdin=theirs.fileno(),
                start_new_session=True,
            )

    def start(self, command: Command) -> "Process":
        """Start ``command``; its output is appended to its log.

        Raises:
            LabError: the guardian is gone.
        """
        process = Process(self, command, self._logs / f"{command.name}.log")
        process.restart()
        return process

    def remove_at_end(self, path: Path) -> None:
        """Have ``path`` deleted after the last process has ended, however this object or its process ends."""
        self.ask(remove=str(path))

    def close(self) -> None:
        """Kill what still runs, with all that it started, and wait until it is gone."""
        with self._lock:
            self._answers.close()
            self._socket.close()
        self._guardian.wait()

    @property
    def guardian_pid(self) -> int:
        """The process that holds all others."""
        return self._guardian.pid

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request to the guardian and return its answer (see ``guardian``).

        Raises:
            LabError: the guardian is gone.
        """
        with self._lock:
            self._asked += 1
            try:
                self._socket.sendall(json.dumps(request | {"id": self._asked}).encode() + b"\n")
                # A caller that a signal interrupted has left its answer behind.
                while (answer := self._answer())["id"] != self._asked:
                    pass
            except (OSError, ValueError):
                raise LabError("the lab's guardian process is gone") from None
        return answer

    def _answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._answers.readline())  # ValueError at end of file
        return answer


class Process:
    """One process, which may be ended and started again under the same name."""

    def __init__(self, processes: Processes, command: Command, log: Path) -> None:
        self._processes = processes
        self.command = command
        self.log = log
        self.pid = 0
        """Of the newest start."""

    @property
    def name(self) -> str:
        return self.command.name

    def returncode(self) -> int | None:
        """Return the exit status (negative: the signal that ended it), or None while it runs."""
        ended: dict[str, int] = self._processes.ask(poll=[self.pid])["ended"]
        return ended.get(str(self.pid))

    def restart(self) -> None:
        """Start it (again). The caller has seen it end, or never started it."""
        command = self.command
        command.directory.mkdir(parents=True, exist_ok=True)
        env = _inherited(os.environ) | dict(command.env)
        answer = self._processes.ask(
            start=list(command.argv), env=env, cwd=str(command.directory), log=str(self.log)
        )
        self.pid = int(answer["pid"])

    def send(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to it, or to its whole process group; nothing happens when it has ended."""
        self._processes.ask(signal=int(number), pid=self.pid, group=group)

    def kill(self) -> None:
        """SIGKILL it and its process group, and wait until it is gone."""
        self.send(signal.SIGKILL, group=True)
        self.wait(timeout=10.0)

    def stop(self) -> None:
        """SIGTERM it, and SIGKILL what is left of its group after the grace time."""
        if self.command.grace_seconds > 0 and self.returncode() is None:
            self.send(signal.SIGTERM)
            self._ends_within(self.command.grace_seconds)
        self.kill()

    def wait(self, timeout: float) -> int:
        """Return its exit status.

        Raises:
            LabError: it still runs after ``timeout`` seconds.
        """
        status = self._ends_within(timeout)
        if status is None:
            raise LabError(f"{self.name} (pid {self.pid}) still runs after {timeout:g} s")
        return status

    def wait_ready(self, is_ready: Callable[[], bool], *, timeout: float) -> None:
        """Wait until ``is_ready`` holds.

        Raises:
            LabError: it ended, or ``timeout`` seconds passed; the message ends with its log's tail.
        """
        deadline = time.monotonic() + timeout
        while not is_ready():
            if (status := self.returncode()) is not None:
                raise LabError(f"{self.name} ended with status {status}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} is not ready after {timeout:g} s:\n{self.log_tail()}")
            time.sleep(0.05)

    def log_tail(self) -> str:
        """Return the last 3,000 bytes of its log."""
        if not self.log.exists():
            return "(no log)"
        return self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")

    def _ends_within(self, seconds: float) -> int | None:
        deadline = time.monotonic() + seconds
        while (status := self.returncode()) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return status


def _inherited(env: Mapping[str, str]) -> dict[str, str]:
    """Return what every child gets of the lab's own environment: nothing that configures or authorises."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "USER", "LOGNAME")
    return {name: env[name] for name in kept if name in env}
