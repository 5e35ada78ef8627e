"""What a node may read: the manifests that it was assigned, and what these name."""

import json
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final

from edgewright_api.canonical import digest_bytes
from edgewright_operator.gateway.tickets import Content
from edgewright_operator.store import (
    ObjectNotFoundError,
    ObjectStore,
    StoreUnavailableError,
    blob_key,
    manifest_key,
)

_REMEMBER_AT_MOST: Final = 4096

Assigned = Callable[[str], Collection[str]]
"""Takes a node's name; returns the manifest digests that the *spec* of its NodeAssignment names.

Not those of its status: the node writes that itself, and could name there what others were assigned.
"""


class NotAssignedError(Exception):
    """``403``: nothing that this node was assigned leads to the digest."""


@dataclass(slots=True)
class Artifacts:
    """Finds the content of digests. Manifests never change, so what they name is remembered."""

    store: ObjectStore
    assigned: Assigned
    _named: OrderedDict[str, frozenset[str]] = field(default_factory=OrderedDict)

    async def find(self, node: str, digest: str) -> Content:
        """Return where the content is that ``digest`` names.

        Raises:
            NotAssignedError: ``node`` has no business with it, whether it exists or not.
            ObjectNotFoundError: the node may read it, but the store does not have it.
        """
        manifests = self.assigned(node)
        if digest in manifests:
            return await self._content(digest, manifest_key(digest))
        for manifest in manifests:
            if digest in await self._layers(manifest):
                return await self._content(digest, blob_key(digest))
        raise NotAssignedError(f"{digest} is not part of anything that node {node} was assigned")

    async def _content(self, digest: str, key: str) -> Content:
        info = await self.store.head(key)
        if info is None:
            raise ObjectNotFoundError(key)
        return Content(digest, key, info.size)

    async def _layers(self, manifest: str) -> frozenset[str]:
        """Return the digests that the manifest names; none while the manifest itself is missing."""
        named = self._named.get(manifest)
        if named is None:
            data = await self.store.find(manifest_key(manifest))
            if data is None:
                return frozenset()
            if digest_bytes(data) != manifest:
                raise StoreUnavailableError(f"the content of {manifest} is damaged in the object store")
            named = _digests(json.loads(data))
            self._named[manifest] = named
            while len(self._named) > _REMEMBER_AT_MOST:
                self._named.popitem(last=False)
        return named


def _digests(manifest: dict[str, Any]) -> frozenset[str]:
    return frozenset(part["digest"] for part in (manifest["config"], *manifest["layers"]))
