"""Which keys an event makes dirty. A key too many costs a look; one too few costs until the next resync."""

from collections.abc import Iterable
from typing import Any

from edgewright_operator.cluster.cache import Cache
from edgewright_operator.planning.objects import EdgeNode, Key, Kind, NodeAssignment


def affected(cache: Cache, kind: Kind, old: Any, new: Any) -> Iterable[Key]:
    """Return the keys whose decision may be another one, now that ``old`` became ``new``."""
    obj = new if new is not None else old
    meta = obj.metadata
    namespace, name = meta.namespace or "", meta.name
    match kind:
        case Kind.MODEL:
            yield Key(Kind.MODEL, namespace, name)
            yield from _deployments_of(cache, namespace, name)
        case Kind.REVISION:
            yield Key(Kind.REVISION, namespace, name)
            yield Key(Kind.MODEL, namespace, obj.spec.model)
            yield from _deployments_of(cache, namespace, obj.spec.model)
        case Kind.DEPLOYMENT:
            yield Key(Kind.DEPLOYMENT, namespace, name)
            if new is None or old is None or old.metadata.uid != new.metadata.uid:
                for assignment in cache.assignments.all():
                    if (namespace, name) in assignment.places():
                        yield Key(Kind.NODE, "", assignment.metadata.name)
        case Kind.TARGET:
            for model in cache.models.all():
                if any(t.name == name for t in model.spec.targets):
                    yield Key(Kind.MODEL, model.metadata.namespace or "", model.metadata.name)
        case Kind.NODE:
            yield Key(Kind.NODE, "", name)
            if old is None or new is None or _as_matched(old) != _as_matched(new):
                yield from _all_deployments(cache)
        case Kind.ASSIGNMENT:
            yield Key(Kind.NODE, "", name)
            yield from _of_assignment(cache, old, new)
        case Kind.LEASE:
            node = cache.nodes.get("", name)
            # A node that is heard of already is looked at again when its time is up, not at every heartbeat.
            if node is None or not node.reachable():
                yield Key(Kind.NODE, "", name)
        case Kind.CLUSTER_NODE:
            if old is None or new is None or old.metadata.labels != new.metadata.labels:
                yield from _all_deployments(cache)


def _as_matched(node: EdgeNode) -> tuple[Any, ...]:
    """Return all of a node that a deployment's decision looks at."""
    return (node.metadata.uid, node.metadata.labels, node.status.inventory, node.reachable())


def _of_assignment(cache: Cache, old: NodeAssignment | None, new: NodeAssignment | None) -> Iterable[Key]:
    places = (set(old.places()) if old else set()) | (set(new.places()) if new else set())
    for namespace, name in sorted(places):
        yield Key(Kind.DEPLOYMENT, namespace, name)
    freed = _served_names(old) - _served_names(new)
    for deployment in cache.deployments.all() if freed else ():
        if deployment.spec.serving.model_name in freed:
            yield Key(Kind.DEPLOYMENT, deployment.metadata.namespace or "", deployment.metadata.name)


def _served_names(assignment: NodeAssignment | None) -> set[str]:
    return {e.served_name for e in assignment.spec.assignments} if assignment else set()


def _deployments_of(cache: Cache, namespace: str, model: str) -> Iterable[Key]:
    for deployment in cache.deployments.all():
        if deployment.metadata.namespace == namespace and deployment.spec.model.name == model:
            yield Key(Kind.DEPLOYMENT, namespace, deployment.metadata.name)


def _all_deployments(cache: Cache) -> Iterable[Key]:
    for deployment in cache.deployments.all():
        yield Key(Kind.DEPLOYMENT, deployment.metadata.namespace or "", deployment.metadata.name)
