"""Where a step reads and writes: pre-signed URLs or local paths. A step holds no key to any store."""

import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final, Protocol

from edgewright_api.canonical import hex_of
from edgewright_api.errors import TransientError
from edgewright_api.reasons import Reason

_TIMEOUT_SECONDS: Final = 60
_CHUNK: Final = 1 << 20
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A step talks to the store and to nothing else, so proxies of the environment do not apply."""


class Store(Protocol):
    """The two directions of a step's job."""

    def fetch(self, where: str, to: Path) -> None:
        """Copy the content at ``where`` to a local file.

        Raises:
            TransientError: StoreUnavailable.
        """
        ...

    def put(self, data: bytes, where: str) -> None:
        """Write content to ``where``.

        Raises:
            TransientError: StoreUnavailable.
        """
        ...


class PlaceStore:
    """Tells URLs from paths by their scheme."""

    def fetch(self, where: str, to: Path) -> None:
        """Copy the content at a URL or path to a local file."""
        try:
            if _is_url(where):
                with _OPENER.open(where, timeout=_TIMEOUT_SECONDS) as answer, to.open("wb") as out:
                    shutil.copyfileobj(answer, out, _CHUNK)
            else:
                shutil.copyfile(where, to)
        except (OSError, http.client.HTTPException) as error:
            raise _unavailable("read", error) from error

    def put(self, data: bytes, where: str) -> None:
        """Write content to a URL or path; a path is complete or absent."""
        try:
            if _is_url(where):
                # Without a type of ours urllib adds one, which older signatures cover: the store would refuse it.
                request = urllib.request.Request(where, data, {"Content-Type": ""}, method="PUT")  # noqa: S310 - as above
                with _OPENER.open(request, timeout=_TIMEOUT_SECONDS):
                    return
            path = Path(where)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            part.write_bytes(data)
            part.replace(path)
        except (OSError, http.client.HTTPException) as error:
            raise _unavailable("write", error) from error


def _is_url(where: str) -> bool:
    return where.startswith(("http://", "https://"))


def _unavailable(verb: str, error: Exception) -> TransientError:
    # The address is left out of the message: a pre-signed URL is a capability.
    what = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
    return TransientError(
        Reason.STORE_UNAVAILABLE, f"the store could not be used to {verb}: {what}", remedy="It is tried again"
    )


class Workspace:
    """The local files of one step by digest: fetched once, or made here."""

    def __init__(self, root: Path, store: Store) -> None:
        self._root = root
        self._store = store

    def path(self, digest: str) -> Path:
        """Return where the content of a digest lies once it is here."""
        return self._root / hex_of(digest)

    def keep(self, digest: str, data: bytes) -> None:
        """Keep content that was made here."""
        self.path(digest).write_bytes(data)

    def have(self, digest: str, where: str | None) -> Path:
        """Return the local file of a digest, fetched and verified when it is not here yet.

        Raises:
            TransientError: StoreUnavailable, when it can't be read or its bytes are not the digest's.
        """
        path = self.path(digest)
        if path.exists():
            return path
        if where is None:
            raise TransientError(
                Reason.STORE_UNAVAILABLE, f"the job says not where {digest} lies", remedy="It is tried again"
            )
        part = path.with_suffix(".part")
        self._store.fetch(where, part)
        if file_digest(part) != digest:
            part.unlink()
            raise TransientError(
                Reason.STORE_UNAVAILABLE,
                f"the store gave other bytes than {digest}",
                remedy="It is tried again",
            )
        part.replace(path)
        return path


def file_digest(path: Path) -> str:
    """Return the digest of a file's content, read in pieces."""
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
