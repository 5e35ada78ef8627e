"""The API server over HTTPS: plain aiohttp with a bearer token and a CA, JSON decoded by msgspec.

Why not a Kubernetes client library: each kind is read into structs of our own anyway, and what is left is four
verbs and a watch. The official package adds some 75 MB to the process and nine times the CPU per watch event
(Kopf imports it whenever it is installed), and has no typed decoding.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec

from edgewright_api.errors import TransientError
from edgewright_api.reasons import Reason

REQUEST_SECONDS: Final = 60.0
"""How long one answer may take, a page of a list included."""

SILENCE_SECONDS: Final = 75.0
"""A watch without a byte for this long is dead: the API server sends a bookmark every minute."""

_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_NO_BODY: Final[Mapping[str, str]] = {}


class ApiError(TransientError):
    """The API server refused, or was not reached (``status`` 0). The next visit decides anew."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(
            Reason.API_SERVER_UNAVAILABLE,
            f"the API server answers {status}: {what}" if status else f"no API server: {what}",
            remedy="It is tried again",
        )
        self.status = status


class NotFound(ApiError):  # noqa: N818 - these three are named as HTTP names them
    """404: the object or its namespace is not there (any more)."""


class Conflict(ApiError):  # noqa: N818
    """409: the object is there already, or was changed since it was read."""


class Gone(ApiError):  # noqa: N818
    """410: the version to go on from has been compacted away; list again."""


_BY_STATUS: Final[Mapping[int, type[ApiError]]] = {404: NotFound, 409: Conflict, 410: Gone}


class _Refusal(msgspec.Struct):
    """As much of ``metav1.Status`` as is told to people."""

    message: str = ""


def api_error(status: int, body: bytes) -> ApiError:
    """Return the error that says what the API server answered; a long message is cut."""
    try:
        what = msgspec.json.decode(body, type=_Refusal).message
    except msgspec.MsgspecError:
        what = body[:256].decode(errors="replace")
    return _BY_STATUS.get(status, ApiError)(status, what[:512])


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API server is and how to show who we are."""

    server: str
    """Its address, e.g. ``https://10.0.0.1:443``."""

    ca_file: Path
    """The CA that signed its certificate (PEM)."""

    token_file: Path
    """A bearer token. The kubelet rotates the file, so it is read again whenever it changed."""

    @staticmethod
    def in_cluster(host: str, port: str) -> "Connection":
        """Return the connection of a Pod's own ServiceAccount; ``host`` may be an IPv6 address."""
        name = f"[{host}]" if ":" in host else host
        return Connection(f"https://{name}:{port}", _SERVICE_ACCOUNT / "ca.crt", _SERVICE_ACCOUNT / "token")

    def token(self) -> str:
        """Return the token as it is on disk now."""
        return self.token_file.read_text().strip()


class ApiClient:
    """Requests to one API server. Use as an async context manager."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._token = ""
        self._token_stamp = (0, 0)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        tls = ssl.create_default_context(cafile=str(self._connection.ca_file))
        self._session = aiohttp.ClientSession(
            self._connection.server,
            connector=aiohttp.TCPConnector(ssl=tls, limit=0),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def _headers(self) -> dict[str, str]:
        stat = self._connection.token_file.stat()
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp != self._token_stamp:
            self._token, self._token_stamp = self._connection.token(), stamp
        return {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = _NO_BODY,
        body: Any = None,
        content_type: str = "application/json",
    ) -> bytes:
        """Return the body of a 2xx answer.

        Raises:
            ApiError: any other answer (404, 409 and 410 by their own class), or none.
        """
        if self._session is None:
            raise RuntimeError("ApiClient is used outside its context")
        headers = self._headers()
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = msgspec.json.encode(body)
        try:
            async with self._session.request(
                method, path, params=query, data=data, headers=headers, allow_redirects=False
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise ApiError(0, f"{type(e).__name__}: {e}") from e
        if not 200 <= answer.status < 300:
            raise api_error(answer.status, content)
        return content

    async def lines(self, path: str, *, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """Yield the lines of a streamed answer (a watch) until the server ends it.

        Raises:
            ApiError: the server refused, the stream broke, or nothing came for ``SILENCE_SECONDS``.
        """
        if self._session is None:
            raise RuntimeError("ApiClient is used outside its context")
        patience = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS, sock_read=SILENCE_SECONDS)
        try:
            async with self._session.get(
                path, params=query, headers=self._headers(), timeout=patience, allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    raise api_error(answer.status, await answer.read())
                pending = bytearray()
                # Not readline: its buffer limit (64 KiB) is below the size of a large object.
                async for chunk in answer.content.iter_any():
                    pending += chunk
                    if b"\n" in chunk:
                        *whole, rest = pending.split(b"\n")
                        pending = bytearray(rest)
                        for line in whole:
                            if line:
                                yield bytes(line)
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise ApiError(0, f"{type(e).__name__}: {e}") from e
