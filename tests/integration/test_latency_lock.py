"""One measurement at a time on a machine: the lock, held by a real process."""

import fcntl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgewright_api.errors import TransientError
from edgewright_api.reasons import Reason
from edgewright_build.evaluators.latency import alone
from edgewright_build.pipeline import failure_of

HOLDER = "import fcntl,sys,time; f=open(sys.argv[1],'w'); fcntl.flock(f,2); print('held',flush=True); time.sleep(60)"


def test_who_waits_too_long_fails_for_now_and_who_waits_enough_goes_on(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with (
                pytest.raises(TransientError, match="another measurement") as caught,
                alone(lock, time.perf_counter, seconds=0.3),
            ):
                pytest.fail("both measure")
            assert caught.value.reason is Reason.BUILDER_FAILED
            assert not failure_of(caught.value).deterministic
        finally:
            holder.kill()
    with alone(lock, time.perf_counter, seconds=10), lock.open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with alone(lock, time.perf_counter, seconds=0):
        pass


@pytest.mark.parametrize("kind", ["link", "no-directory"])
def test_a_lock_that_can_not_be_opened_fails_for_now(tmp_path: Path, kind: str) -> None:
    lock = tmp_path / kind / "lock"
    if kind == "link":
        lock.parent.mkdir()
        lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TransientError), alone(lock, time.perf_counter):
        pytest.fail("measured without a lock")
    assert not (tmp_path / "elsewhere").exists()
