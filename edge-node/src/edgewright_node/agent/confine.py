"""Limit this process, then become another program: ``python -m edgewright_node.agent.confine COMMAND…``.

A process of its own, and not code between fork and exec: the agent has threads, and Python that runs in
a forked child of such a process may wait for ever for a lock that nobody holds any more.
"""

import os
import resource
import sys
from collections.abc import Sequence
from typing import Final

MIN_ADDRESS_SPACE: Final = 4 << 30
"""Bytes that every trial gets: a runtime reserves far more than it touches."""

MAX_FILES: Final = 256

EXIT_UNAVAILABLE: Final = 127
"""As shells say it: the program cannot be started."""


def limits(memory: int) -> dict[int, int]:
    """Return the resource limits on a machine with ``memory`` bytes. PURE.

    No core file, as it would hold the model; no more memory than there is, so that a graph that asks for
    it fails by itself and not by the kernel's choice of a victim.
    """
    return {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: MAX_FILES,
        resource.RLIMIT_AS: max(memory, MIN_ADDRESS_SPACE),
    }


def main(command: Sequence[str]) -> int:
    """Become ``command``; returns only where it cannot be started."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for kind, value in limits(memory).items():
        hard = resource.getrlimit(kind)[1]
        lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (lower, lower))
    try:
        os.execvp(command[0], list(command))  # noqa: S606 - no shell on purpose
    except OSError as e:
        sys.stderr.write(f"{command[0]}: {e.strerror}\n")
    return EXIT_UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
