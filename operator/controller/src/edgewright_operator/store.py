"""The object store: where the installation keeps content, and the only code that talks S3.

boto3 is synchronous; every call runs in a thread of the store's own pool, so that a slow store holds up
neither the event loop nor the rest of the process. Names are relative to the installation's prefix.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from edgewright_api.canonical import hex_of
from edgewright_api.errors import TransientError
from edgewright_api.reasons import Reason

_T = TypeVar("_T")
_CHUNK: Final = 256 * 1024
_THREADS: Final = 24
_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchBucket"})
INTERNAL: Final = ("staging/", "blobs/", "manifests/", "index/", "cache/", "trust/")
"""The names that the installation keeps for itself below its prefix."""


class StoreUnavailableError(TransientError):
    """The object store did not answer, or answered with an error of its own."""

    def __init__(self, what: str) -> None:
        super().__init__(
            Reason.STORE_UNAVAILABLE,
            what,
            remedy="Check the endpoint, the bucket and the keys of the object store",
        )


class ObjectNotFoundError(Exception):
    """The store has no such object; what that means is for the caller to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Where the bucket is and how to reach it."""

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    prefix: str = ""
    """What every name of this installation begins with, e.g. ``edgewright/``; empty is the whole bucket."""

    public_endpoint: str = ""
    """The endpoint as nodes reach it, for pre-signed URLs of the Redirect mode; empty is ``endpoint``."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What HEAD says; ``etag`` changes when the content does, and is nothing more than that."""

    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What was written to a local file."""

    digest: str
    size: int


def blob_key(digest: str) -> str:
    """Return the name of content: model files, reports, golden vectors, data sets.

    Raises:
        ValueError: ``digest`` is no SHA-256 digest, so it must not become part of a name.
    """
    return f"blobs/sha256/{hex_of(digest)}"


def manifest_key(digest: str) -> str:
    """Return the name of the OCI image manifest of one variant."""
    return f"manifests/sha256/{hex_of(digest)}"


def index_key(namespace: str, model: str, revision: str) -> str:
    """Return the name of the OCI image index of one revision."""
    return f"index/{namespace}/{model}/{revision}.json"


def cache_key(key: str) -> str:
    """Return the name of the record of one pass of one build; ``key`` has the form of a digest."""
    return f"cache/{hex_of(key)}.json"


def staging_key(build: str, name: str) -> str:
    """Return the name of a file that the build of this uid may write."""
    return f"staging/{build}/{name}"


class ObjectStore:
    """One installation's prefix of one bucket.

    Every method raises :class:`StoreUnavailableError` when the store cannot answer; those that read raise
    :class:`ObjectNotFoundError` for an object that is not there.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self._bucket = settings.bucket
        self._prefix = settings.prefix
        self._client = _client(settings, settings.endpoint)
        self._public = _client(settings, settings.public_endpoint or settings.endpoint)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")

    @property
    def bucket(self) -> str:
        """The installation's bucket."""
        return self._bucket

    @property
    def prefix(self) -> str:
        """What the installation's own names begin with in the bucket."""
        return self._prefix

    def close(self) -> None:
        """End the threads and the connections; calls in flight are awaited."""
        self._pool.shutdown()
        self._client.close()
        self._public.close()

    async def get(self, key: str) -> bytes:
        """Return the whole object; for what is known to be small."""
        return await self._call(lambda: bytes(self._open(self._prefix + key)["Body"].read()), key)

    async def find(self, key: str) -> bytes | None:
        """Return the whole object, or None when there is none."""
        try:
            return await self.get(key)
        except ObjectNotFoundError:
            return None

    async def put(self, key: str, data: bytes) -> None:
        """Write the object; a name that contains a digest is written with the same bytes or not at all."""
        target = {"Bucket": self._bucket, "Key": self._prefix + key}
        await self._call(lambda: self._client.put_object(**target, Body=data), key)

    async def head(self, key: str, *, absolute: bool = False) -> ObjectInfo | None:
        """Return size and etag, or None; ``absolute`` means a name outside of the installation's prefix."""
        name = key if absolute else self._prefix + key
        try:
            answer = await self._call(lambda: self._client.head_object(Bucket=self._bucket, Key=name), key)
        except ObjectNotFoundError:
            return None
        return ObjectInfo(int(answer["ContentLength"]), str(answer["ETag"]))

    async def download(self, key: str, path: Path, *, max_bytes: int, absolute: bool = False) -> Downloaded:
        """Write the object to ``path`` and return digest and size of what was written.

        Raises:
            ValueError: the object is larger than ``max_bytes``; ``path`` then holds its beginning.
        """
        name = key if absolute else self._prefix + key
        return await self._call(lambda: self._download(name, path, max_bytes), key)

    async def upload(self, path: Path, key: str) -> None:
        """Write the file to the object, in parts when it is large."""
        await self._call(lambda: self._client.upload_file(str(path), self._bucket, self._prefix + key), key)

    async def names(self, key_prefix: str) -> list[tuple[str, int]]:
        """Return name and size of every object whose name begins so, in order of the names."""
        return await self._call(lambda: self._list(key_prefix), key_prefix)

    async def delete(self, key: str) -> None:
        """Remove the object; it may be gone already."""
        await self._call(lambda: self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key), key)

    async def stream(self, key: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield ``length`` bytes from ``start`` in chunks, reading on only when the last one was taken."""
        if not length:
            return
        name, last = self._prefix + key, start + length - 1
        answer = await self._call(lambda: self._open(name, Range=f"bytes={start}-{last}"), key)
        body = answer["Body"]
        try:
            while chunk := await self._call(lambda: bytes(body.read(_CHUNK)), key):
                yield chunk
        finally:
            body.close()

    def presign_get(self, key: str, seconds: int, *, public: bool = False) -> str:
        """Return a URL that reads the object; ``public`` makes it one that nodes can reach."""
        return self._presign("get_object", key, seconds, self._public if public else self._client)

    def presign_put(self, key: str, seconds: int) -> str:
        """Return a URL that writes the object."""
        return self._presign("put_object", key, seconds, self._client)

    def _presign(self, operation: str, key: str, seconds: int, client: Any) -> str:
        target = {"Bucket": self._bucket, "Key": self._prefix + key}
        return str(client.generate_presigned_url(operation, Params=target, ExpiresIn=seconds))

    def _open(self, name: str, **options: str) -> Any:
        return self._client.get_object(Bucket=self._bucket, Key=name, **options)

    def _download(self, name: str, path: Path, max_bytes: int) -> Downloaded:
        answer = self._open(name)
        size = int(answer["ContentLength"])
        if size > max_bytes:
            answer["Body"].close()
            raise ValueError(f"{name} has {size} bytes, at most {max_bytes} are read")
        hashed, written = hashlib.sha256(), 0
        with path.open("wb") as file:
            for chunk in answer["Body"].iter_chunks(_CHUNK):
                hashed.update(chunk)
                written += file.write(chunk)
        if written != size:
            raise StoreUnavailableError(f"{name} ended after {written} of {size} bytes")
        return Downloaded(f"sha256:{hashed.hexdigest()}", written)

    def _list(self, key_prefix: str) -> list[tuple[str, int]]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + key_prefix
        )
        return [
            (str(item["Key"])[len(self._prefix) :], int(item["Size"]))
            for page in pages
            for item in page.get("Contents", ())
        ]

    async def _call(self, function: Callable[[], _T], name: str) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function)
        except ClientError as error:
            if str(error.response.get("Error", {}).get("Code")) in _MISSING:
                raise ObjectNotFoundError(name) from error
            raise StoreUnavailableError(f"the object store refused {name}: {error}") from error
        except (BotoCoreError, Boto3Error, OSError) as error:
            raise StoreUnavailableError(f"the object store does not answer for {name}: {error}") from error


def _client(settings: StoreSettings, endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=5,
            read_timeout=30,
            max_pool_connections=_THREADS,
            retries={"max_attempts": 3, "mode": "standard"},
        ),
    )
