"""The one-shot self-test, for a node on which no server lives: the agent has no ML runtime itself."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from edgewright_node.agent.situation import ProcessResult
from edgewright_node.reasons import Reason
from edgewright_node.slots import TrialState

_MAX_ANSWER: Final = 1 << 16
_CONFINED: Final = (sys.executable, "-I", "-m", "edgewright_node.agent.confine")


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    """The last line that ``edgewright-node trial`` prints."""

    state: TrialState
    reason: str | None = None
    message: str | None = None


async def run(
    command: Sequence[str], slot: Path, *, seconds: float, at: str, environment: Mapping[str, str]
) -> ProcessResult:
    """Test ``slot`` in a process of its own, which may be in the hands of a hostile model.

    It gets limits, a session of its own and nothing of the agent's environment. Whatever it started is
    killed with it, however it ends.

    Args:
        command: The words before ``--slot``.
        seconds: After these the process is killed and the answer is a timeout.
        at: RFC 3339, the time that a proof carries.
        environment: All that the process gets to see; the path of programs is enough.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *(*_CONFINED, *command, "--slot", str(slot)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as e:
        return ProcessResult(False, at, Reason.TRIAL_UNAVAILABLE, f"{_CONFINED[0]}: {e.strerror}")
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(seconds):
            out, err = await asyncio.gather(_tail(process.stdout), _tail(process.stderr))
            status = await process.wait()
    except TimeoutError:
        return ProcessResult(False, at, Reason.TRIAL_TIMEOUT, f"no answer within {seconds:g} s")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return judge(status, out, err, at)


async def _tail(stream: asyncio.StreamReader) -> bytes:
    """Read to the end and keep the last bytes: who prints without end must not fill the agent's memory."""
    kept = b""
    while piece := await stream.read(_MAX_ANSWER):
        kept = (kept + piece)[-_MAX_ANSWER:]
    return kept


def judge(status: int, out: bytes, err: bytes, at: str) -> ProcessResult:
    """Read the answer; exit status alone is never trusted."""
    lines = out.strip().splitlines()
    try:
        answer = msgspec.json.decode(lines[-1] if lines else b"", type=_Answer)
    except msgspec.DecodeError:
        tail = (err or out).decode(errors="replace").strip()[-500:]
        crashed = f"it ended with status {status} and no answer: {tail}"
        # A signal came from the model; an ordinary exit without an answer is a broken installation.
        reason = Reason.TRIAL_CRASHED if status < 0 else Reason.TRIAL_UNAVAILABLE
        return ProcessResult(False, at, reason, crashed)
    if answer.state is TrialState.PASSED and status == 0:
        return ProcessResult(True, at)
    return ProcessResult(False, at, answer.reason or Reason.TRIAL_CRASHED, answer.message or "")
