"""EdgeTarget: a class of hardware. What belongs to it, and how one builds for it."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from edgewright_api.base import ApiModel, ObjectMeta, atomic_list
from edgewright_api.evidence import Evidence
from edgewright_api.kind import Column, Kind, name_fits


class Architecture(StrEnum):
    """Processor architectures, named as Kubernetes names them."""

    AMD64 = "amd64"


class Isa(StrEnum):
    """Instruction set levels whose int8 arithmetic differs."""

    X86_AVX2 = "X86Avx2"
    X86_VNNI = "X86Vnni"


class Runtime(StrEnum):
    """Inference runtimes."""

    ONNX_RUNTIME = "OnnxRuntime"


CpuFeature = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", min_length=1, max_length=32)]


class FeatureClause(ApiModel):
    """At least one of some processor features."""

    any_of: Annotated[tuple[CpuFeature, ...], atomic_list(8, min_items=1)]
    """anyOf are feature names as the kernel prints them, e.g. avx512_vnni."""


class TargetMatch(ApiModel):
    """Which nodes belong to the class."""

    architectures: Annotated[tuple[Architecture, ...], atomic_list(4, min_items=1)]
    """architectures are the processor architectures of the class."""

    cpu_features: Annotated[tuple[FeatureClause, ...], atomic_list(16)] = ()
    """cpuFeatures must all hold."""


class TargetEvidence(ApiModel):
    """How strong the evidence for this class must be."""

    latency: Evidence = Evidence.NONE
    """latency is the weakest level at which a latency counts; None lets a latency be unproven."""


class EdgeTargetSpec(ApiModel):
    """A class of hardware."""

    description: str = Field(default="", max_length=512)
    """description is for people."""

    match: TargetMatch
    """match says which nodes belong to the class."""

    runtime: Runtime
    """runtime is what runs the artifact on the node."""

    isa: Isa
    """isa is the instruction set level that the artifact's arithmetic is proven for."""

    priority: int = Field(default=0, ge=0, le=1000)
    """priority decides when a node belongs to several classes: the highest accepted one wins."""

    evidence: TargetEvidence = TargetEvidence()
    """evidence is the class's own demand; a model may raise it."""


class EdgeTarget(ApiModel):
    """EdgeTarget is a class of hardware: which nodes belong to it, and how one builds for it."""

    kind_info: ClassVar[Kind] = Kind(
        kind="EdgeTarget",
        plural="edgetargets",
        short="et",
        namespaced=False,
        has_status=False,
        rules=(name_fits(),),
        columns=(
            Column("Isa", ".spec.isa"),
            Column("Runtime", ".spec.runtime"),
            Column("Priority", ".spec.priority", type="integer"),
            Column("Age", ".metadata.creationTimestamp", type="date"),
        ),
    )

    metadata: ObjectMeta = ObjectMeta()
    spec: EdgeTargetSpec

    @classmethod
    def parse(cls, body: dict[str, Any]) -> "EdgeTarget":
        """Return the typed form of an API object, whose apiVersion and kind are known already."""
        return cls.model_validate({k: v for k, v in body.items() if k in ("metadata", "spec")})
