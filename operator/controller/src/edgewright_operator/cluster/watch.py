"""List and watch of one kind: every list replaces the store, every event changes it.

A watch that breaks goes on from the last version it saw; one that ends by plan, or can't go on, lists again. So
a deletion that no event told of is noticed at the next list.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from edgewright_operator.cluster.cache import Store
from edgewright_operator.cluster.client import ApiClient, ApiError, Gone
from edgewright_operator.cluster.resources import Resource

_LOG: Final = logging.getLogger(__name__)

PAGE: Final = 500
"""Objects per page of a list."""
RETRY_SECONDS: Final = 2.0
"""Constant, so that an operator is not blind for long after the API server was away."""


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = "0"
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] = []


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Bookmark(msgspec.Struct):
    class Meta(msgspec.Struct, rename="camel"):
        resource_version: str = ""

    metadata: Meta | None = None
    code: int = 0
    message: str = ""


_PAGE: Final = msgspec.json.Decoder(_Page)
_EVENT: Final = msgspec.json.Decoder(_Event)
_BOOKMARK: Final = msgspec.json.Decoder(_Bookmark)


@dataclass(slots=True)
class Watcher:
    """Keeps one store as the API server has it."""

    api: ApiClient
    resource: Resource
    store: Store[Any]
    resync_seconds: float
    clock: Callable[[], float]
    """Monotonic seconds."""
    listed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the store has been filled."""

    async def relist(self) -> str:
        """List everything, replace the store, and return the version that the list is as of.

        Raises:
            ApiError: the API server refused or is away; the store is then as it was.
        """
        objects: list[Any] = []
        query = {"limit": str(PAGE)}
        while True:
            data = await self.api.request("GET", self.resource.collection, query=query)
            page = _PAGE.decode(data)
            objects += [o for item in page.items if (o := self._decode(bytes(item))) is not None]
            if not page.metadata.continue_:
                break
            query = {"limit": str(PAGE), "continue": page.metadata.continue_}
        self.store.replace(objects, int(page.metadata.resource_version or "0"))
        self.listed.set()
        return page.metadata.resource_version

    async def follow(self) -> None:
        """List and watch for ever."""
        while True:
            try:
                version = await self.relist()
                listed = self.clock()
                while (left := listed + self.resync_seconds - self.clock()) > 0:
                    version = await self._watch(version, left)
            except Gone:
                continue
            except ApiError as e:
                _LOG.warning("%s: %s", self.resource.kind, e)
                await asyncio.sleep(RETRY_SECONDS)

    async def _watch(self, version: str, seconds: float) -> str:
        """Take in events until the stream ends; return the version to go on from."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(max(1, int(seconds))),
        }
        try:
            async for line in self.api.lines(self.resource.collection, query=query):
                version = self._take(_EVENT.decode(line)) or version
        except Gone:
            raise
        except ApiError as e:
            _LOG.debug("%s: the watch goes on after: %s", self.resource.kind, e)
            await asyncio.sleep(RETRY_SECONDS)
        return version

    def _take(self, event: _Event) -> str:
        """Take in one event and return its version."""
        raw = bytes(event.object)
        if event.type in ("BOOKMARK", "ERROR"):
            about = _BOOKMARK.decode(raw)
            if event.type == "ERROR":
                raise Gone(about.code, about.message)  # whatever it was: a list puts it right
            return about.metadata.resource_version if about.metadata else ""
        obj = self._decode(raw)
        if obj is None:
            return ""
        if event.type == "DELETED":
            self.store.remove(obj)
        else:
            self.store.apply(obj)
        return str(obj.metadata.resource_version)

    def _decode(self, data: bytes) -> Any:
        """Return the object, or None: one that can't be read holds up no other."""
        try:
            return self.resource.decode(data)
        except ValueError as e:
            _LOG.error("a %s can't be read: %s", self.resource.kind, str(e)[:500])
            return None


async def resync(watcher: Watcher) -> None:
    """List for ever what others watch for us: an event that was lost costs this long at most."""
    while True:
        try:
            await watcher.relist()
        except ApiError as e:
            _LOG.warning("%s: %s", watcher.resource.kind, e)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            await asyncio.sleep(watcher.resync_seconds)
