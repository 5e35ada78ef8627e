"""How Kopf runs: settings that write nothing to anybody's objects, and a thread of its own.

In a thread Kopf leaves signals and our tasks alone: in ours it would replace the signal handlers and, at its end,
cancel every task that was made after its start.
"""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Final

import kopf

from edgewright_operator.cluster.client import Connection
from edgewright_operator.handlers.events import Deliver, registry

_RETRY_SECONDS: Final = 2.0


class _Constant:
    """The same delay for ever: growing ones would leave the operator blind after an outage."""

    def __iter__(self) -> Iterator[float]:
        return itertools.repeat(_RETRY_SECONDS)


class _NoDiffBase(kopf.DiffBaseStorage):
    """Keeps nothing, and spares three deep copies of the object per event."""

    def build(self, *, body: Any, extra_fields: Iterable[Any] | None = None) -> Any:
        return {}

    def fetch(self, *, body: Any) -> Any:
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        return None


def settings() -> kopf.OperatorSettings:
    """Return Kopf's settings."""
    out = kopf.OperatorSettings()
    out.posting.enabled = False
    out.watching.chunk_size = 500
    out.networking.error_backoffs = _Constant()
    out.queueing.error_delays = _Constant()
    out.persistence.diffbase_storage = _NoDiffBase()
    return out


async def run(connection: Connection, deliver: Deliver, now: Callable[[], datetime]) -> None:
    """Run Kopf in a thread until this task is cancelled.

    Raises:
        RuntimeError: Kopf ended by itself; without its events the operator is blind.
    """
    stop = threading.Event()
    loop = asyncio.get_running_loop()

    def hand_over(kind: Any, obj: Any, deleted: bool) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, kind, obj, deleted)

    def operate() -> None:
        asyncio.run(
            kopf.operator(
                registry=registry(connection, hand_over, now),
                settings=settings(),
                clusterwide=True,
                standalone=True,
                stop_flag=stop,
            )
        )

    thread = asyncio.create_task(asyncio.to_thread(operate))
    try:
        await asyncio.shield(thread)
    finally:
        stop.set()
        await asyncio.wait([thread])
    raise RuntimeError("Kopf has ended")
