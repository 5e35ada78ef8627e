"""ModelRevision: one resolved build of one version. Digests in, one verdict per target out."""

from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from edgewright_api.base import (
    ApiModel,
    Digest,
    DnsLabel,
    DnsSubdomain,
    ObjectMeta,
    S3Uri,
    SemVer,
    WireModel,
    atomic_list,
    map_list,
)
from edgewright_api.conditions import ConditionList
from edgewright_api.edgemodel import (
    Budgets,
    BuildProgress,
    EvidenceDemand,
    Interface,
    Metric,
    Objective,
    Optimization,
    Requirements,
)
from edgewright_api.edgetarget import EdgeTargetSpec
from edgewright_api.kind import Column, Kind
from edgewright_api.verdicts import TargetResult


class ResolvedContent(ApiModel):
    """Content that a uri was resolved to, once."""

    uri: S3Uri
    """uri is where it was found."""

    digest: Digest
    """digest is what it was."""

    size_bytes: int = Field(ge=0)
    """sizeBytes is its size."""


class ResolvedData(ApiModel):
    """The data sets, resolved."""

    calibration: ResolvedContent
    """calibration is the resolved calibration set."""

    acceptance: ResolvedContent
    """acceptance is the resolved acceptance set."""


class RevisionTarget(ApiModel):
    """One target with a snapshot of its EdgeTarget."""

    name: DnsLabel
    """name is the name of the EdgeTarget."""

    required: bool
    """required makes the revision wait for this target."""

    budgets: Budgets
    """budgets are the target's hard limits."""

    evidence: EvidenceDemand
    """evidence is what the model demands of this target's figures."""

    target: EdgeTargetSpec
    """target is the EdgeTarget as it was when the revision was made."""


class ModelRevisionSpec(ApiModel):
    """Everything that shapes a build, by digest."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "a revision never changes"}]
        }
    )

    model: DnsSubdomain
    """model is the EdgeModel this is a revision of."""

    version: SemVer
    """version is the version of the EdgeModel."""

    source: ResolvedContent
    """source is the resolved model file."""

    interface: Interface | None = None
    """interface is the interface that the user declared."""

    data: ResolvedData
    """data are the resolved data sets."""

    metrics: Annotated[tuple[Metric, ...], map_list(8, "name", min_items=1)]
    """metrics are the measures of quality."""

    requirements: Requirements
    """requirements must hold for an artifact to be accepted."""

    objectives: Annotated[tuple[Objective, ...], atomic_list(2)]
    """objectives order the artifacts that pass."""

    targets: Annotated[tuple[RevisionTarget, ...], map_list(32, "name", min_items=1)]
    """targets are the classes of hardware, each with a snapshot."""

    optimization: Optimization
    """optimization says how artifacts are made."""


class ModelRevisionStatus(WireModel):
    """What the build gave."""

    observed_generation: int = 0
    """observedGeneration is the generation of spec that this status is about; -1 before the first visit."""

    conditions: ConditionList = ()
    """conditions are Ready, Complete, Reconciling and Stalled."""

    index_digest: Digest | None = None
    """indexDigest is the digest of the published OCI index."""

    interface: Interface | None = None
    """interface is what the source model looks like from outside."""

    progress: BuildProgress | None = None
    """progress is how far the running build is."""

    targets: Annotated[tuple[TargetResult, ...], map_list(32, "name")] = ()
    """targets are the verdicts."""

    passes_run: int = 0
    """passesRun counts the passes that this build executed."""

    passes_cached: int = 0
    """passesCached counts the passes whose result was known already."""


class ModelRevision(ApiModel):
    """ModelRevision is one resolved build of one version: digests in, one artifact or verdict per target out."""

    kind_info: ClassVar[Kind] = Kind(
        kind="ModelRevision",
        plural="modelrevisions",
        short="mr",
        namespaced=True,
        columns=(
            Column("Model", ".spec.model"),
            Column("Version", ".spec.version"),
            Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            Column("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
            Column("Passes", ".status.progress.passesDone", type="integer", priority=1),
            Column("Age", ".metadata.creationTimestamp", type="date"),
        ),
    )

    metadata: ObjectMeta = ObjectMeta()
    spec: ModelRevisionSpec
    status: ModelRevisionStatus = ModelRevisionStatus()

    @classmethod
    def parse(cls, body: dict[str, Any]) -> "ModelRevision":
        """Return the typed form of an API object, whose apiVersion and kind are known already."""
        return cls.model_validate({k: v for k, v in body.items() if k in ("metadata", "spec", "status")})
