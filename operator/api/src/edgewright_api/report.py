"""BuildReport: what a builder answers, and the record that the cache keeps of each pass."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from edgewright_api.base import Digest, WireModel
from edgewright_api.edgetarget import Isa
from edgewright_api.plan import BuildPlan, Step
from edgewright_api.reasons import Reason


class PassState(StrEnum):
    """How a pass ended."""

    DONE = "Done"
    FAILED = "Failed"
    SKIPPED = "Skipped"


class Failure(WireModel):
    """Why a pass failed."""

    reason: Reason
    """reason is the cause as a constant."""

    message: str = Field(max_length=2048)
    """message is the cause for people."""

    remedy: str = Field(default="", max_length=1024)
    """remedy is what to do about it."""

    deterministic: bool
    """deterministic failures repeat with the same inputs, so they are cached; others are retried."""


class PassResult(WireModel):
    """What one pass of a report did."""

    id: str
    """id of the node."""

    key: Digest
    """key is the node's cache key as the builder computed it."""

    state: PassState
    """state is how it ended."""

    output: Digest | None = None
    """output is the digest of the bytes that lie in staging under the node's staging name."""

    size_bytes: int = 0
    """sizeBytes is the size of the output."""

    facts: dict[str, Any] = Field(default_factory=dict)
    """facts are what the pass did: counts, options chosen, names."""

    seconds: float = 0.0
    """seconds of wall time."""

    failure: Failure | None = None
    """failure is set when state is Failed."""


class Machine(WireModel):
    """Where a builder ran."""

    isa: Isa
    """isa is the level of its processor."""

    cpu_model: str = Field(default="", max_length=128)
    """cpuModel is the processor's name."""


class BuilderDescription(WireModel):
    """What ``edgewright-build describe`` prints: what this builder is, before it is given work."""

    machine: Machine
    """machine it runs on."""

    toolchains: dict[str, dict[str, str]]
    """toolchains maps a toolchain's name to its installed tool versions."""


class BuildReport(WireModel):
    """What one step did."""

    build_uid: str
    """buildUid is the staging directory."""

    step: Step
    """step that reports."""

    machine: Machine
    """machine it ran on."""

    results: tuple[PassResult, ...]
    """results of the nodes that were to run, in the plan's order."""


class CacheRecord(WireModel):
    """``cache/<hex of key>.json``: inputs → output, or a deterministic failure. Written by the publisher only."""

    key: Digest
    """key of the pass."""

    pass_name: str
    """passName for people."""

    output: Digest | None = None
    """output is the digest of the blob."""

    size_bytes: int = 0
    """sizeBytes of the blob."""

    facts: dict[str, Any] = Field(default_factory=dict)
    """facts of the pass."""

    seconds: float = 0.0
    """seconds it took when it ran."""

    machine: Machine
    """machine it ran on."""

    failure: Failure | None = None
    """failure, when the pass fails with these inputs every time."""


class Job(WireModel):
    """``job.json``: everything that one step's process is given. It holds no key and no token."""

    build_uid: str
    """buildUid is the staging directory."""

    step: Step
    """step to run."""

    plan: BuildPlan
    """plan of the whole build."""

    known: dict[str, CacheRecord]
    """known maps node ids to results that need not be computed again."""

    reads: dict[str, str]
    """reads maps a digest to where its bytes are: a pre-signed https URL or a local path."""

    writes: dict[str, str]
    """writes maps a node id (or ``report``) to where its output goes: a pre-signed URL or a local path."""


def staging_name(node_id: str) -> str:
    """Return the name of a node's output below the staging directory."""
    return node_id.replace("/", "__")
