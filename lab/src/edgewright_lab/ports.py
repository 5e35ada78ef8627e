"""Free TCP ports on 127.0.0.1, below the range from which the kernel serves outgoing connections."""

import random
import socket
from collections.abc import Sequence

from edgewright_lab.errors import LabError

_SINGLE = range(22_000, 32_000)
_PAIRED = range(12_000, 22_000)
PAIR_DISTANCE = 10_000
"""SeaweedFS listens for gRPC on the port of HTTP plus this."""


def free_ports(count: int) -> tuple[int, ...]:
    """Return ``count`` different ports that were free a moment ago.

    They are drawn at random, so that two labs that start together seldom draw the same one. Who binds one later
    may still lose the race, and then draws again.
    """
    return _draw(_SINGLE, count, (0,))


def free_paired_ports(count: int) -> tuple[int, ...]:
    """Return ``count`` ports free together with the port 10,000 above (SeaweedFS puts gRPC there)."""
    return _draw(_PAIRED, count, (0, PAIR_DISTANCE))


def _draw(among: range, count: int, offsets: Sequence[int]) -> tuple[int, ...]:
    found: list[int] = []
    for port in random.sample(among, len(among)):
        if all(_is_free(port + offset) for offset in offsets):
            found.append(port)
        if len(found) == count:
            return tuple(found)
    raise LabError(f"fewer than {count} ports of {among.start} to {among.stop - 1} are free on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
