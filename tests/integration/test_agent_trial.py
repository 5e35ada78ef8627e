"""The one-shot trial as a real process: what a hostile model finds there, and what is left of it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgewright_node.agent import confine, trial
from edgewright_node.agent.situation import ProcessResult
from edgewright_node.reasons import Reason
from support.artifact_builders import lay_out, make_artifact

AT = "2026-11-25T12:00:00Z"
PATH = {"PATH": os.defpath}

SPY = """
import json, os, pathlib, resource, sys
seen = {"env": sorted(os.environ), "session": os.getsid(0) == os.getpid()}
for name in ("CORE", "AS", "NOFILE"):
    seen[name] = resource.getrlimit(getattr(resource, "RLIMIT_" + name))
pathlib.Path(sys.argv[1]).write_text(json.dumps(seen))
print(json.dumps({"state": "Passed"}))
"""

LEAVES_A_CHILD = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""


async def run(command: tuple[str, ...], slot: Path, seconds: float = 30.0) -> ProcessResult:
    return await trial.run(command, slot, seconds=seconds, at=AT, environment=PATH)


async def test_a_real_artifact_passes_within_the_limits(tmp_path: Path) -> None:
    lay_out(tmp_path / "slot-a", make_artifact())
    command = (sys.executable, "-I", "-m", "edgewright_node", "trial")
    assert await run(command, tmp_path / "slot-a") == ProcessResult(True, AT)


async def test_nothing_of_the_agent_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_AGENT_API_TOKEN", "secret")
    answer = tmp_path / "answer.json"
    assert (await run((sys.executable, "-c", SPY, str(answer)), tmp_path)).passed
    seen = json.loads(answer.read_text())
    assert set(seen["env"]) <= {"PATH", "LC_CTYPE"}  # Python itself sets LC_CTYPE in the C locale
    assert seen["session"]
    assert seen["CORE"] == [0, 0]
    assert max(seen["NOFILE"]) <= confine.MAX_FILES
    assert min(seen["AS"]) > 0
    assert seen["AS"][0] == seen["AS"][1]


@asynccontextmanager
async def child_of_a_trial(tmp_path: Path, seconds: float) -> AsyncIterator[asyncio.Task[ProcessResult]]:
    """Run a trial that starts a child and hangs; at the end the child must be dead."""
    written = tmp_path / "pid"
    command = (sys.executable, "-c", LEAVES_A_CHILD, str(written))
    running = asyncio.create_task(run(command, tmp_path, seconds))
    async with asyncio.timeout(20):
        while not (written.exists() and written.read_text()):
            await asyncio.sleep(0.01)
        yield running
        while _lives(int(written.read_text())):
            await asyncio.sleep(0.01)


async def test_a_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    async with child_of_a_trial(tmp_path, seconds=3.0) as running:
        assert (await running).reason == Reason.TRIAL_TIMEOUT


async def test_a_cancelled_trial_leaves_nothing(tmp_path: Path) -> None:
    async with child_of_a_trial(tmp_path, seconds=60.0) as running:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_a_flood_is_cut(tmp_path: Path) -> None:
    flood = "import sys; sys.stdout.write('x' * (1 << 24)); print(); print('{\"state\":\"Passed\"}')"
    assert (await run((sys.executable, "-c", flood), tmp_path)).passed


async def test_what_cannot_be_started_is_not_the_models_fault(tmp_path: Path) -> None:
    got = await run(("/no/such/program",), tmp_path)
    assert (got.passed, got.reason) == (False, Reason.TRIAL_UNAVAILABLE)
    assert "No such file" in got.message


def test_a_small_machine_still_loads_a_runtime() -> None:
    small, large = confine.limits(1 << 30), confine.limits(64 << 30)
    assert {min(small.values()), max(small.values())} == {0, confine.MIN_ADDRESS_SPACE}
    assert max(large.values()) == 64 << 30


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
