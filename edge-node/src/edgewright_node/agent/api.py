"""A lean client of the Kubernetes API: get, create, replace, patch, and a watch of one object."""

import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import aiohttp
import msgspec

from edgewright_node.agent.wire import (
    API_VERSION,
    ApiStatus,
    NodeAssignment,
    NodeAssignmentList,
    WatchEvent,
)

ASSIGNMENTS: Final = f"/apis/{API_VERSION}/nodeassignments"
NODES: Final = f"/apis/{API_VERSION}/edgenodes"
LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/edgewright-nodes/leases"

WATCH_SECONDS: Final = 300
"""How long one watch lasts; the list that follows replaces what is known, whatever was missed."""

SILENCE_SECONDS: Final = 100
"""The server sends a bookmark about every minute: longer silence is a dead connection."""

_MAX_LINE: Final = 8 << 20
_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
_WATCH_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE_SECONDS)

_T = TypeVar("_T", bound=msgspec.Struct)


class ApiError(Exception):
    """The API server answered no; ``status`` is the HTTP status."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status


UNREACHABLE: Final = (aiohttp.ClientError, TimeoutError, ssl.SSLError, ConnectionError)
"""What a call raises when there is no answer at all."""


@dataclass(frozen=True, slots=True)
class Api:
    """A client of one API server."""

    session: aiohttp.ClientSession
    url: str
    token: Callable[[], str]
    tls: Callable[[], ssl.SSLContext | None]

    async def call(
        self,
        method: str,
        path: str,
        kind: type[_T],
        *,
        body: msgspec.Struct | dict[str, object] | None = None,
        params: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> _T:
        """Do one request and decode the answer.

        Raises:
            ApiError: the server said no.
            UNREACHABLE: there was no answer.
        """
        async with self.session.request(
            method,
            self.url + path,
            data=None if body is None else msgspec.json.encode(body),
            params=params,
            headers={"Authorization": f"Bearer {self.token()}", "Content-Type": content_type},
            ssl=self.tls() or True,
            timeout=_TIMEOUT,
            allow_redirects=False,
        ) as answer:
            content = await answer.read()
            if answer.status >= 300:
                raise _error(answer.status, content)
        return msgspec.json.decode(content, type=kind)

    async def watch_assignment(self, name: str) -> AsyncIterator[NodeAssignment | None]:
        """Yield this node's assignment as it is, first from a list, then from each change; None when absent.

        Ends when the server ends the watch. Only the one object is asked for.

        Raises:
            ApiError, UNREACHABLE: the caller pauses and begins anew.
        """
        selector = {"fieldSelector": f"metadata.name={name}"}
        listed = await self.call("GET", ASSIGNMENTS, NodeAssignmentList, params=selector)
        yield listed.items[0] if listed.items else None
        params = {
            **selector,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": listed.metadata.resource_version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        async with self.session.get(
            self.url + ASSIGNMENTS,
            params=params,
            headers={"Authorization": f"Bearer {self.token()}"},
            ssl=self.tls() or True,
            timeout=_WATCH_TIMEOUT,
            allow_redirects=False,
        ) as answer:
            if answer.status >= 300:
                raise _error(answer.status, await answer.read())
            async for line in _lines(answer.content):
                event = msgspec.json.decode(line, type=WatchEvent)
                if event.type == "ERROR":
                    failed = msgspec.json.decode(event.object, type=ApiStatus)
                    raise ApiError(failed.code, failed.reason, failed.message)
                if event.type == "DELETED":
                    yield None
                elif event.type in ("ADDED", "MODIFIED"):
                    yield msgspec.json.decode(event.object, type=NodeAssignment)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Split a stream into lines of any length up to 8 MiB (the reader's own limit is 64 KiB)."""
    pending = bytearray()
    async for chunk in content.iter_any():
        pending += chunk
        if len(pending) > _MAX_LINE:
            raise ApiError(0, "TooLarge", f"a watch event has more than {_MAX_LINE} bytes")
        *whole, rest = pending.split(b"\n")
        pending = rest
        for line in whole:
            if line:
                yield bytes(line)


def _error(status: int, content: bytes) -> ApiError:
    try:
        said = msgspec.json.decode(content, type=ApiStatus)
    except msgspec.DecodeError:
        return ApiError(status, "", content[:200].decode(errors="replace"))
    return ApiError(status, said.reason, said.message)
