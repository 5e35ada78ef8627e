"""One request and its answer, between framing (``http``) and the data plane."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from edgewright_node.serving import errors
from edgewright_node.serving.api import JSON, Api, Kind
from edgewright_node.serving.codec import Decoded
from edgewright_node.serving.dataplane import ServedModel
from edgewright_node.serving.datatypes import Array

LOG = logging.getLogger(__name__)

STATUS: Final = {
    errors.InvalidRequest: (400, b"Bad Request"),
    errors.NotFound: (404, b"Not Found"),
    errors.MethodNotAllowed: (405, b"Method Not Allowed"),
    errors.RequestTimeout: (408, b"Request Timeout"),
    errors.TooLarge: (413, b"Content Too Large"),
    errors.HeadTooLarge: (431, b"Request Header Fields Too Large"),
    errors.InferenceFailed: (500, b"Internal Server Error"),
    errors.ModelNotReady: (503, b"Service Unavailable"),
    errors.Overloaded: (503, b"Service Unavailable"),
}
"""The status of each error; a test holds it complete."""

_BINARY_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
    b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n"
)
_JSON_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
_HEAD: Final = b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b"


@dataclass(slots=True, eq=False)
class Parts:
    """An answer: its head without the closing empty line, and its body in pieces."""

    head: bytes
    body: list[bytes | memoryview]
    size: int
    """Bytes of the body."""

    def with_head(self, *, close: bool) -> list[bytes | memoryview]:
        """Return all pieces; ``close`` tells the client that no more answers follow."""
        return [self.head + (b"Connection: close\r\n\r\n" if close else b"\r\n"), *self.body]


def failure(error: errors.RequestError, api: Api, *, head_only: bool) -> Parts:
    """Translate an error; a HEAD gets no body."""
    status, phrase = STATUS[type(error)]
    api.http.error(status)
    content = b"" if head_only else orjson.dumps({"error": error.message})
    extra = b""
    if isinstance(error, errors.MethodNotAllowed):
        extra = b"Allow: %b\r\n" % error.allowed.encode()
    elif status == 503:
        extra = b"Retry-After: 1\r\n"
    head = _HEAD % (status, phrase, JSON, len(content), extra)
    return Parts(head, [content], len(content))


class Exchange:
    """The way of one request through the API. ``begin`` answers, or says what to wait for before ``end``."""

    __slots__ = ("_api", "_decoded", "_loop", "_model", "_start")

    def __init__(self, api: Api, loop: asyncio.AbstractEventLoop) -> None:
        self._api = api
        self._loop = loop

    def begin(
        self, method: bytes, target: bytes, header_length: bytes | None, body: bytes | bytearray
    ) -> "Parts | asyncio.Future[Sequence[Array]]":
        """Answer a request, unless its inference is for another thread: then its future."""
        try:
            route = self._api.route(method, target)
            if route.kind is not Kind.INFER:
                content_type, content = self._api.answer(route)
                return Parts(_HEAD % (200, b"OK", content_type, len(content), b""), [content], len(content))
            self._start = self._api.plane.clock()
            self._model = self._api.plane.find(route.model, route.version)
            return self._infer(self._model, header_length, body)
        except errors.RequestError as e:
            return failure(e, self._api, head_only=method == b"HEAD")
        except Exception:
            return self._bug(method == b"HEAD")

    def end(self, future: "asyncio.Future[Sequence[Array]]") -> Parts:
        """Answer a request whose future is done."""
        try:
            return self._succeed(self._model, self._decoded, future.result())
        except errors.RequestError as e:
            self._count(self._model, e)
            return failure(e, self._api, head_only=False)
        except Exception:
            self._model.stats.failures += 1
            return self._bug(False)

    def _infer(
        self, model: ServedModel, header_length: bytes | None, body: bytes | bytearray
    ) -> "Parts | asyncio.Future[Sequence[Array]]":
        plane = self._api.plane
        model.stats.requests += 1
        try:
            decoded = model.codec.decode(body, _number(header_length))
            if plane.is_quick(model, decoded):
                return self._succeed(model, decoded, plane.infer(model, decoded))
            self._decoded = decoded
            return plane.infer_elsewhere(model, decoded, self._loop)
        except errors.RequestError as e:
            self._count(model, e)
            raise
        except Exception:
            model.stats.failures += 1
            raise

    def _succeed(self, model: ServedModel, decoded: Decoded, arrays: Sequence[Array]) -> Parts:
        header_length, body = model.codec.encode(decoded.plan, arrays)
        if header_length is None:
            size = len(body[0])
            head = _JSON_HEAD % size
        else:
            size = sum(map(len, body))
            head = _BINARY_HEAD % (header_length, size)
        model.stats.observe(self._api.plane.clock() - self._start)
        return Parts(head, body, size)

    def _count(self, model: ServedModel, error: errors.RequestError) -> None:
        if isinstance(error, errors.InferenceFailed):
            model.stats.failures += 1
            LOG.warning("%s: %s", model.info.model, error.message)

    def _bug(self, head_only: bool) -> Parts:
        LOG.exception("a request failed by our fault")
        return failure(errors.InferenceFailed("internal error"), self._api, head_only=head_only)


def _number(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not value.isdigit() or len(value) > 12:
        raise errors.InvalidRequest("Inference-Header-Content-Length is a number of bytes")
    return int(value)
