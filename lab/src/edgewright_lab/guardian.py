"""The process between a lab and all that it starts: when the lab dies, however it dies, that dies too.

It is a program of its own (``python -m edgewright_lab.guardian``, requests as JSON lines on the socket that
is its standard input) for three reasons:

* It forks, so it must have one thread only: code between fork and exec may deadlock on another thread's
  lock, and PR_SET_PDEATHSIG fires when the *thread* that forked ends, not its process.
* It is a subreaper: what a child leaves behind (a build step of a killed operator) becomes its child.
* A socket's end of file is the one sign of a lab's death that a SIGKILL cannot suppress. The children also
  die with the guardian, by PR_SET_PDEATHSIG.

Requests and answers, each with a number of the lab's choice as ``id``:

    {"start": argv, "env": {…}, "cwd": path, "log": path}  → {"pid": n}
    {"signal": number, "pid": n, "group": bool}            → {"sent": bool}
    {"poll": [pid, …]}                                     → {"ended": {pid: status, negative for a signal}}
"""

import ctypes
import json
import os
import select
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Serve requests until the lab's end of the socket is closed, then kill every descendant."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # Ctrl-C and a closed terminal are the lab's business: it stops things in order, then closes the socket.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    guardian = Guardian(socket.socket(fileno=os.dup(0)))
    guardian.serve()
    kill_descendants()
    for path in guardian.remove:
        delete(path)


class Guardian:
    """Starts, signals and reaps; holds no state but exit statuses and what is to be deleted at the end."""

    def __init__(self, lab: socket.socket) -> None:
        self._lab = lab
        self._alive: set[int] = set()
        self._ended: dict[int, int] = {}
        self.remove: list[Path] = []

    def serve(self) -> None:
        """Answer requests one by one until end of file."""
        requests = self._lab.makefile("rb")
        while True:
            # A line is read whole: the lab writes one request and waits for its answer.
            readable, _, _ = select.select([self._lab], [], [], 0.5)
            self._reap()
            if not readable:
                continue
            line = requests.readline()
            if not line:
                return
            request = json.loads(line)
            answer = self._answer(request) | {"id": request["id"]}
            self._lab.sendall(json.dumps(answer).encode() + b"\n")

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "start" in request:
            pid = _start(request["start"], request["env"], request["cwd"], request["log"])
            self._alive.add(pid)
            return {"pid": pid}
        if "signal" in request:
            return {"sent": self._send(request["pid"], request["signal"], group=request["group"])}
        if "remove" in request:
            self.remove.append(Path(request["remove"]))
            return {}
        return {"ended": {pid: self._ended[pid] for pid in request["poll"] if pid in self._ended}}

    def _send(self, pid: int, number: int, *, group: bool) -> bool:
        # A child that is not reaped keeps its pid, and its group is named after it: neither can be a stranger's.
        # Just after the fork the child has no group of its own yet, so it is signalled by its pid too.
        reached = False
        if pid in self._alive:
            os.kill(pid, number)
            reached = True
        if group:
            try:
                os.killpg(pid, number)
                reached = True
            except ProcessLookupError:
                pass
        return reached

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._alive:  # else a process that one of our children left behind
                self._alive.remove(pid)
                self._ended[pid] = os.waitstatus_to_exitcode(status)


def _start(argv: list[str], env: dict[str, str], cwd: str, log: str) -> int:
    guardian = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(argv, env, cwd, log, guardian)
    return pid


def _become(argv: list[str], env: dict[str, str], cwd: str, log: str, guardian: int) -> NoReturn:
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guardian:  # it died before prctl
            os._exit(127)
        for inherited in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(inherited, signal.SIG_DFL)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(cwd)
        os.execvpe(argv[0], argv, env)
    except BaseException as e:
        os.write(2, f"cannot start {argv[0]}: {e}\n".encode())
    finally:
        os._exit(127)


def kill_descendants() -> None:
    """Kill this process's children until there are none: each death hands us the orphans it leaves."""
    while True:
        for pid in _children():
            os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def delete(path: Path) -> None:
    """Delete a file, or a directory with all that is in it; what is gone already is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _children() -> list[int]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in listed.read_text().split()]


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option})")


if __name__ == "__main__":
    main()
