"""The one-shot self-test, for a node on which no server lives: the agent has no ML runtime itself."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from edgewright_node.agent.situation import ProcessResult
from edgewright_node.reasons import Reason
from edgewright_node.slots import TrialState

_MAX_ANSWER: Final = 1 << 16


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    """The last line that ``edgewright-node trial`` prints."""

    state: TrialState
    reason: str | None = None
    message: str | None = None


async def run(command: Sequence[str], slot: Path, *, seconds: float, at: str) -> ProcessResult:
    """Test ``slot`` in a process of its own.

    Args:
        command: The words before ``--slot``.
        seconds: After these the process is killed and the answer is a timeout.
        at: RFC 3339, the time that a proof carries.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            "--slot",
            str(slot),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as e:
        return ProcessResult(False, at, Reason.TRIAL_UNAVAILABLE, f"{command[0]}: {e.strerror}")
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate()
    except TimeoutError:
        return ProcessResult(False, at, Reason.TRIAL_TIMEOUT, f"no answer within {seconds:g} s")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return judge(process.returncode or 0, out[-_MAX_ANSWER:], err[-_MAX_ANSWER:], at)


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
