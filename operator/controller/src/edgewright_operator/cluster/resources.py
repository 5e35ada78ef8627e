"""Where each kind lives in the API, and how it is decoded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from edgewright_api.edgedeployment import EdgeDeployment
from edgewright_api.edgemodel import EdgeModel
from edgewright_api.edgetarget import EdgeTarget
from edgewright_api.modelrevision import ModelRevision
from edgewright_operator.planning.objects import ClusterNode, EdgeNode, Kind, Lease, NodeAssignment

GROUP: Final = "edgewright.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
_OURS: Final = f"/apis/{GROUP}/{VERSION}"
NODES_NAMESPACE: Final = "edgewright-nodes"
"""Where nodes keep their Leases."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind in the API."""

    kind: Kind
    base: str
    """The path of its API group and version."""
    plural: str
    decode: Callable[[bytes], Any]
    """Takes one object's JSON. Raises ValueError or a subclass for an object that is not of the kind."""
    within: str = ""
    """The one namespace that is looked into; empty for all, and for cluster-scoped kinds."""

    @property
    def collection(self) -> str:
        """The path to list and watch."""
        return (
            f"{self.base}/namespaces/{self.within}/{self.plural}"
            if self.within
            else f"{self.base}/{self.plural}"
        )

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Return the path of an object, or of a namespace's collection when ``name`` is empty."""
        parts = [self.base, *(("namespaces", namespace) if namespace else ()), self.plural, name, subresource]
        return "/".join(part for part in parts if part)


def _model(parse: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], Any]:
    return lambda data: parse(msgspec.json.decode(data))


RESOURCES: Final[Mapping[Kind, Resource]] = {
    r.kind: r
    for r in (
        Resource(Kind.MODEL, _OURS, "edgemodels", _model(EdgeModel.parse)),
        Resource(Kind.REVISION, _OURS, "modelrevisions", _model(ModelRevision.parse)),
        Resource(Kind.DEPLOYMENT, _OURS, "edgedeployments", _model(EdgeDeployment.parse)),
        Resource(Kind.TARGET, _OURS, "edgetargets", _model(EdgeTarget.parse)),
        Resource(Kind.NODE, _OURS, "edgenodes", msgspec.json.Decoder(EdgeNode).decode),
        Resource(Kind.ASSIGNMENT, _OURS, "nodeassignments", msgspec.json.Decoder(NodeAssignment).decode),
        Resource(
            Kind.LEASE,
            "/apis/coordination.k8s.io/v1",
            "leases",
            msgspec.json.Decoder(Lease).decode,
            within=NODES_NAMESPACE,
        ),
        Resource(Kind.CLUSTER_NODE, "/api/v1", "nodes", msgspec.json.Decoder(ClusterNode).decode),
    )
}

USER_KINDS: Final = (Kind.MODEL, Kind.DEPLOYMENT, Kind.TARGET)
"""The kinds that people write: Kopf delivers their events, and we list them now and then."""

OWN_WATCHES: Final = tuple(kind for kind in Kind if kind not in USER_KINDS)
"""The kinds that we list and watch ourselves."""
