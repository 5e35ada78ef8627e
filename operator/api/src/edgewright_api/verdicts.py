"""The verdict of one target, with the figures it rests on and how each was obtained."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from edgewright_api.base import (
    CamelReason,
    Decimal,
    Digest,
    DnsLabel,
    FieldName,
    Message,
    WireModel,
    map_list,
)
from edgewright_api.evidence import Evidence


class Verdict(StrEnum):
    """What became of a target."""

    ACCEPTED = "Accepted"
    REJECTED = "Rejected"
    INFEASIBLE = "Infeasible"
    FAILED = "Failed"


class AccuracyFigure(WireModel):
    """One metric of the chosen artifact beside the source model, on the same samples."""

    metric: FieldName
    """metric is the name of the metric."""

    baseline_percent: Decimal
    """baselinePercent is the source model's value."""

    value_percent: Decimal
    """valuePercent is the artifact's value."""

    drop_percentage_points: Decimal
    """dropPercentagePoints is baseline less value, as observed."""

    drop_upper_bound: Decimal
    """dropUpperBound is the one-sided upper confidence bound of the drop."""

    max_drop_percentage_points: Decimal
    """maxDropPercentagePoints is the limit that the bound was held against."""

    confidence_percent: int
    """confidencePercent is the confidence that was asked for; it is split evenly over the candidates tried."""

    samples: int
    """samples is how many paired samples there were."""

    samples_needed: int = 0
    """samplesNeeded is how many samples could have proven the limit, when there were too few; else 0."""

    evidence: Evidence
    """evidence is how the artifact's outputs were computed."""


class LatencyFigure(WireModel):
    """Latency of the chosen artifact against the source model, measured in alternation on one machine."""

    ratio: Decimal
    """ratio is the median of artifact over baseline; below 1 is faster."""

    ratio_low: Decimal
    """ratioLow is the lower end of the 95 % interval of the ratio."""

    ratio_high: Decimal
    """ratioHigh is the upper end of the 95 % interval of the ratio."""

    p50_microseconds: int
    """p50Microseconds is the artifact's median latency with batch 1 and one thread."""

    p90_microseconds: int
    """p90Microseconds is the artifact's 90th percentile with batch 1 and one thread."""

    evidence: Evidence
    """evidence is on what kind of machine this was measured."""

    machine: str = Field(default="", max_length=128)
    """machine is the processor it was measured on."""


class CandidateNote(WireModel):
    """What became of one candidate, so that a reader sees why another one was chosen."""

    name: FieldName
    """name is the candidate, e.g. static-int8."""

    accepted: bool
    """accepted is whether it passed every gate."""

    reason: CamelReason
    """reason is why not, or Accepted."""

    message: Message = ""
    """message is the same with its figures."""

    size_bytes: int = 0
    """sizeBytes is the size of its model file."""


class TargetResult(WireModel):
    """What a build gives for one target."""

    name: DnsLabel
    """name is the EdgeTarget."""

    required: bool = True
    """required is whether the model waits for this target."""

    verdict: Verdict
    """verdict is Accepted, Rejected, Infeasible or Failed."""

    reason: CamelReason
    """reason is the cause as a constant; docs/errors.md has a heading for each."""

    message: Message = ""
    """message is the cause with its figures and what to do."""

    candidate: str = Field(default="", max_length=63)
    """candidate is the one that was chosen, e.g. static-int8."""

    manifest_digest: Digest | None = None
    """manifestDigest is the identity of the artifact: its OCI manifest."""

    size_bytes: int = 0
    """sizeBytes is the size of the packaged artifact."""

    accuracy: Annotated[tuple[AccuracyFigure, ...], map_list(8, "metric")] = ()
    """accuracy are the metrics of the chosen artifact, or of the nearest candidate."""

    latency: LatencyFigure | None = None
    """latency is absent where it could not be measured."""

    candidates: Annotated[tuple[CandidateNote, ...], map_list(8, "name")] = ()
    """candidates are all that were tried."""
