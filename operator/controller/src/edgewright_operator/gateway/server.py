"""The gateway's HTTP: two routes for tickets, one for content. Everything it decides is decided elsewhere."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec
from aiohttp import web

from edgewright_api.errors import EdgewrightError
from edgewright_operator.gateway.artifacts import Artifacts, NotAssignedError
from edgewright_operator.gateway.metrics import GatewayMetrics
from edgewright_operator.gateway.ranges import Span, Unsatisfiable, requested
from edgewright_operator.gateway.tickets import Busy, Ticket, TicketBook
from edgewright_operator.gateway.tokens import InvalidTokenError, NotANodeError, TokenCache
from edgewright_operator.planning.clock import stamp
from edgewright_operator.store import ObjectNotFoundError, ObjectStore

_LARGEST_BODY: Final = 4096
_BODY_SECONDS: Final = 10.0
_IDLE_SECONDS: Final = 15.0
_UNAVAILABLE_RETRY: Final = "5"
_REFUSALS: Final = (InvalidTokenError, NotANodeError, NotAssignedError, ObjectNotFoundError, EdgewrightError)


class Mode(StrEnum):
    """How content travels: through the gateway, or straight from the store by a pre-signed URL."""

    PROXY = "Proxy"
    REDIRECT = "Redirect"


class _Wanted(msgspec.Struct):
    digest: str


@dataclass(slots=True, kw_only=True)
class Gateway:
    """Answers nodes. ``clock`` returns monotonic seconds and counts tickets; ``now`` only writes ``expiresAt``."""

    store: ObjectStore
    tokens: TokenCache
    artifacts: Artifacts
    book: TicketBook
    metrics: GatewayMetrics
    clock: Callable[[], float]
    now: Callable[[], datetime]
    url: str
    """How nodes reach this gateway, e.g. ``https://edgewright-gateway.edgewright-system.svc:8443``."""
    mode: Mode = Mode.PROXY
    stall_seconds: float = 30.0
    """A reader that takes no chunk for so long is dropped; it comes back with a range."""
    _streams: dict[str, asyncio.Task[None] | None] = field(default_factory=dict)

    def app(self) -> web.Application:
        """Return the routes, to be served over TLS."""
        app = web.Application(client_max_size=_LARGEST_BODY, middlewares=[_translate])
        app.router.add_post("/v1/tickets", self.issue)
        app.router.add_delete("/v1/tickets/{ticket}", self.release)
        app.router.add_get("/v1/content/{ticket}", self.content)
        return app

    async def issue(self, request: web.Request) -> web.Response:
        """``POST /v1/tickets``: a place in the fleet's cap and a URL for one digest."""
        try:
            node = await self._node(request)
            content = await self.artifacts.find(node, await _wanted(request))
        except (
            InvalidTokenError,
            NotANodeError,
            NotAssignedError,
            ObjectNotFoundError,
            EdgewrightError,
        ) as error:
            self.metrics.tickets.labels(type(error).__name__.removesuffix("Error")).inc()
            raise
        now = self.clock()
        answer = self.book.issue(secrets.token_urlsafe(32), node, content, now)
        self.metrics.outstanding.set(self.book.outstanding(now))
        if isinstance(answer, Busy):
            self.metrics.tickets.labels("Busy").inc()
            return _refusal(429, "all places are taken", retry_after=str(answer.retry_after_seconds))
        self.metrics.tickets.labels("Issued").inc()
        return web.json_response(
            {
                "ticket": answer.id,
                "url": self._url(answer, now),
                "size": answer.content.size,
                "expiresAt": stamp(self.now() + timedelta(seconds=answer.expires_at - now)),
            }
        )

    async def release(self, request: web.Request) -> web.Response:
        """``DELETE /v1/tickets/<id>``: give the place back. ``404`` when it is free already."""
        node = await self._node(request)
        if not self.book.release(request.match_info["ticket"], node):
            return _refusal(404, "there is no such ticket of this node")
        self.metrics.outstanding.set(self.book.outstanding(self.clock()))
        return web.Response(status=204)

    async def content(self, request: web.Request) -> web.StreamResponse:
        """``GET /v1/content/<ticket>``: the bytes. The ticket is the capability, so no token is asked for."""
        ticket = self.book.find(request.match_info["ticket"], self.clock())
        if ticket is None or self.mode is not Mode.PROXY:
            return _refusal(404, "there is no such ticket, or it has expired: ask for a new one")
        etag = f'"{ticket.content.digest}"'
        headers = {"Accept-Ranges": "bytes", "ETag": etag, "Content-Type": "application/octet-stream"}
        span = requested(
            ticket.content.size,
            etag,
            range_=request.headers.get("Range"),
            if_range=request.headers.get("If-Range"),
        )
        if isinstance(span, Unsatisfiable):
            return web.Response(status=416, headers=headers | {"Content-Range": span.content_range})
        if span.partial:
            headers["Content-Range"] = span.content_range
        response = web.StreamResponse(status=206 if span.partial else 200, headers=headers)
        response.content_length = span.length
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        await self._send(request, response, ticket, span)
        return response

    async def _send(
        self, request: web.Request, response: web.StreamResponse, ticket: Ticket, span: Span
    ) -> None:
        """Send the span; at most one stream per ticket, the newest: the older one's reader is gone."""
        older = self._streams.pop(ticket.id, None)
        if older is not None:
            older.cancel()
        task = asyncio.current_task()
        self._streams[ticket.id] = task
        outcome = "Aborted"
        try:
            outcome = await self._pump(request, response, ticket, span)
        finally:
            self.metrics.streams.labels(outcome).inc()
            if self._streams.get(ticket.id) is task:
                del self._streams[ticket.id]

    async def _pump(
        self, request: web.Request, response: web.StreamResponse, ticket: Ticket, span: Span
    ) -> str:
        chunks = self.store.stream(ticket.content.key, span.start, span.length)
        started = False
        async for chunk in chunks:
            if not started:
                await response.prepare(request)
                started = True
            # Looked up for every chunk: a stream must not outlive its ticket, whose place others then get,
            # and a ticket that was renewed meanwhile lets it go on.
            if self.book.find(ticket.id, self.clock()) is None:
                return _cut(request, "Expired")
            try:
                async with asyncio.timeout(self.stall_seconds):
                    await response.write(chunk)
            except TimeoutError:
                return _cut(request, "Stalled")
            self.metrics.sent.inc(len(chunk))
        if not started:
            await response.prepare(request)
        await response.write_eof()
        return "Complete"

    async def _node(self, request: web.Request) -> str:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise InvalidTokenError("a bearer token is needed")
        return await self.tokens.node(token.strip())

    def _url(self, ticket: Ticket, now: float) -> str:
        if self.mode is Mode.PROXY:
            return f"{self.url.rstrip('/')}/v1/content/{ticket.id}"
        return self.store.presign_get(ticket.content.key, max(1, int(ticket.expires_at - now)), public=True)


def runner(gateway: Gateway) -> web.AppRunner:
    """Return a runner for the gateway's routes, with the limits that a hostile client meets."""
    return web.AppRunner(
        gateway.app(),
        access_log=None,
        keepalive_timeout=_IDLE_SECONDS,
        lingering_time=1.0,
        shutdown_timeout=5.0,
        handler_cancellation=True,
    )


async def _wanted(request: web.Request) -> str:
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            body = await request.read()
    except TimeoutError as error:
        raise web.HTTPRequestTimeout from error
    try:
        return msgspec.json.decode(body, type=_Wanted).digest
    except msgspec.MsgspecError as error:
        raise web.HTTPBadRequest(text='the body is {"digest": "sha256:…"}') from error


@web.middleware
async def _translate(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except InvalidTokenError as error:
        return _refusal(401, str(error))
    except (NotANodeError, NotAssignedError) as error:
        return _refusal(403, str(error))
    except ObjectNotFoundError:
        return _refusal(404, "the object store does not have it")
    except EdgewrightError as error:
        # The API server or the store is away: the node is to try again, not to give up.
        return _refusal(503, error.what, retry_after=_UNAVAILABLE_RETRY)


def _refusal(status: int, message: str, *, retry_after: str | None = None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.json_response({"message": message}, status=status, headers=headers)


def _cut(request: web.Request, outcome: str) -> str:
    """End the connection: the headers promised more bytes, so the reader must see that some are missing."""
    if request.transport is not None:
        request.transport.abort()
    return outcome
