"""Labs under a name, so that another process can ask after one and end it."""

import fcntl
import json
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright_lab.errors import LabError
from edgewright_lab.files import replace
from edgewright_lab.guardian import delete

_STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Instance:
    """The name of a lab of this user, whether it runs or not.

    Whoever runs it holds a lock on a file that also has its pid. The kernel drops the lock however its holder
    ends, so what the lock says is never stale, as a pid alone would be.
    """

    home: Path

    @classmethod
    def named(cls, cache: Path, name: str) -> "Instance":
        """Return the instance of this name.

        Raises:
            LabError: ``name`` is no file name of lower-case letters, digits and dashes.
        """
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name):
            raise LabError(f"{name!r} names no lab: lower-case letters, digits and dashes, 31 at most")
        return cls(cache / "labs" / name)

    @classmethod
    def all(cls, cache: Path) -> "list[Instance]":
        """Return every instance that was ever started, by name."""
        return [cls(home) for home in sorted((cache / "labs").glob("*")) if home.is_dir()]

    @property
    def name(self) -> str:
        return self.home.name

    @property
    def directory(self) -> Path:
        """Of the running lab's data; there is none when it does not run."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """What a detached lab prints."""
        return self.home / "lab.log"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the one who runs it.

        Raises:
            LabError: somebody else is.
        """
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._lock.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LabError(
                    f"a lab named {self.name} runs already: end it, or give another --name"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            self._forget()
            try:
                yield
            finally:
                self._forget()

    def publish(self, facts: Mapping[str, Any]) -> None:
        """Tell others that it is ready, and where its parts are."""
        replace(self._facts, json.dumps(facts, indent=1) + "\n")

    def facts(self) -> dict[str, Any] | None:
        """Return what its holder published, or None while it is not ready."""
        if not self.runs():
            return None
        try:
            found: dict[str, Any] = json.loads(self._facts.read_text())
        except FileNotFoundError:
            return None
        return found

    def runs(self) -> bool:
        """Return whether somebody holds it."""
        try:
            with self._lock.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def stop(self) -> bool:
        """End it as Ctrl-C would, by SIGKILL after a minute; return whether it ran.

        What a killed holder left on the disk is deleted too.
        """
        ran = self.runs()
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._send(number)
            deadline = time.monotonic() + _STOP_SECONDS
            while self.runs() and time.monotonic() < deadline:
                time.sleep(0.05)
        self._forget()
        return ran

    def _send(self, number: signal.Signals) -> None:
        if self.runs() and (pid := self._lock.read_text()):
            try:
                os.kill(int(pid), number)
            except ProcessLookupError:
                return

    def _forget(self) -> None:
        self._facts.unlink(missing_ok=True)
        delete(self.directory)

    @property
    def _lock(self) -> Path:
        return self.home / "lock"

    @property
    def _facts(self) -> Path:
        return self.home / "lab.json"
