"""This node's own objects: its EdgeNode (what it is) and its Lease (that it lives)."""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from edgewright_node.agent import inventory, report
from edgewright_node.agent.api import LEASES, NODES, Api, ApiError
from edgewright_node.agent.metrics import Counters
from edgewright_node.agent.wire import (
    API_VERSION,
    EdgeNode,
    Inventory,
    Lease,
    LeaseSpec,
    Metadata,
    NodeStatus,
)
from edgewright_node.reasons import Reason

LEASE_RENEWALS: Final = 3
"""A Lease lasts as long as this many renewals: two may be lost."""


def label_changes(found: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str | None]:
    """Return the merge patch of the labels under the agent's prefix; others are not ours. PURE."""
    stale = {k: None for k in found if k.startswith(inventory.LABEL_PREFIX) and k not in wanted}
    return {**stale, **{k: v for k, v in wanted.items() if found.get(k) != v}}


def node_status(node: EdgeNode, found: Inventory, *, version: str, now: str) -> NodeStatus:
    """Return the status that the EdgeNode should have; the condition Reachable is kept as it is. PURE."""
    generation = node.metadata.generation
    return NodeStatus(
        observed_generation=generation,
        conditions=report.conditions(
            node.status.conditions,
            (True, True, False, False),
            Reason.REGISTERED,
            "the agent runs",
            generation=generation,
            now=now,
        ),
        inventory=found,
        agent_version=version,
    )


async def register(
    api: Api, name: str, found: Inventory, *, version: str, now: str, counters: Counters
) -> None:
    """Make the EdgeNode say what this node is; create it if there is none. Its spec is never sent.

    Raises:
        ApiError, UNREACHABLE: nothing is lost by trying again.
    """
    labels = inventory.labels(found)
    for last in (False, False, True):
        node = await _labelled(api, name, labels)
        status = node_status(node, found, version=version, now=now)
        if status == node.status:
            return
        metadata = Metadata(name=name, resource_version=node.metadata.resource_version)
        body = EdgeNode(api_version=API_VERSION, kind="EdgeNode", metadata=metadata, status=status)
        try:
            await api.call("PUT", f"{NODES}/{name}/status", EdgeNode, body=body)
        except ApiError as e:
            if e.status != 409 or last:
                raise
            continue  # the operator wrote Reachable meanwhile
        counters.status_writes += 1
        return


async def _labelled(api: Api, name: str, labels: Mapping[str, str]) -> EdgeNode:
    """Return the EdgeNode, made if need be, with its labels in line."""
    path = f"{NODES}/{name}"
    try:
        node = await api.call("GET", path, EdgeNode)
    except ApiError as e:
        if e.status != 404:
            raise
        body: dict[str, object] = {
            "apiVersion": API_VERSION,
            "kind": "EdgeNode",
            "metadata": {"name": name, "labels": labels},
            "spec": {},
        }
        return await api.call("POST", NODES, EdgeNode, body=body)
    changes = label_changes(node.metadata.labels, labels)
    if not changes:
        return node
    patch: dict[str, object] = {"metadata": {"labels": changes}}
    return await api.call("PATCH", path, EdgeNode, body=patch, content_type="application/merge-patch+json")


async def renew(api: Api, name: str, *, seconds: int, now: str, counters: Counters) -> None:
    """Renew the Lease, or create it.

    Args:
        seconds: How often it is renewed.
        now: RFC 3339 with microseconds.

    Raises:
        ApiError, UNREACHABLE: the next renewal is another chance.
    """
    path = f"{LEASES}/{name}"
    duration = LEASE_RENEWALS * seconds
    fresh = LeaseSpec(holder_identity=name, lease_duration_seconds=duration, acquire_time=now, renew_time=now)
    kind = {"api_version": "coordination.k8s.io/v1", "kind": "Lease"}
    try:
        lease = await api.call("GET", path, Lease)
    except ApiError as e:
        if e.status != 404:
            raise
        made = Lease(**kind, metadata=Metadata(name=name), spec=fresh)
        await api.call("POST", LEASES, Lease, body=made)
    else:
        mine = lease.spec.holder_identity == name and lease.spec.acquire_time
        spec = replace(fresh, acquire_time=lease.spec.acquire_time) if mine else fresh
        metadata = Metadata(name=name, resource_version=lease.metadata.resource_version)
        await api.call("PUT", path, Lease, body=Lease(**kind, metadata=metadata, spec=spec))
    counters.lease_renewals += 1
