"""What the API server holds, as last heard: one typed store a kind, replaced whole by every list."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from edgewright_api.edgedeployment import EdgeDeployment
from edgewright_api.edgemodel import EdgeModel
from edgewright_api.edgetarget import EdgeTarget
from edgewright_api.modelrevision import ModelRevision
from edgewright_operator.planning.nodes import Wish
from edgewright_operator.planning.objects import (
    ClusterNode,
    DeploymentRef,
    EdgeNode,
    Kind,
    Lease,
    NodeAssignment,
)

Place = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name."""


class HasMeta(Protocol):
    """What a store asks of an object's metadata."""

    @property
    def name(self) -> str: ...
    @property
    def namespace(self) -> str | None: ...
    @property
    def resource_version(self) -> str: ...


class Stored(Protocol):
    """An object of the API, however it was decoded."""

    @property
    def metadata(self) -> HasMeta: ...


T = TypeVar("T", bound=Stored)
Changed = Callable[[Kind, Any, Any], None]
"""Told the kind, the object before (or None) and after (or None), once the store has changed."""


def version_of(meta: HasMeta) -> int:
    """Return the resource version as a number: within one kind they are ordered (Kubernetes 1.35)."""
    return int(meta.resource_version or "0")


class Store(Generic[T]):
    """All objects of one kind.

    Lists and events come by ways of their own and may overtake each other, so the newer version of an object
    wins, and what was deleted after a list was taken stays deleted.
    """

    def __init__(self, kind: Kind, changed: Changed) -> None:
        self.kind = kind
        self.synced = False
        """Whether a whole list has been seen."""
        self._changed = changed
        self._objects: dict[Place, T] = {}
        self._deleted: dict[Place, int] = {}

    def get(self, namespace: str, name: str) -> T | None:
        """Return an object, or None."""
        return self._objects.get((namespace, name))

    def all(self) -> Iterable[T]:
        """Return every object, in no order."""
        return self._objects.values()

    def __len__(self) -> int:
        return len(self._objects)

    def apply(self, obj: T) -> None:
        """Take in an object that was added, modified, listed or just written."""
        place = _place(obj.metadata)
        old, version = self._objects.get(place), version_of(obj.metadata)
        if version <= self._deleted.get(place, -1) or (old and version <= version_of(old.metadata)):
            return
        self._objects[place] = obj
        self._deleted.pop(place, None)
        self._changed(self.kind, old, obj)

    def remove(self, obj: T) -> None:
        """Take in that an object was deleted; ``obj`` is its last state."""
        place, version = _place(obj.metadata), version_of(obj.metadata)
        self._deleted[place] = version
        old = self._objects.get(place)
        if old is not None and version_of(old.metadata) <= version:
            del self._objects[place]
            self._changed(self.kind, old, None)

    def drop(self, namespace: str, name: str) -> None:
        """Forget an object that the API server says it does not have."""
        old = self._objects.pop((namespace, name), None)
        if old is not None:
            self._changed(self.kind, old, None)

    def replace(self, objects: Iterable[T], version: int) -> None:
        """Take in a whole list that is as of ``version``: what it lacks and is not newer is gone."""
        listed: set[Place] = set()
        for obj in objects:
            listed.add(_place(obj.metadata))
            self.apply(obj)
        for place, old in list(self._objects.items()):
            if place not in listed and version_of(old.metadata) <= version:
                del self._objects[place]
                self._changed(self.kind, old, None)
        self._deleted = {place: at for place, at in self._deleted.items() if at > version}
        self.synced = True


@dataclass(frozen=True, slots=True)
class Beat:
    """When the operator saw a node's Lease first, and when it last saw it renewed."""

    first_seen: datetime
    changed: datetime | None


@dataclass(slots=True)
class Memory:
    """What the reconcilers remember of each other between two visits. All of it can be worked out anew."""

    wishes: dict[Place, dict[str, Wish]] = field(default_factory=dict)
    """By deployment, then by node: what it wants of the node."""
    unwanted_since: dict[str, dict[DeploymentRef, datetime]] = field(default_factory=dict)
    """By node: when it was first seen that nothing wants an entry there."""
    beats: dict[str, Beat] = field(default_factory=dict)
    """By node."""
    term: int = 0
    """This leadership: more than any that was read at the start."""

    def wishes_for(self, node: str) -> list[Wish]:
        """Return what all deployments want of a node."""
        return [wishes[node] for wishes in self.wishes.values() if node in wishes]


class Cache:
    """A store for each kind."""

    def __init__(self, changed: Changed) -> None:
        self.models: Store[EdgeModel] = Store(Kind.MODEL, changed)
        self.revisions: Store[ModelRevision] = Store(Kind.REVISION, changed)
        self.deployments: Store[EdgeDeployment] = Store(Kind.DEPLOYMENT, changed)
        self.targets: Store[EdgeTarget] = Store(Kind.TARGET, changed)
        self.nodes: Store[EdgeNode] = Store(Kind.NODE, changed)
        self.assignments: Store[NodeAssignment] = Store(Kind.ASSIGNMENT, changed)
        self.leases: Store[Lease] = Store(Kind.LEASE, changed)
        self.cluster_nodes: Store[ClusterNode] = Store(Kind.CLUSTER_NODE, changed)

    def stores(self) -> Mapping[Kind, Store[Any]]:
        """Return the stores by kind."""
        return {store.kind: store for store in vars(self).values()}

    @property
    def synced(self) -> bool:
        """Whether every kind has been listed."""
        return all(store.synced for store in self.stores().values())


def _place(meta: HasMeta) -> Place:
    return (meta.namespace or "", meta.name)
