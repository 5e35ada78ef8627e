"""The hardware that is known without a cluster: the same rows that the chart installs, a test holds them together."""

from typing import Final

from edgewright_api.edgetarget import (
    Architecture,
    EdgeTargetSpec,
    FeatureClause,
    Isa,
    Runtime,
    TargetEvidence,
    TargetMatch,
)
from edgewright_api.evidence import Evidence

_AVX2: Final = FeatureClause(any_of=("avx2",))
_UNPROVEN: Final = TargetEvidence(latency=Evidence.NONE)

TARGETS: Final = {
    "x86-64-avx2": EdgeTargetSpec(
        description="x86-64 with AVX2, int8 products summed in saturating 16-bit steps",
        match=TargetMatch(architectures=(Architecture.AMD64,), cpu_features=(_AVX2,)),
        runtime=Runtime.ONNX_RUNTIME,
        isa=Isa.X86_AVX2,
        priority=10,
        evidence=_UNPROVEN,
    ),
    "x86-64-vnni": EdgeTargetSpec(
        description="x86-64 with VNNI (AVX-512 or AVX), int8 products summed exactly in 32 bits",
        match=TargetMatch(
            architectures=(Architecture.AMD64,),
            cpu_features=(_AVX2, FeatureClause(any_of=("avx512_vnni", "avx_vnni"))),
        ),
        runtime=Runtime.ONNX_RUNTIME,
        isa=Isa.X86_VNNI,
        priority=20,
        evidence=_UNPROVEN,
    ),
}
