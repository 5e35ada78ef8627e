"""Whatever a lab starts ends with it, however it ends, and says why when it ends too early."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgewright_lab.errors import LabError
from edgewright_lab.keeper import Keeper
from edgewright_lab.processes import Command, Process, Processes
from edgewright_lab.progress import silent

FAMILY = """
import os, pathlib, subprocess, time
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
pathlib.Path("pids").write_text(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""
"""A process whose child has left its process group and session, as a build step may."""

SUPERVISOR = """
import sys, time
from pathlib import Path
from edgewright_lab.processes import Command, Processes
directory = Path(sys.argv[1])
processes = Processes(directory)
processes.remove_at_end(directory / "scratch")
(directory / "scratch").mkdir()
argv = [sys.executable, "-c", sys.argv[2]]
processes.start(Command(name="family", argv=argv, directory=directory, env={}))
time.sleep(600)
"""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    started = Processes(tmp_path)
    yield started
    started.close()


def command(directory: Path, program: str, *, grace_seconds: float = 5.0) -> Command:
    argv = [sys.executable, "-c", program]
    return Command(name="part", argv=argv, directory=directory, env={}, grace_seconds=grace_seconds)


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def family_of(directory: Path) -> list[int]:
    """Return the pids of a FAMILY that was started in ``directory``, once it has written them."""
    pids = directory / "pids"
    assert eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    return [int(pid) for pid in pids.read_text().split()]


def test_closing_ends_everything_down_to_the_last_grandchild(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    processes.start(command(tmp_path, FAMILY))
    family = family_of(tmp_path)
    processes.close()
    assert [pid for pid in family if is_alive(pid)] == []


def test_a_supervisor_that_is_killed_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(tmp_path), FAMILY])
    family = family_of(tmp_path)
    supervisor.kill()
    supervisor.wait()
    assert eventually(lambda: not any(is_alive(pid) for pid in family))
    assert eventually(lambda: not (tmp_path / "scratch").exists())


def test_children_die_with_the_guardian(tmp_path: Path, processes: Processes) -> None:
    process = processes.start(command(tmp_path, "import time; time.sleep(600)"))
    os.kill(processes.guardian_pid, signal.SIGKILL)
    assert eventually(lambda: not is_alive(process.pid))
    with pytest.raises(LabError, match="guardian process is gone"):
        process.returncode()


def test_an_early_end_shows_the_end_of_the_log(tmp_path: Path, processes: Processes) -> None:
    process = processes.start(command(tmp_path, "import sys; print('out of cheese'); sys.exit(3)"))
    with pytest.raises(LabError, match="part ended with status 3:\nout of cheese"):
        process.wait_ready(lambda: False, timeout=10)


def test_a_command_that_does_not_exist_says_so(tmp_path: Path, processes: Processes) -> None:
    process = processes.start(Command(name="part", argv=["/no/such/command"], directory=tmp_path, env={}))
    with pytest.raises(LabError, match=r"cannot start /no/such/command: .*No such file"):
        process.wait_ready(lambda: False, timeout=10)


def test_one_that_ignores_sigterm_is_killed_after_the_grace_time(
    tmp_path: Path, processes: Processes
) -> None:
    stubborn = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    process = processes.start(command(tmp_path, stubborn, grace_seconds=0.3))
    process.wait_ready(lambda: "up" in process.log_tail(), timeout=10)
    process.stop()
    assert process.returncode() == -signal.SIGKILL


def test_no_variable_of_the_lab_reaches_a_child(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/an/administrators")
    program = "import os; print(sorted(os.environ))"
    process = processes.start(command(tmp_path, program))
    assert process.wait(timeout=10) == 0
    assert "KUBECONFIG" not in process.log_tail()
    assert "PATH" in process.log_tail()


class TestKeeper:
    """What dies is started again, unless it is held."""

    @pytest.fixture
    def kept_process(self, tmp_path: Path, processes: Processes) -> Process:
        return processes.start(command(tmp_path, "import time; time.sleep(600)"))

    @pytest.fixture
    def keeper(self) -> Iterator[Keeper]:
        keeper = Keeper(silent)
        keeper.start()
        yield keeper
        keeper.stop()

    def test_a_killed_process_comes_back(self, keeper: Keeper, kept_process: Process) -> None:
        kept = keeper.keep(kept_process)
        first = kept.pid
        kept.kill()
        assert eventually(lambda: kept.pid != first and is_alive(kept.pid))
        assert kept.restarts == 1

    def test_a_held_process_stays_down_until_it_is_released(
        self, keeper: Keeper, kept_process: Process
    ) -> None:
        kept = keeper.keep(kept_process)
        kept.hold(kill=True)
        time.sleep(1.5)  # three times the delay after which it would have come back
        assert kept.restarts == 0
        assert not is_alive(kept.pid)
        kept.release()
        assert is_alive(kept.pid)

    def test_a_chore_that_fails_is_tried_again(self, keeper: Keeper) -> None:
        tried: list[int] = []

        def chore() -> None:
            tried.append(1)
            raise LabError("not now")

        keeper.every(0.01, chore)
        assert eventually(lambda: len(tried) > 2)
