"""Recipes: from what a revision asks to the DAG of passes that builds it. Pure, so every caller plans alike."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edgewright_api.canonical import digest_value
from edgewright_api.edgemodel import Evaluator, FaultDrill, Recipe
from edgewright_api.edgetarget import Isa
from edgewright_api.modelrevision import ModelRevisionSpec, RevisionTarget
from edgewright_api.plan import (
    ACCEPTANCE,
    CALIBRATION,
    SOURCE,
    BuildPlan,
    Candidate,
    Output,
    PassNode,
    PlanTarget,
    Step,
)
from edgewright_api.report import BuilderDescription

TOOLCHAIN: Final = "onnxruntime"
"""The one toolchain so far: onnx, onnxruntime and numpy."""

PASS_VERSIONS: Final[Mapping[str, int]] = {
    "ingest": 1,
    "canonicalize": 1,
    "infer-shapes": 1,
    "optimize-graph": 1,
    "calibrate": 1,
    "quantize-static": 1,
    "quantize-dynamic": 1,
    "plant-wrong-zero-point": 1,
    "plant-transposed-weights": 1,
    "plant-dropped-bias": 1,
    "golden": 3,
    "predict": 2,
    "evaluate-top1": 1,
    "evaluate-agreement": 1,
    "check-safety": 2,
    "measure-latency": 2,
}
"""Raised by whoever changes what a pass gives for the same inputs: that is what makes caches miss."""

_FAULTS: Final[Mapping[FaultDrill, str]] = {
    FaultDrill.WRONG_ZERO_POINT: "plant-wrong-zero-point",
    FaultDrill.TRANSPOSED_WEIGHTS: "plant-transposed-weights",
    FaultDrill.DROPPED_BIAS: "plant-dropped-bias",
}
_EVALUATORS: Final[Mapping[Evaluator, str]] = {
    Evaluator.TOP1: "evaluate-top1",
    Evaluator.AGREEMENT: "evaluate-agreement",
}
_CANDIDATES: Final[Mapping[Recipe, tuple[str, ...]]] = {
    Recipe.AUTO: ("static-int8", "dynamic-int8", "float"),
    Recipe.STATIC_INT8: ("static-int8",),
    Recipe.DYNAMIC_INT8: ("dynamic-int8",),
    Recipe.FLOAT: ("float",),
}

_VECTORS: Final = 16
_MAX_NRMSE: Final = 0.35
"""Rounding to 8 bits stays well below (0.29 is the worst that was measured on a sound network); a model with
other weights is near 1.4."""

REDUCED_RANGE: Final[frozenset[Isa]] = frozenset({Isa.X86_AVX2})
"""Levels whose u8·s8 instruction saturates in int16: their weights keep to 7 bits, where it cannot."""


@dataclass(slots=True)
class _Graph:
    """Collects nodes; the same id is the same node, so branches share what they have in common."""

    toolchain: str
    nodes: dict[str, PassNode] = field(default_factory=dict)

    def add(
        self,
        node_id: str,
        pass_name: str,
        inputs: dict[str, str],
        output: Output,
        *,
        step: Step = Step.TRANSFORM,
        isa: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> str:
        self.nodes.setdefault(
            node_id,
            PassNode(
                id=node_id,
                pass_name=pass_name,
                version=PASS_VERSIONS[pass_name],
                step=step,
                output=output,
                inputs=inputs,
                options=dict(options or {}),
                toolchain=self.toolchain,
                isa=isa,
            ),
        )
        return node_id


def expand(spec: ModelRevisionSpec, builder: BuilderDescription) -> BuildPlan:
    """Return the DAG that builds ``spec`` on a builder: shared prefix, candidates per target, their evidence.

    Whatever an artifact is compared with comes from the source itself and not from the end of the prefix: a pass
    that changed what the model computes would change both sides alike, and nobody would see it.

    A latency node exists only for targets of the builder's own ISA level: the wrong kernels are never timed.
    """
    pins = builder.toolchains[TOOLCHAIN]
    graph = _Graph(toolchain=digest_value({TOOLCHAIN: pins}))
    base = _prefix(graph, spec)
    targets = tuple(_target(graph, spec, target, base, builder.machine.isa) for target in spec.targets)
    return BuildPlan(
        model=spec.model,
        version=spec.version,
        host_isa=builder.machine.isa,
        toolchains={graph.toolchain: pins},
        contents={
            SOURCE: spec.source.digest,
            CALIBRATION: spec.data.calibration.digest,
            ACCEPTANCE: spec.data.acceptance.digest,
        },
        interface=spec.interface,
        nodes=tuple(graph.nodes.values()),
        targets=targets,
    )


def _prefix(graph: _Graph, spec: ModelRevisionSpec) -> str:
    options = {"interface": spec.interface.to_wire()} if spec.interface else {}
    ingest = graph.add("ingest", "ingest", {"source": SOURCE}, Output.MODEL, options=options)
    canonical = graph.add("canonicalize", "canonicalize", {"model": ingest}, Output.MODEL)
    return graph.add("infer-shapes", "infer-shapes", {"model": canonical}, Output.MODEL)


def _target(
    graph: _Graph, spec: ModelRevisionSpec, target: RevisionTarget, base: str, host: Isa
) -> PlanTarget:
    isa = target.target.isa
    candidates = tuple(
        _candidate(graph, spec, name, base, isa, host) for name in _CANDIDATES[spec.optimization.recipe]
    )
    return PlanTarget(name=target.name, isa=isa, candidates=candidates)


def _candidate(
    graph: _Graph, spec: ModelRevisionSpec, name: str, base: str, isa: Isa, host: Isa
) -> Candidate:
    flavour, model = _model(graph, spec, name, base, isa)
    if drill := spec.optimization.fault_drill:
        fault = _FAULTS[drill]
        model = graph.add(f"{flavour}/{fault}", fault, {"model": model}, Output.MODEL)
    at = f"{flavour}/{isa}"
    arithmetic = f"{isa}@{host}"
    golden = graph.add(
        f"{at}/golden",
        "golden",
        {"baseline": SOURCE, "model": model, "data": CALIBRATION},
        Output.GOLDEN,
        isa=arithmetic,
        options=golden_limits(spec).options(),
    )
    baseline = graph.add(
        "baseline/predict",
        "predict",
        # Named only so that nothing opens a file that ingest refused.
        {"model": SOURCE, "checked": "ingest", "data": ACCEPTANCE, "calibration": CALIBRATION},
        Output.PREDICTIONS,
        step=Step.EVALUATE,
    )
    outcomes = {
        metric.name: graph.add(
            f"{at}/{metric.name}",
            _EVALUATORS[metric.evaluator],
            {"baseline": baseline, "model": model, "data": ACCEPTANCE},
            Output.OUTCOMES,
            step=Step.EVALUATE,
            isa=arithmetic,
        )
        for metric in spec.metrics
    }
    safety = graph.add(
        f"{at}/check-safety",
        "check-safety",
        {"baseline": SOURCE, "model": model, "data": ACCEPTANCE},
        Output.SAFETY,
        step=Step.EVALUATE,
        isa=arithmetic,
    )
    latency = None
    if isa is host:
        latency = graph.add(
            f"{at}/measure-latency",
            "measure-latency",
            {"baseline": SOURCE, "model": model, "data": ACCEPTANCE},
            Output.LATENCY,
            step=Step.EVALUATE,
            isa=arithmetic,
            options={"threads": 1},
        )
    return Candidate(name=name, model=model, golden=golden, outcomes=outcomes, safety=safety, latency=latency)


def _model(graph: _Graph, spec: ModelRevisionSpec, name: str, base: str, isa: Isa) -> tuple[str, str]:
    if name == "float":
        return name, graph.add(
            "float/optimize-graph",
            "optimize-graph",
            {"model": base},
            Output.MODEL,
            options={"level": "Extended"},
        )
    reduced = isa in REDUCED_RANGE
    flavour = f"{name}-r7" if reduced else name
    if name == "dynamic-int8":
        return flavour, graph.add(
            f"{flavour}/quantize-dynamic",
            "quantize-dynamic",
            {"model": base},
            Output.MODEL,
            options={"reduceRange": reduced},
        )
    calibration = spec.optimization.calibration
    ranges = graph.add(
        "calibrate",
        "calibrate",
        {"model": base, "data": CALIBRATION},
        Output.RANGES,
        options={"method": calibration.method.value, "maxSamples": calibration.max_samples},
    )
    quantized = graph.add(
        f"{flavour}/quantize-static",
        "quantize-static",
        {"model": base, "ranges": ranges},
        Output.MODEL,
        options={"perChannel": True, "reduceRange": reduced},
    )
    return flavour, graph.add(
        f"{flavour}/optimize-graph",
        "optimize-graph",
        {"model": quantized},
        Output.MODEL,
        options={"level": "Basic"},
    )


@dataclass(frozen=True, slots=True)
class GoldenLimits:
    """How far an artifact may be from the source model on its golden vectors, for the gate and for every node."""

    samples: int
    """How many vectors there are."""

    max_disagreements: int
    """How many of them may decide otherwise than the source model."""

    max_nrmse: float
    """Root mean square of the difference, in standard deviations of the source model's outputs."""

    def options(self) -> dict[str, Any]:
        """Return the options of the golden pass."""
        return {
            "samples": self.samples,
            "maxDisagreements": self.max_disagreements,
            "maxNrmse": self.max_nrmse,
        }


def golden_limits(spec: ModelRevisionSpec) -> GoldenLimits:
    """Return what the gate's own limits allow: the loosest accepted drop of accuracy, in vectors, at least one."""
    drop = max(float(r.max_drop_percentage_points) for r in spec.requirements.accuracy) / 100
    # Rounded first: 12.5 % of 16 vectors are two, whatever the last bit of a float says.
    return GoldenLimits(_VECTORS, max(1, math.ceil(round(_VECTORS * drop, 9))), _MAX_NRMSE)
