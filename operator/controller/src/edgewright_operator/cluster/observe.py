"""From the cache to what a decision looks at: frozen values, or None for what does not exist (any more)."""

from datetime import datetime, timedelta

from edgewright_operator.cluster.cache import Cache, Memory
from edgewright_operator.cluster.resources import NODES_NAMESPACE
from edgewright_operator.planning.deployments import DeploymentSeen
from edgewright_operator.planning.models import ModelSeen
from edgewright_operator.planning.nodes import RUN, NodeSeen, name_holder
from edgewright_operator.planning.objects import EdgeNode, Key, NodeAssignment
from edgewright_operator.planning.reachability import MISSED_BEATS, Heartbeat
from edgewright_operator.planning.rollout import NodeView


def model(cache: Cache, key: Key) -> ModelSeen | None:
    """Return what a decision about an EdgeModel looks at."""
    found = cache.models.get(key.namespace, key.name)
    if found is None:
        return None
    revisions = tuple(
        r for r in cache.revisions.all() if r.metadata.namespace == key.namespace and r.spec.model == key.name
    )
    return ModelSeen(found, {t.metadata.name: t for t in cache.targets.all()}, revisions)


def deployment(cache: Cache, memory: Memory, key: Key) -> DeploymentSeen | None:
    """Return what a decision about an EdgeDeployment looks at."""
    found = cache.deployments.get(key.namespace, key.name)
    if found is None:
        return None
    name = found.spec.model.name
    owner = cache.models.get(key.namespace, name)
    revisions = tuple(
        r for r in cache.revisions.all() if r.metadata.namespace == key.namespace and r.spec.model == name
    )
    served_name = found.spec.serving.model_name
    nodes = tuple(_view(cache, memory, key, served_name, node) for node in cache.nodes.all())
    return DeploymentSeen(
        found, owner is not None, owner.status.ready_revision if owner else "", revisions, nodes
    )


def _view(cache: Cache, memory: Memory, key: Key, served_name: str, node: EdgeNode) -> NodeView:
    name, place = node.metadata.name, (key.namespace, key.name)
    twin, assignment = cache.cluster_nodes.get("", name), cache.assignments.get("", name)
    entry = status = None
    if assignment is not None:
        entry = next((e for e in assignment.spec.assignments if e.deployment.place == place), None)
        status = next((s for s in assignment.status.assignments if s.deployment.place == place), None)
    wish = memory.wishes.get(place, {}).get(name)
    asked = wish.entry.manifest_digest if wish is not None and wish.entry.state == RUN else None
    holder = name_holder(assignment, place, served_name)
    return NodeView(
        name=name,
        labels={**(twin.metadata.labels if twin else {}), **node.metadata.labels},
        labels_known=twin is not None,
        inventory=node.status.inventory,
        reachable=node.reachable(),
        entry=entry,
        status=status,
        asked=asked,
        refusal=f"the name {served_name} is served for {holder.namespace}/{holder.name}" if holder else None,
    )


def node(cache: Cache, memory: Memory, key: Key) -> NodeSeen:
    """Return what the composition of a node's assignment looks at."""
    return NodeSeen(
        assignment=cache.assignments.get("", key.name),
        wishes=memory.wishes_for(key.name),
        existing=frozenset((d.metadata.namespace or "", d.metadata.name) for d in cache.deployments.all()),
        unwanted_since=memory.unwanted_since.get(key.name, {}),
        term=memory.term,
    )


def heartbeat(cache: Cache, memory: Memory, name: str) -> Heartbeat | None:
    """Return a node's heartbeat as the operator saw it, or None while there is no Lease."""
    lease, beat = cache.leases.get(NODES_NAMESPACE, name), memory.beats.get(name)
    if lease is None or beat is None:
        return None
    seconds = lease.spec.lease_duration_seconds or MISSED_BEATS * _interval(cache.assignments.get("", name))
    return Heartbeat(beat.first_seen, beat.changed, timedelta(seconds=seconds))


def _interval(assignment: NodeAssignment | None) -> int:
    return assignment.spec.heartbeat_seconds if assignment is not None else 300


def renewed(cache: Cache, name: str) -> datetime | None:
    """Return when the node itself says that it renewed its Lease last, or None."""
    lease = cache.leases.get(NODES_NAMESPACE, name)
    try:
        return datetime.fromisoformat(lease.spec.renew_time) if lease and lease.spec.renew_time else None
    except ValueError:
        return None
