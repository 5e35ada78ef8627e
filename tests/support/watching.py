"""Everything that happens to some kinds of a cluster, as its watches tell it."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright_lab.kube import Kubectl

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Watched:
    """Files that fill while watches run, one for each kind."""

    files: tuple[Path, ...]

    def events(self) -> list[Event]:
        """Return every event so far, ``{"type": …, "object": …}`` with managed fields, kind by kind."""
        return [event for path in self.files for event in _documents(path.read_text())]


@contextmanager
def watching(kubectl: Kubectl, kinds: Sequence[str], directory: Path) -> Iterator[Watched]:
    """Watch ``kinds`` in all namespaces, what exists already included."""
    watched = Watched(tuple(directory / f"{kind}.json" for kind in kinds))
    options = [
        "--all-namespaces",
        "--watch",
        "--output-watch-events",
        "--output=json",
        "--show-managed-fields",
    ]
    command = [
        str(kubectl.binary),
        f"--kubeconfig={kubectl.kubeconfig}",
        f"--cache-dir={kubectl.cache}",
        "get",
    ]
    started = []
    try:
        for kind, path in zip(kinds, watched.files, strict=True):
            with path.open("wb") as out:
                started.append(subprocess.Popen([*command, kind, *options], stdout=out))
        yield watched
        assert [process.poll() for process in started] == [None] * len(started), "a watch broke off"
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(10)


def _documents(text: str) -> Iterator[Event]:
    """Yield the whole documents of a file that is still being written."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        try:
            document, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            return
        yield document
        at = end + 1  # the newline behind it
