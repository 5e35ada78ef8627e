"""The artifacts gateway: a ticket per digest, then bytes from wherever its URL points, resumed until whole.

The node's token goes to the gateway's ticket endpoint and nowhere else; the URL of a ticket is all that
is needed to read. Every failure here may pass by itself, so a transfer ends only when it is complete or
when nobody wants it any more; meanwhile the reason is noted for status.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import aiohttp
import msgspec
from yarl import URL

from edgewright_node.agent import store
from edgewright_node.agent.errors import RetryLater
from edgewright_node.agent.wire import Ticket
from edgewright_node.reasons import Reason

CHUNK_BYTES: Final = 1 << 17
SYNC_BYTES: Final = 1 << 23
"""How much may be lost to a power cut; the length of the .part file is the progress that is kept."""

MAX_PAUSE_SECONDS: Final = 60.0
MAX_RETRY_AFTER_SECONDS: Final = 3600.0
_MAX_ANSWER: Final = 1 << 16

_TICKET_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
_CONTENT_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)


class Job(Protocol):
    """What a transfer needs of whoever wants the bytes."""

    def check(self) -> None:
        """Raise ``Superseded`` when the bytes are not wanted any more."""

    def note(self, reason: Reason | None, message: str) -> None:
        """Say why the transfer stands still; ``None`` when it moves again."""

    def moved(self, count: int) -> None:
        """Count bytes that arrived."""

    async def pause(self, seconds: float) -> None:
        """Wait, less when the order changes."""


class _Unavailable(Exception):  # noqa: N818 - named for what follows
    """Not now; ``pause`` is what the other side asked for, in seconds."""

    def __init__(self, reason: Reason, message: str, *, pause: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.pause = pause


@dataclass(frozen=True, slots=True)
class Gateway:
    """A client of one gateway."""

    session: aiohttp.ClientSession
    url: str
    token: Callable[[], str]
    tls: Callable[[], ssl.SSLContext | None]
    """Trusts the gateway's CA alone, which the operator rotates; None for plain HTTP."""

    store_tls: Callable[[], ssl.SSLContext | None]
    """Trusts public CAs too: for a store on another host. Asked only when needed, for its memory."""

    jitter: Callable[[], float]
    """0 to 1, anew at each call."""

    async def fetch(self, digest: str, part: Path, *, limit: int, job: Job) -> None:
        """Fill ``part`` with what ``digest`` names, from the byte where it ends. Digests are not checked here.

        Args:
            limit: The most bytes that the content may have.

        Raises:
            RetryLater: the gateway says that the content is larger than ``limit``.
            Superseded: nobody wants it any more; the bytes stay.
            OSError: the disk refused.
        """
        failures = 0
        while True:
            job.check()
            before = _size(part)
            try:
                async with self._ticket(digest) as ticket:
                    if ticket.size > limit:
                        raise RetryLater(
                            Reason.DIGEST_MISMATCH, f"{digest} has {ticket.size} bytes, not {limit}"
                        )
                    await self._stream(ticket, part, job)
                return
            except _Unavailable as e:
                failures = 0 if _size(part) > before else failures + 1
                reason, message, pause = e.reason, e.message, e.pause
            except (aiohttp.ClientError, TimeoutError, ssl.SSLError) as e:
                failures = 0 if _size(part) > before else failures + 1
                reason, message, pause = Reason.GATEWAY_UNREACHABLE, f"{type(e).__name__}: {e}", None
            if failures or pause:
                job.note(reason, message)
            await job.pause(self._pause(failures) if pause is None else pause * (1 + 0.1 * self.jitter()))

    def _pause(self, failures: int) -> float:
        """Return seconds: next to none after progress, then doubling up to the limit, jittered by half."""
        if failures == 0:
            return 0.05 + 0.1 * self.jitter()
        return float(min(0.5 * 2**failures, MAX_PAUSE_SECONDS)) * (0.5 + 0.5 * self.jitter())

    @asynccontextmanager
    async def _ticket(self, digest: str) -> AsyncIterator[Ticket]:
        """Hold a ticket: it counts against the fleet's cap until it is given back."""
        headers = self._authorization()
        async with self.session.post(
            f"{self.url}/v1/tickets",
            json={"digest": digest},
            headers=headers,
            ssl=self.tls() or True,
            timeout=_TICKET_TIMEOUT,
            allow_redirects=False,  # the token stays here
        ) as answer:
            body = await answer.content.read(_MAX_ANSWER)
            if answer.status != 200:
                raise _refusal(answer.status, answer.headers.get("Retry-After"), body)
        try:
            ticket = msgspec.json.decode(body, type=Ticket)
        except msgspec.DecodeError as e:
            raise _Unavailable(Reason.GATEWAY_UNREACHABLE, f"the ticket cannot be read: {e}") from e
        try:
            yield ticket
        finally:
            await self._release(ticket)

    async def _release(self, ticket: Ticket) -> None:
        try:
            async with (
                asyncio.timeout(5),
                self.session.delete(
                    f"{self.url}/v1/tickets/{ticket.ticket}",
                    headers=self._authorization(),
                    ssl=self.tls() or True,
                    allow_redirects=False,
                ),
            ):
                pass
        except (aiohttp.ClientError, TimeoutError, OSError):
            return  # it expires by itself

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token()}"}

    async def _stream(self, ticket: Ticket, part: Path, job: Job) -> None:
        have = _size(part)
        if have > ticket.size:
            have = 0  # the bytes are of something else
        if have == ticket.size and have:
            return
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
        here = urlsplit(ticket.url).netloc == urlsplit(self.url).netloc
        tls = self.tls() if here else self.store_tls() if ticket.url.startswith("https:") else None
        url = URL(ticket.url, encoded=True)  # a pre-signed query must arrive as it was signed
        async with self.session.get(
            url, headers=headers, ssl=tls or True, timeout=_CONTENT_TIMEOUT
        ) as answer:
            offset = _offset(answer, have)
            await _write(answer, part, offset=offset, size=ticket.size, job=job)


def _refusal(status: int, retry_after: str | None, body: bytes) -> _Unavailable:
    text = body[:200].decode(errors="replace")
    match status:
        case 429:
            asked = float(retry_after) if retry_after and retry_after.isdigit() else 5.0
            pause = max(0.1, min(asked, MAX_RETRY_AFTER_SECONDS))
            return _Unavailable(Reason.GATEWAY_BUSY, f"the fleet's cap is used up: {text}", pause=pause)
        case 401 | 403:
            return _Unavailable(Reason.GATEWAY_REFUSED, f"the gateway answered {status}: {text}")
        case 404:
            return _Unavailable(Reason.ARTIFACT_NOT_FOUND, f"the gateway answered 404: {text}")
        case _:
            return _Unavailable(Reason.GATEWAY_UNREACHABLE, f"the gateway answered {status}: {text}")


def _offset(answer: aiohttp.ClientResponse, have: int) -> int:
    """Return where the body begins in the content."""
    match answer.status:
        case 200:
            return 0  # ranges are not understood there: from the beginning
        case 206:
            span = answer.headers.get("Content-Range", "")
            if span.startswith(f"bytes {have}-"):
                return have
            raise _Unavailable(Reason.GATEWAY_UNREACHABLE, f"asked for byte {have}, got {span!r}")
        case 403 | 410:
            raise _Unavailable(Reason.GATEWAY_REFUSED, "the ticket expired")
        case status:
            raise _Unavailable(Reason.GATEWAY_UNREACHABLE, f"the store answered {status}")


async def _write(answer: aiohttp.ClientResponse, part: Path, *, offset: int, size: int, job: Job) -> None:
    """Append the body to ``part`` from ``offset``; what arrived is kept however this ends."""
    total, unsynced = offset, 0
    with part.open("ab") as file:
        file.truncate(offset)
        async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
            job.check()
            total += len(chunk)
            if total > size:
                file.truncate(0)
                raise _Unavailable(Reason.DIGEST_MISMATCH, f"more than the {size} bytes that were promised")
            file.write(chunk)
            file.flush()
            job.moved(len(chunk))
            job.note(None, "")
            unsynced += len(chunk)
            if unsynced >= SYNC_BYTES:
                unsynced = 0
                await asyncio.to_thread(store.sync_file, part)
    if total < size:
        raise _Unavailable(Reason.GATEWAY_UNREACHABLE, f"cut off at {total} of {size} bytes")
    await asyncio.to_thread(store.sync_file, part)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
