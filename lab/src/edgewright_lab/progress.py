"""Progress lines: one line per step, with the seconds since the lab's start."""

import sys
import time
from collections.abc import Callable

Report = Callable[[str], None]
"""Takes one line for a person, without a newline."""


def silent(_line: str) -> None:
    """Report nothing: tests read logs, not progress."""


def to_stderr() -> Report:
    """Return a reporter that prints each line to stderr behind the seconds since this call."""
    start = time.monotonic()

    def report(line: str) -> None:
        print(f"[{time.monotonic() - start:6.1f} s] {line}", file=sys.stderr, flush=True)

    return report
