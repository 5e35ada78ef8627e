"""The cache outside the repository: entries are complete or absent, and made by one process at a time."""

import fcntl
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgewright_lab.progress import Report

_GO_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def architecture() -> str:
    """Return this machine's architecture under Go's name, e.g. ``amd64``."""
    machine = platform.machine().lower()
    return _GO_ARCHITECTURES.get(machine, machine)


@dataclass(frozen=True, slots=True)
class Cache:
    """A directory of versioned entries, shared by every lab of this user."""

    root: Path
    """Usually ``~/.cache/edgewright``."""

    def entry(self, kind: str, name: str) -> Path:
        """Return the path of an entry, whether it exists or not; existing means complete."""
        return self.root / kind / name

    def make(self, kind: str, name: str, fill: Callable[[Path], None], report: Report) -> Path:
        """Return the entry, calling ``fill`` with an empty directory when it does not exist yet.

        The directory is renamed into place after ``fill`` returned, so a crash leaves no half an entry, and a
        file lock keeps a second lab from doing the same work: it waits and then finds the entry.
        """
        entry = self.entry(kind, name)
        if entry.is_dir():
            return entry
        entry.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(f"{kind}-{name}", report):
            if entry.is_dir():
                return entry
            scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=entry.parent))
            try:
                fill(scratch)
                scratch.chmod(0o755)
                scratch.rename(entry)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return entry

    @contextmanager
    def _locked(self, name: str, report: Report) -> Iterator[None]:
        with (self.root / f".{name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report(f"{name}: another lab is making it; waiting")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
