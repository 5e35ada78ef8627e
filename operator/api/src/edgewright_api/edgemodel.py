"""EdgeModel: a model line. What it is, what it must hold, for which hardware."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from edgewright_api.base import (
    ApiModel,
    Decimal,
    DnsLabel,
    FieldName,
    ObjectMeta,
    Quantity,
    S3Uri,
    SemVer,
    TensorName,
    WireModel,
    atomic_list,
    map_list,
)
from edgewright_api.conditions import ConditionList
from edgewright_api.evidence import Evidence
from edgewright_api.kind import Column, Kind, name_fits
from edgewright_api.verdicts import TargetResult


class DataType(StrEnum):
    """Tensor element types, named as the Open Inference Protocol names them."""

    BOOL = "BOOL"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


class Tensor(ApiModel):
    """One input or output of the model."""

    name: TensorName
    """name is the tensor's name in the model."""

    shape: Annotated[tuple[int, ...], atomic_list(8)]
    """shape is the tensor's shape; -1 is a dimension that the request chooses."""

    data_type: DataType
    """dataType is the element type, named as the Open Inference Protocol names it."""


class Interface(ApiModel):
    """What goes in and what comes out; every variant keeps it."""

    inputs: Annotated[tuple[Tensor, ...], map_list(16, "name", min_items=1)]
    """inputs are the model's inputs in order."""

    outputs: Annotated[tuple[Tensor, ...], map_list(16, "name", min_items=1)]
    """outputs are the model's outputs in order."""


class Source(ApiModel):
    """Where the model file lies."""

    uri: S3Uri
    """uri names an object in the installation's own bucket; its format is detected from its content."""


class DataSet(ApiModel):
    """Where a data set lies."""

    uri: S3Uri
    """uri names an .npz without pickles: arrays named as the model's inputs, plus labels."""


class Data(ApiModel):
    """The data sets of a build, each with one duty."""

    calibration: DataSet
    """calibration may shape the artifact: ranges and golden vectors come from it."""

    acceptance: DataSet
    """acceptance judges the artifact; only the evaluation step ever sees it."""


class Evaluator(StrEnum):
    """How a metric is computed from outputs and labels."""

    TOP1 = "Top1"
    AGREEMENT = "Agreement"


class Metric(ApiModel):
    """One measure of quality."""

    name: FieldName
    """name is what requirements call this metric."""

    evaluator: Evaluator
    """evaluator is Top1 (the label is the largest output) or Agreement (same decision as the source model)."""


class AccuracyRequirement(ApiModel):
    """How much of one metric may be lost, and how sure that must be."""

    metric: FieldName
    """metric is the name of an entry of spec.metrics."""

    max_drop_percentage_points: Decimal
    """maxDropPercentagePoints is the loss against the source model that is still accepted, e.g. "2.0"."""

    confidence_percent: int = Field(default=95, ge=80, le=99)
    """confidencePercent is the one-sided confidence with which the loss must be shown to be smaller."""


class Requirements(ApiModel):
    """What must hold; what was not measured does not hold."""

    accuracy: Annotated[tuple[AccuracyRequirement, ...], map_list(8, "metric", min_items=1)]
    """accuracy bounds the loss of each metric."""

    no_slower_than_baseline: bool = True
    """noSlowerThanBaseline refuses an artifact that is slower than the source model on the same machine."""


class Objective(StrEnum):
    """What to prefer among the artifacts that pass."""

    LATENCY = "Latency"
    SIZE = "Size"


class Budgets(ApiModel):
    """Limits of one target."""

    latency_p90_microseconds: int | None = Field(default=None, ge=1, le=3_600_000_000)
    """latencyP90Microseconds is the largest 90th percentile of one inference with batch 1."""

    size: Quantity | None = None
    """size is the largest packaged artifact."""


class EvidenceDemand(ApiModel):
    """How strong the evidence for a target must be."""

    latency: Evidence | None = None
    """latency is the weakest level at which a latency counts; the target's own demand when left out."""


class ModelTarget(ApiModel):
    """One class of hardware to build for."""

    name: DnsLabel
    """name is the name of an EdgeTarget."""

    required: bool = True
    """required makes the whole model wait for this target; an optional target only reports its verdict."""

    budgets: Budgets = Budgets()
    """budgets are hard limits of the artifact on this target."""

    evidence: EvidenceDemand = EvidenceDemand()
    """evidence raises how strongly a figure must be shown on this target."""


class Recipe(StrEnum):
    """Which candidates a build tries."""

    AUTO = "Auto"
    FLOAT = "Float"
    STATIC_INT8 = "StaticInt8"
    DYNAMIC_INT8 = "DynamicInt8"


class CalibrationMethod(StrEnum):
    """How activation ranges are taken from the calibration data."""

    MIN_MAX = "MinMax"
    PERCENTILE = "Percentile"


class CalibrationOptions(ApiModel):
    """Options of the calibration pass."""

    method: CalibrationMethod = CalibrationMethod.MIN_MAX
    """method is MinMax (the whole range) or Percentile (99.99 %, outliers clipped)."""

    max_samples: int = Field(default=512, ge=16, le=65_536)
    """maxSamples bounds how many calibration samples are read."""


class FaultDrill(StrEnum):
    """Known converter faults that a drill plants."""

    WRONG_ZERO_POINT = "WrongZeroPoint"
    TRANSPOSED_WEIGHTS = "TransposedWeights"
    DROPPED_BIAS = "DroppedBias"


class Optimization(ApiModel):
    """How the artifact is made."""

    recipe: Recipe = Recipe.AUTO
    """recipe is Auto (all candidates that suit the target) or one of them."""

    calibration: CalibrationOptions = CalibrationOptions()
    """calibration are options of the calibration pass."""

    fault_drill: FaultDrill | None = None
    """faultDrill plants a known fault in every candidate, to show that the gate refuses it. Not for production."""


class EdgeModelSpec(ApiModel):
    """What the user asks of a model line."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "self.requirements.accuracy.all(a, self.metrics.exists(m, m.name == a.metric))",
                    "message": "each requirements.accuracy entry names a metric of spec.metrics",
                }
            ]
        }
    )

    version: SemVer
    """version names the content of source, in the form of SemVer 2.0."""

    source: Source
    """source is the model as its authors trained it."""

    interface: Interface | None = None
    """interface is what the model must look like from outside; inferred from the source when left out."""

    data: Data
    """data are the data sets that shape and judge the artifacts."""

    metrics: Annotated[tuple[Metric, ...], map_list(8, "name", min_items=1)]
    """metrics are the measures of quality."""

    requirements: Requirements
    """requirements must hold for an artifact to be accepted."""

    objectives: Annotated[tuple[Objective, ...], atomic_list(2)] = (Objective.LATENCY, Objective.SIZE)
    """objectives order the artifacts that pass, the most important first."""

    targets: Annotated[tuple[ModelTarget, ...], map_list(32, "name", min_items=1)]
    """targets are the classes of hardware to build for."""

    optimization: Optimization = Optimization()
    """optimization says how artifacts are made."""


class BuildProgress(WireModel):
    """How far a build is."""

    passes_done: int = 0
    """passesDone counts the passes that have ended, cached ones included."""

    passes_total: int = 0
    """passesTotal counts the passes of the plan."""

    current: str = Field(default="", max_length=128)
    """current is the pass that runs now."""


class EdgeModelStatus(WireModel):
    """What the operator knows of a model line."""

    observed_generation: int = 0
    """observedGeneration is the generation of spec that this status is about; -1 before the first visit."""

    conditions: ConditionList = ()
    """conditions are Ready, Complete, Reconciling and Stalled."""

    version: str = Field(default="", max_length=64)
    """version is the version that revision was built from."""

    revision: str = Field(default="", max_length=253)
    """revision is the ModelRevision of the current spec."""

    ready_revision: str = Field(default="", max_length=253)
    """readyRevision is the newest ModelRevision whose required targets were all accepted."""

    targets_accepted: str = Field(default="", max_length=16)
    """targetsAccepted is how many targets have an accepted artifact, as accepted/total."""

    progress: BuildProgress | None = None
    """progress is how far the running build is."""

    targets: Annotated[tuple[TargetResult, ...], map_list(32, "name")] = ()
    """targets are the verdicts of the current revision."""


class EdgeModel(ApiModel):
    """EdgeModel is a model line: a version, its source and data, what must hold, and for which hardware."""

    kind_info: ClassVar[Kind] = Kind(
        kind="EdgeModel",
        plural="edgemodels",
        short="em",
        namespaced=True,
        rules=(name_fits(),),
        columns=(
            Column("Version", ".spec.version"),
            Column("Revision", ".status.revision", priority=1),
            Column("Targets", ".status.targetsAccepted"),
            Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            Column("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
            Column("Age", ".metadata.creationTimestamp", type="date"),
        ),
    )

    metadata: ObjectMeta = ObjectMeta()
    spec: EdgeModelSpec
    status: EdgeModelStatus = EdgeModelStatus()

    @classmethod
    def parse(cls, body: dict[str, Any]) -> "EdgeModel":
        """Return the typed form of an API object, whose apiVersion and kind are known already."""
        return cls.model_validate({k: v for k, v in body.items() if k in ("metadata", "spec", "status")})
