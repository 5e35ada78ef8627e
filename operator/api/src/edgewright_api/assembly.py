"""From pass results to artifacts: what was measured of each candidate, the verdicts, and the packed files.

Pure, and the only code that does this: the publisher and the build by hand decide and pack alike. Whatever a
builder concluded itself is not looked at, only what it measured; how strong a figure is follows from the plan.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from edgewright_api.base import Digest
from edgewright_api.cachekeys import Walk
from edgewright_api.canonical import canonical_json, digest_bytes
from edgewright_api.decide import Decision
from edgewright_api.edgemodel import Objective
from edgewright_api.edgetarget import Isa
from edgewright_api.evidence import Evidence
from edgewright_api.gates import (
    Ask,
    LatencyMeasurement,
    Measured,
    PairedOutcomes,
    Safety,
)
from edgewright_api.manifest import (
    CONFIG,
    GOLDEN,
    GOLDEN_FILE,
    MANIFEST,
    MODEL_FILE,
    REPORT,
    REPORT_FILE,
    WEIGHT,
    Descriptor,
    config_bytes,
    index_bytes,
    layer,
    manifest_bytes,
)
from edgewright_api.modelrevision import ModelRevisionSpec, RevisionTarget
from edgewright_api.plan import BuildPlan, Candidate, Output, PlanTarget
from edgewright_api.readings import EvidenceInvalid, read_latency, read_outcomes, read_safety
from edgewright_api.recipes import REDUCED_RANGE, GoldenLimits, golden_limits
from edgewright_api.report import CacheRecord, Failure
from edgewright_api.verdicts import TargetResult

ANNOTATION: Final = "dev.edgewright."


class Decide(Protocol):
    """How a target's verdict follows from what was measured; the product's is ``decide.decide_target``."""

    def __call__(
        self,
        name: str,
        measured: Sequence[Measured],
        ask: Ask,
        objectives: Sequence[Objective],
        *,
        required: bool,
    ) -> Decision:
        """Return the verdict."""
        ...


@dataclass(frozen=True, slots=True)
class Package:
    """One artifact: its manifest with the files that come with it. Model and golden vectors are blobs already."""

    target: str
    manifest: bytes
    config: bytes
    report: bytes
    model: Digest
    golden: Digest
    size_bytes: int
    """Of everything that a node fetches, the manifest included."""

    @property
    def digest(self) -> str:
        """The identity of the artifact."""
        return digest_bytes(self.manifest)


@dataclass(frozen=True, slots=True)
class Assembly:
    """A finished build: a result per target, a package per accepted one, and the index over them."""

    results: tuple[TargetResult, ...]
    packages: tuple[Package, ...]
    index: bytes

    @property
    def index_digest(self) -> str:
        """The digest of the index."""
        return digest_bytes(self.index)


def assemble(
    spec: ModelRevisionSpec, plan: BuildPlan, walk: Walk, evidence: Mapping[str, bytes], decide: Decide
) -> Assembly:
    """Return verdicts and packages.

    Args:
        spec: What was asked for.
        plan: The plan that ``spec`` expanded to.
        walk: The results; every node is known or blocked.
        evidence: Digest → bytes of every known output of a kind in ``readings.EVIDENCE_OUTPUTS``, verified.
        decide: The decision function.

    Raises:
        EvidenceInvalid: a pass gave something that can't be read as its kind of output, or contradicts another.
        ValueError: ``walk`` is not finished.
    """
    if walk.missing:
        raise ValueError(f"the build is not finished: {', '.join(walk.missing[:5])}")
    require_equal_samples(plan, walk.known)
    asked = {target.name: target for target in spec.targets}
    limits = golden_limits(spec)
    results, packages = [], []
    for target in plan.targets:
        facts = _Facts(plan, target.isa, walk.known, evidence, limits)
        candidates = {c.name: facts.candidate(target, c) for c in target.candidates}
        measured = [each.measured for each in candidates.values()]
        ask = asked[target.name]
        decision = decide(
            target.name, measured, _ask(spec, ask, len(measured)), spec.objectives, required=ask.required
        )
        result = decision.result
        package = candidates[decision.chosen].package if decision.chosen is not None else None
        if package is not None:
            packages.append(package)
            result = result.model_copy(
                update={"manifest_digest": package.digest, "size_bytes": package.size_bytes}
            )
        results.append(result)
    return Assembly(tuple(results), tuple(packages), _index(plan, packages))


def require_equal_samples(plan: BuildPlan, records: Mapping[str, CacheRecord]) -> None:
    """Return when all paired outcomes are of equally many samples, as they are of the same data.

    Raises:
        EvidenceInvalid: some left samples out.
    """
    counts = {
        node.id: record.size_bytes  # one byte a sample
        for node in plan.nodes
        if node.output is Output.OUTCOMES
        and (record := records.get(node.id)) is not None
        and record.output is not None
    }
    if len(set(counts.values())) > 1:
        least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        raise EvidenceInvalid(f"{least} is of {counts[least]} samples and {most} of {counts[most]}")


@contextmanager
def _about(node_id: str) -> Iterator[None]:
    try:
        yield
    except EvidenceInvalid as error:
        raise EvidenceInvalid(f"{node_id}: {error}") from error


def _ask(spec: ModelRevisionSpec, target: RevisionTarget, candidates: int) -> Ask:
    demanded = target.evidence.latency
    return Ask(
        requirements=spec.requirements,
        budgets=target.budgets,
        latency_evidence=target.target.evidence.latency if demanded is None else demanded,
        candidates=candidates,
    )


def _index(plan: BuildPlan, packages: Sequence[Package]) -> bytes:
    manifests = [
        Descriptor(
            media_type=MANIFEST,
            digest=package.digest,
            size=len(package.manifest),
            annotations={ANNOTATION + "target": package.target},
        )
        for package in packages
    ]
    return index_bytes(manifests, {ANNOTATION + "model": plan.model, ANNOTATION + "version": plan.version})


@dataclass(frozen=True, slots=True)
class _Assembled:
    measured: Measured
    package: Package | None
    """None when a pass failed, so that there is nothing to pack."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """Reads the evidence of one target's candidates."""

    plan: BuildPlan
    isa: Isa
    known: Mapping[str, CacheRecord]
    bytes_of: Mapping[str, bytes]
    limits: GoldenLimits

    def candidate(self, target: PlanTarget, candidate: Candidate) -> _Assembled:
        """Return what is known of a candidate, packed as it would ship."""
        nodes = [candidate.model, candidate.golden, candidate.safety, *candidate.outcomes.values()]
        if candidate.latency is not None:
            nodes.append(candidate.latency)
        failure = self._first_failure(nodes)
        if failure is not None:
            nothing = Measured(candidate.name, 0, {}, Evidence.NONE, None, None, None, failure)
            return _Assembled(nothing, None)
        level = Evidence.SAME_ISA if self.isa is self.plan.host_isa else Evidence.EMULATED
        outcomes = {metric: self._outcomes(node) for metric, node in candidate.outcomes.items()}
        latency = None if candidate.latency is None else self._latency(candidate.latency, level)
        safety = self._safety(candidate.safety)
        package = self._pack(target, candidate, outcomes, latency, level)
        golden = self.known[candidate.golden].facts.get("withinPolicy")
        holds = golden if isinstance(golden, bool) else None
        measured = Measured(candidate.name, package.size_bytes, outcomes, level, latency, safety, holds)
        return _Assembled(measured, package)

    def _first_failure(self, nodes: Sequence[str]) -> Failure | None:
        """Return the failure of the earliest pass, in the plan's order, that any of ``nodes`` depends on."""
        needed = set(nodes)
        for node in reversed(self.plan.nodes):
            if node.id in needed:
                needed.update(node.inputs.values())
        failures = (
            self.known[n.id].failure for n in self.plan.nodes if n.id in needed and n.id in self.known
        )
        return next((failure for failure in failures if failure is not None), None)

    def _read(self, node_id: str) -> bytes:
        record = self.known[node_id]
        if record.output is None:
            raise ValueError(f"{node_id} has no output")
        return self.bytes_of[record.output]

    def _outcomes(self, node_id: str) -> PairedOutcomes:
        with _about(node_id):
            return read_outcomes(self._read(node_id))

    def _latency(self, node_id: str, level: Evidence) -> LatencyMeasurement:
        machine = self.known[node_id].machine.cpu_model
        with _about(node_id):
            return read_latency(self._read(node_id), evidence=level, machine=machine)

    def _safety(self, node_id: str) -> Safety:
        # Sums of two products overflow int16 on the older level only; the newer one adds in 32 bits.
        with _about(node_id):
            return read_safety(self._read(node_id), can_saturate=self.isa in REDUCED_RANGE)

    def _pack(
        self,
        target: PlanTarget,
        candidate: Candidate,
        outcomes: Mapping[str, PairedOutcomes],
        latency: LatencyMeasurement | None,
        level: Evidence,
    ) -> Package:
        model, golden = self._file(candidate.model), self._file(candidate.golden)
        report = self._report(target, candidate, outcomes, latency, level)
        config = config_bytes(
            model=self.plan.model,
            version=self.plan.version,
            target=target.name,
            candidate=candidate.name,
            weight_digest=model[0],
        )
        manifest = manifest_bytes(
            Descriptor(media_type=CONFIG, digest=digest_bytes(config), size=len(config)),
            [
                layer(WEIGHT, *model, MODEL_FILE),
                layer(GOLDEN, *golden, GOLDEN_FILE),
                layer(REPORT, digest_bytes(report), len(report), REPORT_FILE),
            ],
            self._annotations(target, candidate, outcomes, level),
        )
        size = model[1] + golden[1] + len(report) + len(config) + len(manifest)
        return Package(target.name, manifest, config, report, model[0], golden[0], size)

    def _file(self, node_id: str) -> tuple[str, int]:
        record = self.known[node_id]
        if record.output is None:
            raise ValueError(f"{node_id} has no output")
        return record.output, record.size_bytes

    def _annotations(
        self,
        target: PlanTarget,
        candidate: Candidate,
        outcomes: Mapping[str, PairedOutcomes],
        level: Evidence,
    ) -> dict[str, str]:
        facts = {
            "model": self.plan.model,
            "version": self.plan.version,
            "target": target.name,
            "candidate": candidate.name,
            "evidence": level.value,
            # Nodes hold the vectors to these, whatever the builder wrote beside them.
            "golden.max-disagreements": str(self.limits.max_disagreements),
            "golden.max-nrmse": f"{self.limits.max_nrmse:g}",
        }
        facts |= {
            f"accuracy.{metric}": f"{100 * paired.candidate_right / max(1, paired.samples):.2f}"
            for metric, paired in outcomes.items()
        }
        return {ANNOTATION + name: value for name, value in facts.items()}

    def _report(
        self,
        target: PlanTarget,
        candidate: Candidate,
        outcomes: Mapping[str, PairedOutcomes],
        latency: LatencyMeasurement | None,
        level: Evidence,
    ) -> bytes:
        """Return what was measured and done. No limit and no verdict: those may change while the file stays."""
        timed = latency and {
            "p50Microseconds": latency.p50_us,
            "p90Microseconds": latency.p90_us,
            "evidence": latency.evidence.value,
            "machine": latency.machine,
        }
        return canonical_json(
            {
                "version": 1,
                "target": target.name,
                "isa": target.isa.value,
                "candidate": candidate.name,
                "contents": dict(self.plan.contents),
                "toolchains": self.plan.toolchains,
                "metrics": {
                    metric: {
                        "samples": paired.samples,
                        "baselineRight": paired.baseline_right,
                        "artifactRight": paired.candidate_right,
                        "lost": paired.lost,
                        "gained": paired.gained,
                        "evidence": level.value,
                    }
                    for metric, paired in outcomes.items()
                },
                "latency": timed,
                "passes": self._passes(candidate),
            }
        )

    def _passes(self, candidate: Candidate) -> list[dict[str, Any]]:
        needed = {candidate.model, candidate.golden}
        for node in reversed(self.plan.nodes):
            if node.id in needed:
                needed.update(node.inputs.values())
        return [
            {
                "pass": node.pass_name,
                "version": node.version,
                "options": node.options,
                "output": self.known[node.id].output,
                "facts": self.known[node.id].facts,
            }
            for node in self.plan.nodes
            if node.id in needed
        ]
