"""The parent of one build step: runs a command, and ends with it whatever it left behind.

A program of its own (run by path, standard library only), since a process of ours is the only one that inherits
what a step put into a session of its own. It ends the same way when it is told to (SIGTERM) and when the operator
that started it dies.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final, NoReturn

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def main(command: list[str]) -> int:
    """Run ``command`` and return its status, 128 and the signal's number when a signal ended it."""
    operator = os.getppid()
    signal.signal(signal.SIGTERM, _stop)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != operator:  # it died before prctl
        return 128 + signal.SIGTERM
    try:
        code = subprocess.Popen(command, start_new_session=True).wait()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_descendants()
    return code if code >= 0 else 128 - code


def undumpable() -> None:
    """Close this process's memory and environment to others of the same user, its own children among them."""
    _prctl(_PR_SET_DUMPABLE, 0)


def _stop(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _end_descendants() -> None:
    """Kill children until there are none: each death hands us the orphans that it leaves."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    while True:
        for pid in listed.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option})")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
