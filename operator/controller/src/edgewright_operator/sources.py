"""Resolves what users name: an object of the installation's own bucket becomes a digest, and a blob.

The bytes are hashed on their way through a local file and kept as a blob, so that a build reads exactly what
was resolved, whatever happens to the user's object meanwhile.
"""

import asyncio
import tempfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgewright_api.errors import StalledError, TransientError
from edgewright_api.modelrevision import ResolvedContent
from edgewright_api.reasons import Reason
from edgewright_operator.store import INTERNAL, ObjectInfo, ObjectNotFoundError, ObjectStore, blob_key

_REMEMBER_AT_MOST: Final = 4096
_COPIES_AT_ONCE: Final = 2
"""More would take the store's threads from the gateway, and the disk from the builds."""


@dataclass(slots=True)
class Sources:
    """Turns ``s3://`` addresses into digests."""

    store: ObjectStore
    work_dir: Path
    max_bytes: int = 4 << 30
    """The largest source or data set that is read."""

    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_COPIES_AT_ONCE))
    _known: OrderedDict[tuple[str, ObjectInfo], str] = field(default_factory=OrderedDict)

    async def resolve(self, uri: str) -> ResolvedContent:
        """Return the digest and size of what lies at ``uri`` now; afterwards it lies in ``blobs/``, too.

        An object whose size and entity tag are as they were the last time is not read again.

        Raises:
            TransientError: SourceNotReadable, when nothing is there (yet); StoreUnavailable.
            StalledError: SourceNotReadable, when it may not or can't be read whoever tries.
        """
        key = _key(uri, self.store.bucket, self.store.prefix)
        info = await self.store.head(key, absolute=True)
        if info is None:
            raise _missing(uri)
        digest = self._known.get((key, info))
        if digest is None:
            async with self._places:  # it may have been copied for another model meanwhile
                digest = self._known.get((key, info)) or await self._copy(uri, key)
            # What was read may be newer than what HEAD saw; only an object that stood still is remembered.
            if await self.store.head(key, absolute=True) == info:
                self._remember((key, info), digest)
        stored = await self.store.head(blob_key(digest))
        if stored is None:
            raise TransientError(
                Reason.STORE_UNAVAILABLE,
                f"the copy of {uri} is not in the store",
                remedy="It is copied again",
            )
        return ResolvedContent(uri=uri, digest=digest, size_bytes=stored.size)

    async def _copy(self, uri: str, key: str) -> str:
        with tempfile.TemporaryDirectory(dir=self.work_dir, prefix="source-") as directory:
            path = Path(directory) / "content"
            try:
                copied = await self.store.download(key, path, max_bytes=self.max_bytes, absolute=True)
            except ObjectNotFoundError as error:
                raise _missing(uri) from error
            except ValueError as error:
                raise _refused(f"{uri} can't be read: {error}", "Use a smaller file") from error
            target = blob_key(copied.digest)
            found = await self.store.head(target)
            if found is None or found.size != copied.size:
                await self.store.upload(path, target)
            return copied.digest

    def _remember(self, seen: tuple[str, ObjectInfo], digest: str) -> None:
        self._known[seen] = digest
        while len(self._known) > _REMEMBER_AT_MOST:
            self._known.popitem(last=False)


def _key(uri: str, bucket: str, prefix: str) -> str:
    scheme, _, rest = uri.partition("://")
    named, _, key = rest.partition("/")
    if scheme != "s3" or not key:
        raise _refused(f"{uri} is no s3:// address", "Write s3://<bucket>/<key>")
    if named != bucket:
        raise _refused(
            f"bucket {named} of {uri} is not this installation's", f"Copy the object to s3://{bucket}/"
        )
    if key.startswith(tuple(prefix + internal for internal in INTERNAL)):
        # Else a user could name what belongs to another namespace by its digest.
        raise _refused(f"{uri} lies where the installation keeps its own objects", "Keep sources elsewhere")
    return key


def _refused(what: str, remedy: str) -> StalledError:
    return StalledError(Reason.SOURCE_NOT_READABLE, what, remedy=remedy)


def _missing(uri: str) -> TransientError:
    return TransientError(
        Reason.SOURCE_NOT_READABLE, f"there is no object at {uri}", remedy="Upload it, or correct the address"
    )
