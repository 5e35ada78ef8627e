"""The server's life: listen, follow the directory, drain on a signal."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final

from edgewright_node.serving.api import Api
from edgewright_node.serving.dataplane import DataPlane
from edgewright_node.serving.http import Connection, Hub, Limits
from edgewright_node.serving.loader import Loader
from edgewright_node.serving.metrics import HttpStats
from edgewright_node.serving.settings import ServerSettings

LOG = logging.getLogger(__name__)

_LINGER_SECONDS: Final = 0.1
"""Requests that were on their way when the signal came are answered for so long before idle connections
are closed."""


async def serve(
    settings: ServerSettings,
    *,
    clock: Callable[[], float],
    now: Callable[[], datetime],
    started: Callable[[int | None], None],
    limits: Limits | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is in flight.

    Args:
        settings: Where to listen and what to serve.
        clock: Monotonic seconds.
        now: The time of day, with its zone.
        started: Called once when it listens, with the TCP port if there is one.
        limits: What one client may cost.

    Raises:
        OSError: an address is taken, or the socket's directory is not there.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        if threading.current_thread() is threading.main_thread():
            loop.add_signal_handler(number, stop.set)
    with ThreadPoolExecutor(settings.workers, "inference") as executor:
        plane = DataPlane(executor, clock)
        loader = Loader(settings.root, settings.server_id, os.getpid(), settings.threads, plane, now)
        hub = Hub(Api(plane, loader.ready, HttpStats()), loop, limits or Limits())
        servers, port = await _listen(settings, hub)
        background = [asyncio.create_task(loader.run()), asyncio.create_task(_sweep(hub))]
        started(port)
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait([waiting, *background], return_when=asyncio.FIRST_COMPLETED)
        LOG.info("stopping: %d connections", len(hub.connections))
        await _drain(hub, servers, settings.drain_seconds)
        for task in (waiting, *background):
            task.cancel()
        outcomes = await asyncio.gather(*background, return_exceptions=True)
        await loader.stop()
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


async def _listen(settings: ServerSettings, hub: Hub) -> tuple[list[asyncio.Server], int | None]:
    loop, servers, port = hub.loop, [], None
    if settings.host:
        server = await loop.create_server(lambda: Connection(hub), settings.host, settings.port, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        LOG.info("listening on %s:%d", settings.host, port)
        servers.append(server)
    if settings.uds is not None:
        servers.append(
            await loop.create_unix_server(lambda: Connection(hub), str(settings.uds), backlog=1024)
        )
        LOG.info("listening on %s", settings.uds)
    return servers, port


async def _sweep(hub: Hub) -> None:
    while True:
        await asyncio.sleep(1.0)
        hub.sweep()


async def _drain(hub: Hub, servers: list[asyncio.Server], seconds: float) -> None:
    """Take no new connections, answer what is asked, close the rest."""
    for server in servers:
        server.close()
    hub.draining = True
    await asyncio.sleep(_LINGER_SECONDS)
    for connection in list(hub.connections):
        if connection.is_idle and connection.transport is not None:
            connection.transport.close()
    if hub.connections:
        hub.left.clear()
        await asyncio.wait([asyncio.ensure_future(hub.left.wait())], timeout=seconds)
    for connection in list(hub.connections):
        if connection.transport is not None:
            connection.transport.abort()
