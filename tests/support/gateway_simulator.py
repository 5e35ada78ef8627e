"""A small real HTTP server that speaks the gateway's ticket protocol, with knobs for what goes wrong."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(slots=True)
class GatewaySimulator:
    """Hands out ``blobs`` by ticket. Every knob may be turned while it runs."""

    blobs: dict[str, bytes]
    token: str = "node-token"
    url: str = ""
    busy_answers: int = 0
    """How many of the next ticket requests are answered 429."""
    retry_after: str = "0"
    cut_after: list[int] = field(default_factory=list)
    """Each of the next content answers ends after so many bytes."""
    expire_next: int = 0
    """How many of the next content answers are 403: the URL expired."""
    ignore_ranges: bool = False
    chunk_delay: float = 0.0
    chunk_bytes: int = 16384
    served: int = 0
    """Bytes of content sent."""
    tickets: list[str] = field(default_factory=list)
    """Digests that tickets were given for."""
    open_tickets: dict[str, str] = field(default_factory=dict)
    content_headers: list[dict[str, str]] = field(default_factory=list)

    async def post_ticket(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, text="no such token")
        digest = (await request.json())["digest"]
        if self.busy_answers > 0:
            self.busy_answers -= 1
            return web.Response(status=429, headers={"Retry-After": self.retry_after}, text="busy")
        if digest not in self.blobs:
            return web.Response(status=404, text="unknown")
        ticket = f"t{len(self.tickets)}"
        self.tickets.append(digest)
        self.open_tickets[ticket] = digest
        return web.json_response(
            {
                "ticket": ticket,
                "url": f"{self.url}/v1/content/{ticket}",
                "size": len(self.blobs[digest]),
                "expiresAt": "2030-01-01T00:00:00Z",
            }
        )

    async def delete_ticket(self, request: web.Request) -> web.StreamResponse:
        self.open_tickets.pop(request.match_info["ticket"], None)
        return web.Response(status=204)

    async def get_content(self, request: web.Request) -> web.StreamResponse:
        self.content_headers.append(dict(request.headers))
        digest = self.open_tickets.get(request.match_info["ticket"])
        if digest is None or self.expire_next > 0:
            self.expire_next = max(0, self.expire_next - 1)
            return web.Response(status=403, text="expired")
        content = self.blobs[digest]
        span = request.headers.get("Range", "")
        start = 0 if self.ignore_ranges or not span else int(span.removeprefix("bytes=").rstrip("-"))
        answer = web.StreamResponse(status=206 if span and not self.ignore_ranges else 200)
        answer.content_length = len(content) - start
        if answer.status == 206:
            answer.headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        await answer.prepare(request)
        limit = self.cut_after.pop(0) if self.cut_after else len(content)
        for at in range(start, len(content), self.chunk_bytes):
            chunk = content[at : at + min(self.chunk_bytes, max(0, limit))]
            try:
                await answer.write(chunk)
            except ConnectionError:  # the agent was killed
                break
            self.served += len(chunk)
            limit -= len(chunk)
            if limit <= 0:
                assert request.transport is not None
                await asyncio.sleep(0.01)
                request.transport.close()
                break
            if self.chunk_delay:
                await asyncio.sleep(self.chunk_delay)
        return answer


@asynccontextmanager
async def serving(simulator: GatewaySimulator) -> AsyncIterator[GatewaySimulator]:
    """Serve on a free port while the context lasts."""
    app = web.Application()
    app.router.add_post("/v1/tickets", simulator.post_ticket)
    app.router.add_delete("/v1/tickets/{ticket}", simulator.delete_ticket)
    app.router.add_get("/v1/content/{ticket}", simulator.get_content)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    simulator.url = f"http://127.0.0.1:{port}"
    try:
        yield simulator
    finally:
        await runner.cleanup()


@contextmanager
def run_in_thread(simulator: GatewaySimulator) -> Iterator[GatewaySimulator]:
    """Serve from a thread of its own, for tests that are not asynchronous."""
    started, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        async with serving(simulator):
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert started.wait(10)
        yield simulator
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
