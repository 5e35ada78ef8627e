"""Builders with defaults for the contract's values: a test says only what it is about."""

from typing import Any

from edgewright_api.edgemodel import AccuracyRequirement, Budgets, Requirements
from edgewright_api.evidence import Evidence
from edgewright_api.gates import Ask, LatencyMeasurement, Measured, PairedOutcomes, Safety
from edgewright_api.modelrevision import ModelRevisionSpec
from edgewright_api.report import BuilderDescription

DIGEST = "sha256:" + "0" * 64


def digest(character: str) -> str:
    """Return a digest that a reader tells from others by its character."""
    return "sha256:" + character * 64


def target(name: str = "x86-64-avx2", isa: str = "X86Avx2", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "required": True,
        "budgets": {},
        "evidence": {},
        "target": {"match": {"architectures": ["amd64"]}, "runtime": "OnnxRuntime", "isa": isa},
    } | changes


def revision_spec(**changes: Any) -> ModelRevisionSpec:
    content = {"uri": "s3://models/digits.onnx", "digest": digest("a"), "sizeBytes": 1}
    return ModelRevisionSpec.model_validate(
        {
            "model": "digits",
            "version": "1.0.0",
            "source": content,
            "data": {
                "calibration": content | {"digest": digest("b")},
                "acceptance": content | {"digest": digest("c")},
            },
            "metrics": [{"name": "top1", "evaluator": "Top1"}],
            "requirements": {"accuracy": [{"metric": "top1", "maxDropPercentagePoints": "2.0"}]},
            "objectives": ["Latency", "Size"],
            "targets": [target(), target("x86-64-vnni", "X86Vnni")],
            "optimization": {},
        }
        | changes
    )


def builder(isa: str = "X86Avx2", **pins: str) -> BuilderDescription:
    return BuilderDescription.model_validate(
        {"machine": {"isa": isa}, "toolchains": {"onnxruntime": {"onnxruntime": "1.32.0"} | pins}}
    )


def outcomes(samples: int = 600, lost: int = 0, gained: int = 0, wrong_in_both: int = 6) -> PairedOutcomes:
    both_right = samples - lost - gained - wrong_in_both
    return PairedOutcomes(samples, both_right + lost, both_right + gained, lost, gained)


def latency(ratio: float = 0.8, blocks: int = 40, **changes: Any) -> LatencyMeasurement:
    pairs = tuple((100.0, 100.0 * ratio * (1 + (i % 5 - 2) / 200)) for i in range(blocks))
    fields = {"pairs": pairs, "p50_us": 100 * ratio, "p90_us": 110 * ratio, "evidence": Evidence.SAME_ISA}
    return LatencyMeasurement(**(fields | changes))  # type: ignore[arg-type]


SAFE = Safety(saturates=False, nan=False, constant_output=False)


def measured(name: str = "static-int8", **changes: Any) -> Measured:
    fields = {
        "size_bytes": 1000,
        "outcomes": {"top1": outcomes()},
        "evidence": Evidence.SAME_ISA,
        "latency": latency(),
        "safety": SAFE,
        "golden_holds": True,
    }
    return Measured(name=name, **(fields | changes))  # type: ignore[arg-type]


def ask(drop: str = "2.0", candidates: int = 3, **changes: Any) -> Ask:
    fields = {
        "requirements": Requirements(
            accuracy=(AccuracyRequirement(metric="top1", max_drop_percentage_points=drop),)
        ),
        "budgets": Budgets(),
        "latency_evidence": Evidence.NONE,
    }
    return Ask(candidates=candidates, **(fields | changes))  # type: ignore[arg-type]
