"""EdgeDeployment: which version runs where, how it is served, how it rolls out."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from edgewright_api.base import (
    ApiModel,
    CamelReason,
    DnsSubdomain,
    IntOrPercent,
    Message,
    ObjectMeta,
    SemVer,
    ServedName,
    WireModel,
    map_list,
)
from edgewright_api.conditions import ConditionList
from edgewright_api.kind import Column, Kind, name_fits

LabelKey = Annotated[str, Field(max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]


class ModelRef(ApiModel):
    """Which model, and which version or revision of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "has(self.version) != has(self.revision)",
                    "message": "give exactly one of version and revision",
                }
            ]
        }
    )

    name: DnsSubdomain
    """name is the EdgeModel, in the same namespace."""

    version: SemVer | None = None
    """version is an exact version; its newest Ready revision is what runs."""

    revision: DnsSubdomain | None = None
    """revision pins one ModelRevision by name."""


class NodeSelector(ApiModel):
    """Which nodes, by label."""

    match_labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=32)
    """matchLabels must all be on the EdgeNode or on the Node of the same name; none selects every node."""


class Serving(ApiModel):
    """How the model is served."""

    model_name: ServedName
    """modelName is the name in the Open Inference Protocol; unique on a node."""


class Rollout(ApiModel):
    """How fast a new version spreads."""

    max_unavailable: IntOrPercent = "10%"
    """maxUnavailable is how many of the selected nodes may be changing or not confirmed at once; at least 1."""


class DeletionPolicy(StrEnum):
    """What becomes of the model on nodes when the deployment is deleted."""

    REMOVE = "Remove"
    RETAIN = "Retain"


class EdgeDeploymentSpec(ApiModel):
    """What the user asks of a deployment."""

    model: ModelRef
    """model is what runs."""

    node_selector: NodeSelector
    """nodeSelector is where it runs."""

    serving: Serving
    """serving is how it is served."""

    rollout: Rollout = Rollout()
    """rollout is how a change spreads."""

    deletion_policy: DeletionPolicy = DeletionPolicy.REMOVE
    """deletionPolicy is Remove (nodes stop serving some time after the deletion) or Retain."""


class NodeCounts(WireModel):
    """How many nodes are where."""

    matched: int = 0
    """matched counts the nodes that the selector matches and a variant fits."""

    confirmed: int = 0
    """confirmed counts the nodes whose running digest was proven by an inference."""

    updating: int = 0
    """updating counts the nodes that have been told and have not confirmed."""

    waiting: int = 0
    """waiting counts the nodes that have not been told yet."""

    offline: int = 0
    """offline counts the nodes that have not been heard of lately."""

    failed: int = 0
    """failed counts the nodes that refused or could not run the version."""

    unfit: int = 0
    """unfit counts the nodes that the selector matches and no variant fits."""


class ProblemNode(WireModel):
    """One node that needs attention."""

    name: DnsSubdomain
    """name is the EdgeNode."""

    reason: CamelReason
    """reason is the cause as a constant."""

    message: Message = ""
    """message is the cause for people."""


class EdgeDeploymentStatus(WireModel):
    """What the operator knows of a deployment."""

    observed_generation: int = 0
    """observedGeneration is the generation of spec that this status is about; -1 before the first visit."""

    conditions: ConditionList = ()
    """conditions are Ready, Complete, Reconciling and Stalled."""

    version: str = Field(default="", max_length=64)
    """version is the version being rolled out."""

    revision: str = Field(default="", max_length=253)
    """revision is the ModelRevision being rolled out."""

    nodes: NodeCounts = NodeCounts()
    """nodes counts the nodes by where they are."""

    confirmed: str = Field(default="", max_length=16)
    """confirmed is how many nodes run it, as confirmed/matched."""

    problems: Annotated[tuple[ProblemNode, ...], map_list(10, "name")] = ()
    """problems are the first ten nodes that need attention."""


class EdgeDeployment(ApiModel):
    """EdgeDeployment says which version of a model runs on which nodes, and how a change spreads."""

    kind_info: ClassVar[Kind] = Kind(
        kind="EdgeDeployment",
        plural="edgedeployments",
        short="ed",
        namespaced=True,
        rules=(name_fits(),),
        columns=(
            Column("Version", ".status.version"),
            Column("Confirmed", ".status.confirmed"),
            Column("Offline", ".status.nodes.offline", type="integer"),
            Column("Failed", ".status.nodes.failed", type="integer"),
            Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            Column("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
            Column("Revision", ".status.revision", priority=1),
            Column("Age", ".metadata.creationTimestamp", type="date"),
        ),
    )

    metadata: ObjectMeta = ObjectMeta()
    spec: EdgeDeploymentSpec
    status: EdgeDeploymentStatus = EdgeDeploymentStatus()

    @classmethod
    def parse(cls, body: dict[str, Any]) -> "EdgeDeployment":
        """Return the typed form of an API object, whose apiVersion and kind are known already."""
        return cls.model_validate({k: v for k, v in body.items() if k in ("metadata", "spec", "status")})
