"""The objects around one node, as the API server takes them."""

from typing import Any, Final

from support.api_client import EDGEWRIGHT, JSON

LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/edgewright-nodes/leases"
NODES: Final = "/api/v1/nodes"
EDGE_NODES: Final = f"{EDGEWRIGHT}/edgenodes"
ASSIGNMENTS: Final = f"{EDGEWRIGHT}/nodeassignments"
_API_VERSION: Final = "edgewright.dev/v1alpha1"


def condition(kind: str, status: str = "True", reason: str = "Heard") -> JSON:
    """Return a condition of the type ``kind``."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-25T12:00:00Z",
    }


def node(name: str) -> JSON:
    """Return a core Node."""
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}


def edge_node(name: str, *, spec: JSON | None = None, status: JSON | None = None, **metadata: Any) -> JSON:
    """Return an EdgeNode; without ``status`` it is what an agent creates."""
    body = {
        "apiVersion": _API_VERSION,
        "kind": "EdgeNode",
        "metadata": {"name": name} | metadata,
        "spec": spec or {},
    }
    return body | ({"status": status} if status is not None else {})


def assignment(name: str, **spec: Any) -> JSON:
    """Return a NodeAssignment that asks nothing of its node."""
    return {
        "apiVersion": _API_VERSION,
        "kind": "NodeAssignment",
        "metadata": {"name": name},
        "spec": {"term": 1, "serial": 1} | spec,
    }


def lease(name: str) -> JSON:
    """Return a heartbeat."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "edgewright-nodes"},
        "spec": {"holderIdentity": name},
    }
