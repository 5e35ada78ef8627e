"""NodeAssignment: what one node is to run, and how far it is. The whole wire between operator and agent."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from edgewright_api.base import (
    ApiModel,
    Digest,
    DnsLabel,
    DnsSubdomain,
    Message,
    ObjectMeta,
    ServedName,
    Timestamp,
    Uid,
    WireModel,
    atomic_list,
)
from edgewright_api.conditions import ConditionList
from edgewright_api.edgedeployment import DeletionPolicy
from edgewright_api.kind import Column, Kind


class WantedState(StrEnum):
    """What the node is to do with an entry. Absence is no command: only Remove removes."""

    RUN = "Run"
    HOLD = "Hold"
    REMOVE = "Remove"


class DeploymentRef(WireModel):
    """The EdgeDeployment that an entry stands for."""

    namespace: DnsLabel
    """namespace of the EdgeDeployment."""

    name: DnsSubdomain
    """name of the EdgeDeployment."""

    uid: Uid
    """uid of the EdgeDeployment; another object of the same name adopts the entry."""


class Assignment(WireModel):
    """One model that the node is to run."""

    deployment: DeploymentRef
    """deployment is who wants it."""

    served_name: ServedName
    """servedName is the model's name in the Open Inference Protocol, unique on the node."""

    revision: DnsSubdomain
    """revision is the ModelRevision."""

    version: str = Field(max_length=64)
    """version is the revision's version, for people."""

    target: DnsLabel
    """target is the EdgeTarget whose variant was chosen."""

    manifest_digest: Digest
    """manifestDigest is the artifact to run."""

    state: WantedState
    """state is Run, Hold (keep what runs) or Remove."""

    deletion_policy: DeletionPolicy
    """deletionPolicy is what becomes of the entry when its deployment is gone."""

    why: Message = ""
    """why is the reason for this variant on this node."""


class NodeAssignmentSpec(ApiModel):
    """What the node is to run; the node composer is its only writer."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "self.term >= oldSelf.term",
                    "message": "a deposed leader may not write: its term is smaller",
                }
            ]
        },
    )

    term: int = Field(ge=0)
    """term is the leadership under which this was written; it never falls."""

    serial: int = Field(ge=0)
    """serial numbers the changes; an agent ignores one smaller than it has seen."""

    heartbeat_seconds: int = Field(default=300, ge=5, le=3600)
    """heartbeatSeconds is how often the node renews its Lease."""

    requires: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$", max_length=63)], ...], atomic_list(16)
    ] = ()
    """requires are features that the agent must have to act on this; without one it keeps what it runs."""

    assignments: Annotated[tuple[Assignment, ...], atomic_list(64)] = ()
    """assignments are all models of the node; an empty list changes nothing."""


class EntryState(StrEnum):
    """How far the node is with an entry."""

    FETCHING = "Fetching"
    VERIFYING = "Verifying"
    TRIAL = "Trial"
    SWAPPING = "Swapping"
    CONFIRMED = "Confirmed"
    FAILED = "Failed"
    ORPHANED = "Orphaned"
    REMOVED = "Removed"


class AssignmentStatus(WireModel):
    """How far the node is with one entry."""

    deployment: DeploymentRef
    """deployment is the entry's key."""

    state: EntryState
    """state is how far the node is."""

    served_name: str = Field(default="", max_length=63)
    """servedName is the name it is served under."""

    wanted_digest: Digest | None = None
    """wantedDigest is the artifact that the node was told to run."""

    running_digest: Digest | None = None
    """runningDigest is the artifact that serves, as the servers reported it."""

    previous_digest: Digest | None = None
    """previousDigest is the artifact kept for going back without a network."""

    revision: str = Field(default="", max_length=253)
    """revision is the ModelRevision of wantedDigest."""

    version: str = Field(default="", max_length=64)
    """version is the version of wantedDigest."""

    reason: str = Field(default="", max_length=64)
    """reason is the cause of the state as a constant."""

    message: Message = ""
    """message is the cause for people."""

    downloaded_bytes: int = 0
    """downloadedBytes is how much has arrived."""

    total_bytes: int = 0
    """totalBytes is how much there is to fetch."""

    confirmed_at: Timestamp | None = None
    """confirmedAt is when an inference last proved the running digest after a change."""

    proven_by: str = Field(default="", max_length=63)
    """provenBy is what proved it, e.g. golden."""


class NodeAssignmentStatus(WireModel):
    """What the agent reports; the agent is its only writer."""

    observed_generation: int = 0
    """observedGeneration is the generation of spec that this status is about; -1 before the first visit."""

    seen_serial: int = 0
    """seenSerial is the largest serial the agent has acted on."""

    conditions: ConditionList = ()
    """conditions are Ready, Complete, Reconciling and Stalled."""

    assignments: Annotated[tuple[AssignmentStatus, ...], atomic_list(64)] = ()
    """assignments say how far each entry is."""


class NodeAssignment(ApiModel):
    """NodeAssignment is what one node is to run, and how far it is."""

    kind_info: ClassVar[Kind] = Kind(
        kind="NodeAssignment",
        plural="nodeassignments",
        short="na",
        namespaced=False,
        columns=(
            Column("Serial", ".spec.serial", type="integer"),
            Column("Seen", ".status.seenSerial", type="integer"),
            Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            Column("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
            Column("Age", ".metadata.creationTimestamp", type="date"),
        ),
    )

    metadata: ObjectMeta = ObjectMeta()
    spec: NodeAssignmentSpec
    status: NodeAssignmentStatus = NodeAssignmentStatus()
