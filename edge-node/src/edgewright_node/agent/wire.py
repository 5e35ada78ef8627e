"""The API objects that the agent reads and writes, as small structs. Unknown fields are ignored."""

from enum import StrEnum

import msgspec

GROUP = "edgewright.dev"
API_VERSION = f"{GROUP}/v1alpha1"


class _Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Optional fields at their default are left out, as the API server leaves them out."""


class Metadata(_Wire, frozen=True, kw_only=True):
    """The part of metav1.ObjectMeta that the agent needs."""

    name: str
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = {}


class Condition(_Wire, frozen=True, kw_only=True):
    """metav1.Condition."""

    type: str
    status: str
    observed_generation: int = 0
    last_transition_time: str = ""
    reason: str = ""
    message: str = ""


class DeploymentRef(_Wire, frozen=True, kw_only=True):
    """The EdgeDeployment that an entry stands for."""

    namespace: str
    name: str
    uid: str = ""


class Entry(_Wire, frozen=True, kw_only=True):
    """One model that the node is to run. ``state`` is free text, so that a newer word is no decode error."""

    deployment: DeploymentRef
    served_name: str
    revision: str = ""
    version: str = ""
    manifest_digest: str
    state: str


class AssignmentSpec(_Wire, frozen=True, kw_only=True):
    """What the operator wants of this node."""

    term: int = 0
    serial: int = 0
    heartbeat_seconds: int = 300
    requires: tuple[str, ...] = ()
    assignments: tuple[Entry, ...] = ()


class ReportedState(StrEnum):
    """How far the node is with an entry."""

    FETCHING = "Fetching"
    VERIFYING = "Verifying"
    TRIAL = "Trial"
    SWAPPING = "Swapping"
    CONFIRMED = "Confirmed"
    FAILED = "Failed"
    ORPHANED = "Orphaned"
    REMOVED = "Removed"


class EntryStatus(_Wire, frozen=True, kw_only=True):
    """What the agent says of one entry."""

    deployment: DeploymentRef
    state: ReportedState
    served_name: str = ""
    wanted_digest: str | None = None
    running_digest: str | None = None
    previous_digest: str | None = None
    revision: str = ""
    version: str = ""
    reason: str = ""
    message: str = ""
    downloaded_bytes: int = 0
    total_bytes: int = 0
    confirmed_at: str | None = None
    proven_by: str = ""


class AssignmentStatus(_Wire, frozen=True, kw_only=True):
    """status of a NodeAssignment: the agent is its only writer."""

    observed_generation: int = 0
    seen_serial: int = 0
    conditions: tuple[Condition, ...] = ()
    assignments: tuple[EntryStatus, ...] = ()


class NodeAssignment(_Wire, frozen=True, kw_only=True):
    """The one object that the agent watches."""

    api_version: str = ""
    kind: str = ""
    metadata: Metadata
    spec: AssignmentSpec = AssignmentSpec()
    status: AssignmentStatus = AssignmentStatus()


class ListMetadata(_Wire, frozen=True, kw_only=True):
    """metav1.ListMeta."""

    resource_version: str = ""


class NodeAssignmentList(_Wire, frozen=True, kw_only=True):
    """The answer to a list with a field selector: no item or one."""

    metadata: ListMetadata
    items: tuple[NodeAssignment, ...] = ()


class WatchEvent(_Wire, frozen=True, kw_only=True):
    """One line of a watch; ``object`` is decoded when the type is known."""

    type: str
    object: msgspec.Raw


class Runtime(_Wire, frozen=True, kw_only=True):
    """One inference runtime on the node."""

    name: str
    version: str


class Inventory(_Wire, frozen=True, kw_only=True):
    """What the node is made of. Sizes in bytes."""

    architecture: str = ""
    cpu_model: str = ""
    cpu_features: tuple[str, ...] = ()
    cores: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    runtimes: tuple[Runtime, ...] = ()
    operating_system: str = ""


class NodeStatus(_Wire, frozen=True, kw_only=True):
    """status of an EdgeNode: the agent's, but for the condition Reachable."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    inventory: Inventory | None = None
    agent_version: str = ""


class EdgeNode(_Wire, frozen=True, kw_only=True):
    """This node's own object; spec is never sent."""

    api_version: str = ""
    kind: str = ""
    metadata: Metadata
    status: NodeStatus = NodeStatus()


class LeaseSpec(_Wire, frozen=True, kw_only=True):
    """The heartbeat."""

    holder_identity: str = ""
    lease_duration_seconds: int = 0
    acquire_time: str = ""
    renew_time: str = ""


class Lease(_Wire, frozen=True, kw_only=True):
    """coordination.k8s.io/v1 Lease."""

    api_version: str = ""
    kind: str = ""
    metadata: Metadata
    spec: LeaseSpec = LeaseSpec()


class ApiStatus(_Wire, frozen=True, kw_only=True):
    """metav1.Status: how the API server says no."""

    reason: str = ""
    message: str = ""
    code: int = 0


class Ticket(_Wire, frozen=True, kw_only=True):
    """The gateway's leave to fetch one digest."""

    ticket: str
    url: str
    size: int
    expires_at: str = ""
