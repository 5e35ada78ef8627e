"""HTTP/1.1 for the data plane: framing, limits, order of answers. Written for few instructions per request.

httptools parses heads and small bodies; a body larger than ``_DIRECT_BYTES`` is received straight into its
own buffer. Requests of one connection are answered in their order: while one runs on another thread, what
the client pipelines waits, and past one read the connection is not read any more. Timeouts are ticks of one
sweep a second, so that a request costs no timer.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import httptools

from edgewright_node.serving.api import Api
from edgewright_node.serving.errors import (
    HeadTooLarge,
    InvalidRequest,
    MethodNotAllowed,
    Overloaded,
    RequestError,
    RequestTimeout,
    TooLarge,
)
from edgewright_node.serving.exchange import Exchange, Parts, failure

READ_BYTES: Final = 256 << 10
_DIRECT_BYTES: Final = 64 << 10
_JOINED_BYTES: Final = 64 << 10
"""Answers up to this size are written as one piece, which is cheaper than a gather."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may cost."""

    head_bytes: int = 16 << 10
    body_bytes: int = 64 << 20
    held_bytes: int = 256 << 20
    """Large bodies in memory, over all connections."""
    connections: int = 1024
    head_seconds: int = 10
    """From the first byte of a request to the end of its headers."""
    body_bytes_per_second: int = 64 << 10
    """A body has ``head_seconds`` and its size at this rate."""
    idle_seconds: int = 75
    write_seconds: int = 30
    """How long a client may leave its answers unread."""


@dataclass(slots=True, eq=False)
class Hub:
    """What the connections of one server share."""

    api: Api
    loop: asyncio.AbstractEventLoop
    limits: Limits
    connections: "set[Connection]" = field(default_factory=set)
    tick: int = 0
    """Seconds, roughly; advanced by the sweep."""
    held_bytes: int = 0
    draining: bool = False
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last connection ends."""
    view: memoryview = field(default_factory=lambda: memoryview(bytearray(READ_BYTES)))
    """One receive buffer for all: it is consumed before the loop reads the next connection."""

    def sweep(self) -> None:
        """Advance the tick and end what is overdue."""
        self.tick += 1
        for connection in [c for c in self.connections if 0 < c.deadline <= self.tick]:
            connection.expire()


@dataclass(slots=True, eq=False)
class _Request:
    method: bytes
    target: bytes
    header_length: bytes | None
    body: bytes | bytearray
    last: bool
    """No request follows on this connection."""
    held: int
    error: RequestError | None = None


class Connection(asyncio.BufferedProtocol):
    """One client's connection."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.deadline = 0
        self.queue: deque[_Request] = deque()
        self.running = False
        """A request of this connection is on another thread."""
        self.transport: Any = None
        self._parser: Any = httptools.HttpRequestParser(self)
        self._write_paused = False
        self._read_paused = False
        self._refusing = False
        """Nothing more is parsed: the last request is known, or the bytes make no sense."""
        self._lingering = False
        self._held = 0
        self._direct: bytearray | None = None
        self._filled = 0
        self._direct_method = b""
        self._direct_last = False
        self._unseen = 0
        self._clear()

    def _clear(self) -> None:
        """Forget the message in hand."""
        self.in_message = False
        self._in_body = False
        self._target = b""
        self._head_bytes = 0
        self._header_length: bytes | None = None
        self._length: int | None = None
        self._expects = False
        self._parts: list[bytes] = []
        self._size = 0
        self._message_held = 0
        self._error: RequestError | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.hub.connections.add(self)
        self.hub.api.http.connections += 1
        self._rest()
        if len(self.hub.connections) > self.hub.limits.connections or self.hub.draining:
            self._refuse(Overloaded("too many connections"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.hub.connections.discard(self)
        if not self.hub.connections:
            self.hub.left.set()
        self.hub.api.http.connections -= 1
        self.hub.held_bytes -= self._held
        self._held = 0
        self.transport = None
        self.queue.clear()

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._direct is not None:
            return memoryview(self._direct)[self._filled :]
        return self.hub.view

    def buffer_updated(self, nbytes: int) -> None:
        if self._refusing:
            return
        if self._direct is None:
            self._feed(self.hub.view[:nbytes])
        else:
            self._filled += nbytes
            if self._filled == len(self._direct):
                body, self._direct = self._direct, None
                self._complete(body)
        self._process()

    def eof_received(self) -> bool:
        # A client that has half-closed still gets the answers to what it sent; one that broke off gets none.
        return self.running or bool(self.queue)

    def pause_writing(self) -> None:
        self._write_paused = True
        self.deadline = self.hub.tick + self.hub.limits.write_seconds

    def resume_writing(self) -> None:
        self._write_paused = False
        self._rest()
        self._process()

    def expire(self) -> None:
        """Act on a deadline that has passed."""
        if self.transport is None:
            return
        if self._write_paused or self._lingering:
            self.transport.abort()
        elif self.in_message and not self._refusing:
            self._direct = None
            self._refuse(RequestTimeout("the request was not complete in time"))
        elif self.is_idle:
            self.transport.close()

    @property
    def is_idle(self) -> bool:
        """Nothing is asked, running or half sent."""
        return not (self.in_message or self.running or self.queue)

    # The parser's side. An exception here would reach us wrapped; what is wrong is kept in `_error`.

    def on_url(self, url: bytes) -> None:
        if not self.in_message:
            self.in_message = True
            self.deadline = self.hub.tick + self.hub.limits.head_seconds + 1
        self._target += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + 4)
        take = _HEADERS.get(name.lower())
        if take is not None:
            take(self, value)

    def on_headers_complete(self) -> None:
        self._in_body = True
        if self._length is None:
            return
        self._check_body(self._length)
        self.deadline += self._length // self.hub.limits.body_bytes_per_second

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._length is None:  # chunked: its size and its share of the memory are known as it comes
            self._check_body(self._size)
            self.deadline += len(body) // self.hub.limits.body_bytes_per_second
            if self._size > _DIRECT_BYTES:
                self._hold(self._size - self._message_held)
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self._complete(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))

    def take_header_length(self, value: bytes) -> None:
        self._header_length = value

    def take_length(self, value: bytes) -> None:
        # The parser has refused all but digits by the time the headers are complete.
        self._length = int(value) if value.isdigit() and len(value) < 19 else 1 << 62

    def take_expect(self, value: bytes) -> None:
        self._expects = value.lower() == b"100-continue"

    def take_encoding(self, value: bytes) -> None:
        if value.lower() != b"identity":
            self._stop(InvalidRequest("bodies are taken without Content-Encoding only"))

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.hub.limits.head_bytes:
            self._stop(HeadTooLarge(f"a request's head has at most {self.hub.limits.head_bytes} bytes"))

    def _check_body(self, size: int) -> None:
        if size > self.hub.limits.body_bytes:
            self._stop(TooLarge(f"a body has at most {self.hub.limits.body_bytes} bytes"))

    def _hold(self, size: int) -> None:
        self.hub.held_bytes += size
        self._held += size
        self._message_held += size
        if self.hub.held_bytes > self.hub.limits.held_bytes:
            self._stop(Overloaded("too many large requests at once"))

    def _stop(self, error: RequestError) -> None:
        self._error = error
        raise error

    # Requests

    def _feed(self, data: memoryview) -> None:
        waiting, size = len(self.queue), self._size
        try:
            self._parser.feed_data(data)
            if len(self.queue) != waiting:
                self._unseen = 0
            elif self._in_body and self._length is not None:
                self._receive_directly()
            else:
                self._count_unseen(len(data) - (self._size - size))
        except httptools.HttpParserUpgrade:
            # Upgrades are ignored, as HTTP allows; but the parser has thrown away what follows the head.
            if self.queue:
                self.queue[-1].last = self._refusing = True
                if self.queue[-1].method != b"GET":
                    self.queue[-1].error = InvalidRequest("a request with a body cannot be upgraded")
        except httptools.HttpParserInvalidMethodError:
            self._refuse(MethodNotAllowed("GET, POST"))
        except httptools.HttpParserCallbackError:
            self._refuse(self._error or InvalidRequest("the request cannot be read"))
        except httptools.HttpParserError as e:
            self._refuse(InvalidRequest(f"this is not HTTP/1.1: {e}"))
        except RequestError as e:
            self._refuse(e)

    def _count_unseen(self, size: int) -> None:
        """Bound what the parser keeps to itself: half a header, which it shows only when it is whole.

        The framing of a chunked body counts too; chunks of one byte are allowed, and are five of framing.
        """
        self._unseen += size
        if self._unseen > self.hub.limits.head_bytes + 8 * self._size:
            raise HeadTooLarge(f"a request's head has at most {self.hub.limits.head_bytes} bytes")

    def _receive_directly(self) -> None:
        """Receive the rest of a large body without the parser, which would copy it twice."""
        self._unseen = 0
        if self._length is None or self._length <= _DIRECT_BYTES or self._refusing:
            return
        self._hold(self._length)
        self._direct = bytearray(self._length)
        self._filled = self._size
        self._direct[: self._size] = b"".join(self._parts)
        self._direct_last = self._is_last()
        self._direct_method = self._parser.get_method()
        self._parser = httptools.HttpRequestParser(self)

    def _complete(self, body: bytes | bytearray) -> None:
        if self._refusing:
            return
        direct = isinstance(body, bytearray)
        method = self._direct_method if direct else self._parser.get_method()
        last = self._direct_last if direct else self._is_last()
        self.queue.append(_Request(method, self._target, self._header_length, body, last, self._message_held))
        self._refusing = last
        self._clear()

    def _is_last(self) -> bool:
        return not self._parser.should_keep_alive() or self._parser.get_http_version() == "1.0"

    def _refuse(self, error: RequestError) -> None:
        """Answer what came before, then the error, then close."""
        if self._refusing or self.transport is None:
            return
        self._refusing = True
        held = self._message_held
        self._clear()
        self.queue.append(_Request(b"", b"", None, b"", True, held, error))
        self._process()

    def _process(self) -> None:
        """Answer what is asked, until something has to be waited for."""
        while self.queue and not (self.running or self._write_paused or self.transport is None):
            request = self.queue.popleft()
            if request.error is not None:
                self._answer(request, failure(request.error, self.hub.api, head_only=False))
                continue
            exchange = Exchange(self.hub.api, self.hub.loop)
            parts = exchange.begin(request.method, request.target, request.header_length, request.body)
            if isinstance(parts, asyncio.Future):
                self.running = True
                self.deadline = 0
                parts.add_done_callback(partial(self._resume, request, exchange.end))
                break
            self._answer(request, parts)
        if self.transport is None or self._lingering:
            return
        if self._expects and self._in_body and not (self.queue or self.running):
            self._expects = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._pace()

    def _resume(
        self,
        request: _Request,
        end: "Callable[[asyncio.Future[Any]], Parts]",
        future: "asyncio.Future[Any]",
    ) -> None:
        self.running = False
        parts = end(future)
        if self.transport is not None:
            self._rest()
            self._answer(request, parts)
            self._process()

    def _pace(self) -> None:
        """Stop reading while requests wait, so that a client cannot queue without bound."""
        wait = bool(self.queue) or self._write_paused
        if wait != self._read_paused and not self.transport.is_closing():
            self._read_paused = wait
            if wait:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def _answer(self, request: _Request, parts: Parts) -> None:
        last = request.last or self.hub.draining
        content = parts.with_head(close=last)
        self._held -= request.held
        self.hub.held_bytes -= request.held
        if len(content) == 1 or parts.size <= _JOINED_BYTES:
            self.transport.write(b"".join(content))
        else:
            self.transport.writelines(content)
        if last:
            self._refusing = True
            self.queue.clear()
            self._end(linger=request.error is not None)
        elif not self.in_message:
            self._rest()

    def _end(self, *, linger: bool) -> None:
        """Close. After an error the client may still be sending, and a reset would take the answer away."""
        if not linger or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._lingering = True
        self.deadline = self.hub.tick + 3
        if self._read_paused:
            self._read_paused = False
            self.transport.resume_reading()
        self.transport.write_eof()

    def _rest(self) -> None:
        self.deadline = self.hub.tick + self.hub.limits.idle_seconds


_HEADERS: Final[dict[bytes, Callable[[Connection, bytes], None]]] = {
    b"inference-header-content-length": Connection.take_header_length,
    b"content-length": Connection.take_length,
    b"expect": Connection.take_expect,
    b"content-encoding": Connection.take_encoding,
}
