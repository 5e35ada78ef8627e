"""What the API server holds, as typed frozen values: keys of all kinds, and the kinds that come in thousands.

The kinds that people write, and revisions, are read as the contract's own models (``edgewright_api``). Those here
are decoded by msgspec straight from the wire, and only as much of them as a decision needs.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct, field


class Kind(StrEnum):
    """What is reconciled or watched."""

    MODEL = "EdgeModel"
    REVISION = "ModelRevision"
    DEPLOYMENT = "EdgeDeployment"
    TARGET = "EdgeTarget"
    NODE = "EdgeNode"
    ASSIGNMENT = "NodeAssignment"
    LEASE = "Lease"
    CLUSTER_NODE = "Node"


class Key(NamedTuple):
    """Which object; cluster-scoped ones have an empty namespace."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Meta(Struct, frozen=True, rename="camel"):
    """The metadata that decisions read."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = "0"
    generation: int = 0
    creation_timestamp: str = ""
    labels: dict[str, str] = {}


class ConditionView(Struct, frozen=True, rename="camel"):
    """A condition as it is read."""

    type: str
    status: str
    reason: str = ""
    observed_generation: int = 0


class Inventory(Struct, frozen=True, rename="camel"):
    """What a node is, as far as matching asks."""

    architecture: str = ""
    cpu_features: tuple[str, ...] = ()
    runtimes: tuple["RuntimeView", ...] = ()


class RuntimeView(Struct, frozen=True, rename="camel"):
    """One inference runtime on the node."""

    name: str
    version: str = ""


class NodeStatus(Struct, frozen=True, rename="camel"):
    """What the agent reports of its node."""

    conditions: tuple[ConditionView, ...] = ()
    inventory: Inventory | None = None


class EdgeNode(Struct, frozen=True, rename="camel"):
    """One edge node."""

    metadata: Meta
    status: NodeStatus = field(default_factory=NodeStatus)

    def reachable(self) -> bool:
        """Return whether the operator last judged that the node is heard of; not yet judged is no."""
        return any(c.type == "Reachable" and c.status == "True" for c in self.status.conditions)


class DeploymentRef(Struct, frozen=True, rename="camel", order=True):
    """The EdgeDeployment behind an entry."""

    namespace: str
    name: str
    uid: str

    @property
    def place(self) -> tuple[str, str]:
        """What the node's directory is named after; a deployment of the same name takes it over."""
        return (self.namespace, self.name)


class Entry(Struct, frozen=True, rename="camel"):
    """One model that a node is to run: an item of ``spec.assignments``."""

    deployment: DeploymentRef
    served_name: str
    revision: str
    version: str
    target: str
    manifest_digest: str
    state: str
    deletion_policy: str
    why: str = ""


class AssignmentSpec(Struct, frozen=True, rename="camel"):
    """What a node is to run."""

    term: int = 0
    serial: int = 0
    heartbeat_seconds: int = 300
    requires: tuple[str, ...] = ()
    assignments: tuple[Entry, ...] = ()


class EntryStatus(Struct, frozen=True, rename="camel"):
    """How far a node is with one entry."""

    deployment: DeploymentRef
    state: str
    served_name: str = ""
    wanted_digest: str | None = None
    running_digest: str | None = None
    reason: str = ""
    message: str = ""


class AssignmentStatus(Struct, frozen=True, rename="camel"):
    """What a node reports."""

    seen_serial: int = 0
    assignments: tuple[EntryStatus, ...] = ()


class NodeAssignment(Struct, frozen=True, rename="camel"):
    """What one node is to run, and how far it is."""

    metadata: Meta
    spec: AssignmentSpec = field(default_factory=AssignmentSpec)
    status: AssignmentStatus = field(default_factory=AssignmentStatus)

    def places(self) -> Iterable[tuple[str, str]]:
        """Return the deployments (namespace, name) that this object tells of, in spec or in status."""
        wanted = {entry.deployment.place for entry in self.spec.assignments}
        return wanted | {entry.deployment.place for entry in self.status.assignments}

    def manifest_digests(self) -> frozenset[str]:
        """Return the artifacts that the node is to have."""
        return frozenset(e.manifest_digest for e in self.spec.assignments)


class LeaseSpec(Struct, frozen=True, rename="camel"):
    """A heartbeat."""

    renew_time: str = ""
    lease_duration_seconds: int | None = None


class Lease(Struct, frozen=True, rename="camel"):
    """A node's heartbeat."""

    metadata: Meta
    spec: LeaseSpec = field(default_factory=LeaseSpec)


class ClusterNode(Struct, frozen=True, rename="camel"):
    """A Kubernetes Node; only its labels are read."""

    metadata: Meta
