"""Where build steps run. Here: local processes, each with a directory and an environment of its own.

A step is given a job file and answers in the object store; what it prints is only for people. It has neither keys
nor anything left running when it ends, but it is of the operator's own user and sees its file system: docs/security.md
says what that means for models from others.
"""

import asyncio
import json
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import ValidationError

from edgewright_api.canonical import canonical_json
from edgewright_api.errors import EdgewrightError, StalledError, TransientError
from edgewright_api.reasons import Reason
from edgewright_api.report import BuilderDescription, Job
from edgewright_operator.cluster import supervise

Progress = Callable[[Mapping[str, Any]], None]
"""Told each event of a step as the builder printed it, e.g. ``{"event": "pass", "id": …, "state": "running"}``."""

_LONGEST_LINE: Final = 64 * 1024
_LAST_LINES: Final = 20
_DESCRIBE_SECONDS: Final = 60.0
_END_SECONDS: Final = 10.0
_SUPERVISOR: Final = (sys.executable, "-I", "-S", supervise.__file__)
_STALLED_STATUS: Final = 1
_TRANSIENT_STATUS: Final = 3
"""How a builder ends that refused its job; it says why in its last line."""


class Executor(Protocol):
    """Runs steps somewhere."""

    async def describe(self) -> BuilderDescription:
        """Return what the builders are: their machine and their tools.

        Raises:
            TransientError: BuilderFailed, or what the builder says.
            StalledError: what the builder says.
        """
        ...

    def place(self) -> AbstractAsyncContextManager[None]:
        """Wait for the place that a step runs in, and hold it.

        What a job holds may grow old, as its URLs do: make the job once there is a place for it.
        """
        ...

    async def run(self, job: Job, progress: Progress) -> None:
        """Run one step in a place that is held, to its end; a cancelled call ends the step, too.

        That it returns says only that the builder ended well. What it did is in its report.

        Raises:
            TransientError: BuilderFailed, when it ended otherwise or took too long; or what the builder says.
            StalledError: what the builder says.
        """
        ...


@dataclass(slots=True, kw_only=True)
class LocalExecutor:
    """Runs steps as processes of this machine, at most ``concurrency`` at once."""

    command: Sequence[str]
    """The builder's command, e.g. ``("/usr/bin/python3", "-m", "edgewright_build")``."""

    work_dir: Path
    """Where job files are written; must exist."""

    search_path: str
    """The PATH that the builder is given; the only variable of ours that it sees."""

    concurrency: int = 1
    deadline_seconds: float = 3600.0
    """After so long a step is ended."""

    _places: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._places = asyncio.Semaphore(self.concurrency)

    async def describe(self) -> BuilderDescription:
        """Ask the builder what it is."""
        lines: list[bytes] = []
        with self._directory() as directory:
            await self._run(["describe"], lines.append, _DESCRIBE_SECONDS, directory)
        try:
            return BuilderDescription.model_validate_json(b"".join(lines))
        except ValidationError as error:
            raise _failed("it does not describe itself") from error

    def place(self) -> AbstractAsyncContextManager[None]:
        """Hold one of the places."""
        return self._places

    async def run(self, job: Job, progress: Progress) -> None:
        """Run a step, forwarding its events."""
        with self._directory() as directory:
            path = Path(directory) / "job.json"
            path.write_bytes(canonical_json(job.to_wire()))
            arguments = [job.step.value.lower(), "--job", str(path)]
            await self._run(
                arguments, lambda line: _forward(line, progress), self.deadline_seconds, directory
            )

    def _directory(self) -> tempfile.TemporaryDirectory[str]:
        """Make a directory for one process; what it made undeletable there is left."""
        return tempfile.TemporaryDirectory(dir=self.work_dir, prefix="job-", ignore_cleanup_errors=True)

    async def _run(
        self, arguments: Sequence[str], told: Callable[[bytes], None], seconds: float, directory: str
    ) -> None:
        process = await asyncio.create_subprocess_exec(
            *_SUPERVISOR,
            *self.command,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=directory,
            # Nothing is inherited: our environment holds the store's keys.
            env={
                "PATH": self.search_path,
                "TMPDIR": directory,
                "LANG": "C.UTF-8",
                "PYTHONUNBUFFERED": "1",
            },
            start_new_session=True,
            limit=_LONGEST_LINE,
        )
        last: deque[bytes] = deque(maxlen=_LAST_LINES)
        last_event = b""

        def heard(line: bytes) -> None:
            nonlocal last_event
            last_event = line
            told(line)

        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(
                    _lines(process.stdout, heard), _lines(process.stderr, last.append), process.wait()
                )
        except TimeoutError as error:
            raise _failed(f"it did not end within {seconds:g} seconds") from error
        finally:
            # Also after a good end: nothing that it started may go on.
            await _end(process)
        if process.returncode != 0:
            refused = refusal(last_event, process.returncode)
            if refused is not None:
                raise refused
            words = b"".join(last).decode(errors="replace").strip()[-1024:]
            raise _failed(f"it ended with status {process.returncode}: {words or 'without a word'}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Have the supervisor end the step with all that it started; it has done so when it ended by itself."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:  # the step may have stopped its supervisor
        process.kill()
        await process.wait()


async def _lines(stream: asyncio.StreamReader | None, told: Callable[[bytes], None]) -> None:
    """Tell each line until the stream ends; a line beyond the limit is dropped, not kept in memory."""
    if stream is None:
        return
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            continue
        if not line:
            return
        told(line)


def _forward(line: bytes, progress: Progress) -> None:
    """Pass on an event; whatever else a tool prints is nobody's business."""
    try:
        event = json.loads(line)
    except ValueError:
        return
    if isinstance(event, dict):
        progress(event)


def refusal(line: bytes, status: int | None) -> EdgewrightError | None:
    """Return why a builder refused its job, by its last line and how it ended; None if that is no refusal.

    A mismatch of tools or machines is no fault of what is built: it goes when plan and builder are of one kind.
    """
    try:
        event = json.loads(line)
        reason = Reason(event["reason"])
        what, remedy = (str(event[name])[:1024] for name in ("message", "remedy"))
    except (ValueError, KeyError, TypeError):
        return None
    if event.get("event") != "refused" or status not in (_STALLED_STATUS, _TRANSIENT_STATUS):
        return None
    lasting = status == _STALLED_STATUS and reason is not Reason.TOOLCHAIN_MISMATCH
    return (StalledError if lasting else TransientError)(reason, what, remedy=remedy)


def _failed(what: str) -> TransientError:
    return TransientError(
        Reason.BUILDER_FAILED, f"the builder failed: {what}", remedy="It is tried again with a growing delay"
    )
