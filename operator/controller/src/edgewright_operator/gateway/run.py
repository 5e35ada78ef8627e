"""Runs the gateway: a certificate first, then a listener, then renewal for as long as it serves."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from edgewright_operator.gateway.keeper import Keeper, load, server_context
from edgewright_operator.gateway.server import Gateway, runner

_LOOK_SECONDS: Final = 3600.0
_RETRY_SECONDS: Final = 60.0
_BACKLOG: Final = 256

_log = logging.getLogger(__name__)


@asynccontextmanager
async def serving(gateway: Gateway, keeper: Keeper, host: str, port: int) -> AsyncIterator[int]:
    """Serve ``gateway`` over TLS and yield the port, which is chosen when ``port`` is 0.

    Raises:
        ApiError: the certificate could not be read or kept; nothing is served then.
        OSError: the address is taken.
    """
    context = server_context()
    load(context, (await keeper.keep()).serving)
    running = runner(gateway)
    await running.setup()
    renewal: asyncio.Task[None] | None = None
    try:
        await web.TCPSite(running, host, port, ssl_context=context, backlog=_BACKLOG).start()
        renewal = asyncio.create_task(_renew(context, keeper))
        yield int(running.addresses[0][1])
    finally:
        if renewal is not None:
            renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewal
        await running.cleanup()


async def _renew(context: ssl.SSLContext, keeper: Keeper) -> None:
    """Look every hour, a minute after a failure; meanwhile the certificate in use goes on being served."""
    pause = _LOOK_SECONDS
    while True:
        await asyncio.sleep(pause)
        try:
            load(context, (await keeper.keep()).serving)
            pause = _LOOK_SECONDS
        except Exception:
            _log.exception("the gateway's certificate could not be looked after")
            pause = _RETRY_SECONDS
