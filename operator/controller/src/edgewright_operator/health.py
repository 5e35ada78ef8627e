"""``/healthz``, ``/readyz`` and ``/metrics``."""

from collections.abc import Callable
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

STUCK_SECONDS: Final = 300.0
"""A worker that finishes nothing for so long, although there is something to do, hangs."""


def app(
    *, stuck_seconds: Callable[[], float], ready: Callable[[], bool], collect: Callable[[], CollectorRegistry]
) -> web.Application:
    """Return the routes. Health says that work goes on, readiness that the cluster has been read once."""

    async def healthz(_: web.Request) -> web.Response:
        stuck = stuck_seconds()
        if stuck > STUCK_SECONDS:
            return web.Response(status=503, text=f"no object was finished for {stuck:.0f} seconds\n")
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if not ready():
            return web.Response(status=503, text="the first lists are not complete\n")
        return web.Response(text="ok\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(collect()), headers={"Content-Type": CONTENT_TYPE_LATEST})

    routes = web.Application()
    routes.router.add_get("/healthz", healthz)
    routes.router.add_get("/readyz", readyz)
    routes.router.add_get("/metrics", metrics)
    return routes
