"""Verdicts and packages from pass results: the same results always give the same bytes."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from edgewright_api.assembly import Assembly, assemble
from edgewright_api.cachekeys import Walk, walk
from edgewright_api.canonical import canonical_json, digest_bytes
from edgewright_api.decide import decide_target
from edgewright_api.edgetarget import Isa
from edgewright_api.manifest import ImageManifest
from edgewright_api.modelrevision import ModelRevisionSpec
from edgewright_api.plan import BuildPlan, Output, PassNode
from edgewright_api.readings import EVIDENCE_OUTPUTS, EvidenceInvalid
from edgewright_api.reasons import Reason
from edgewright_api.recipes import expand
from edgewright_api.report import CacheRecord, Failure, Machine
from edgewright_api.verdicts import Verdict
from support.api_builders import builder, revision_spec

GOOD = b"\x03" * 595 + b"\x00" * 5
LATENCY = {"pairs": [[100_000, 80_000]] * 40, "artifact": {"p50": 80_000, "p90": 90_000}}
SAFETY = {"saturationPossible": False, "notFinite": 0, "constant": False}


class Results:
    """Results of a whole plan: good ones, but for the nodes that a test replaces."""

    def __init__(
        self,
        spec: ModelRevisionSpec,
        replace: Mapping[str, bytes | Failure] | None = None,
    ) -> None:
        self.spec, self.plan = spec, expand(spec, builder())
        self.bytes: dict[str, bytes] = {}
        self._replace = replace or {}
        self.walk = self._walk(self.plan)

    def _walk(self, plan: BuildPlan) -> Walk:
        records: dict[str, CacheRecord] = {}
        while True:
            found = walk(plan, records.get)
            new = [n for n in plan.nodes if n.id in found.missing and n.id in found.keys]
            if not new:
                return found
            for node in new:
                records[found.keys[node.id]] = self._record(node, found.keys[node.id])

    def _record(self, node: PassNode, key: str) -> CacheRecord:
        machine = Machine(isa=Isa.X86_AVX2, cpu_model="a processor")
        content = self._replace.get(node.id, _content(node))
        if isinstance(content, Failure):
            return CacheRecord(key=key, pass_name=node.pass_name, machine=machine, failure=content)
        if node.output in EVIDENCE_OUTPUTS:
            self.bytes[digest_bytes(content)] = content
        return CacheRecord(
            key=key,
            pass_name=node.pass_name,
            output=digest_bytes(content),
            size_bytes=len(content),
            facts={"withinPolicy": True} if node.output is Output.GOLDEN else {},
            machine=machine,
        )

    def assemble(self) -> Assembly:
        return assemble(self.spec, self.plan, self.walk, self.bytes, decide_target)


def _content(node: PassNode) -> bytes:
    if node.output is Output.OUTCOMES:
        return GOOD
    if node.output is Output.LATENCY:
        return canonical_json(LATENCY)
    if node.output is Output.SAFETY:
        return canonical_json(SAFETY)
    return node.id.encode()


def test_a_good_build_gives_a_package_per_target() -> None:
    assembly = Results(revision_spec()).assemble()
    assert [r.verdict for r in assembly.results] == [Verdict.ACCEPTED] * 2
    assert [r.reason for r in assembly.results] == [Reason.ACCEPTED, Reason.LATENCY_UNPROVEN]
    index = json.loads(assembly.index)
    assert [m["digest"] for m in index["manifests"]] == [p.digest for p in assembly.packages]
    assert [r.manifest_digest for r in assembly.results] == [p.digest for p in assembly.packages]
    for package, result in zip(assembly.packages, assembly.results, strict=True):
        manifest = ImageManifest.model_validate_json(package.manifest)
        assert manifest.file("model.onnx").digest == package.model
        assert manifest.file("golden.npz").digest == package.golden
        assert manifest.file("report.json").digest == digest_bytes(package.report)
        assert manifest.config.digest == digest_bytes(package.config)
        assert result.size_bytes == manifest.total_bytes() + len(package.manifest)


def test_evidence_follows_from_the_machine() -> None:
    measured, emulated = Results(revision_spec()).assemble().packages
    assert json.loads(measured.manifest)["annotations"]["dev.edgewright.evidence"] == "SameISA"
    assert json.loads(emulated.manifest)["annotations"]["dev.edgewright.evidence"] == "Emulated"
    assert json.loads(emulated.report)["latency"] is None


def test_the_manifest_says_how_far_golden_vectors_may_be_off() -> None:
    spec = revision_spec(requirements={"accuracy": [{"metric": "top1", "maxDropPercentagePoints": "12.5"}]})
    annotations = json.loads(Results(spec).assemble().packages[0].manifest)["annotations"]
    assert annotations["dev.edgewright.golden.max-disagreements"] == "2"
    assert annotations["dev.edgewright.golden.max-nrmse"] == "0.35"


def test_the_same_results_give_the_same_bytes() -> None:
    assert Results(revision_spec()).assemble() == Results(revision_spec()).assemble()


def test_a_changed_limit_does_not_change_the_artifact() -> None:
    loose = Results(revision_spec()).assemble()
    target = revision_spec().targets[0].model_dump(by_alias=True, mode="json", exclude_none=True)
    tight = Results(revision_spec(targets=[target | {"budgets": {"latencyP90Microseconds": 100}}])).assemble()
    assert tight.packages[0].digest == loose.packages[0].digest


def test_bad_outcomes_are_rejected_whatever_else_is_said() -> None:
    spec = revision_spec(optimization={"recipe": "Float"})
    bad = {"float/X86Avx2/top1": b"\x01" * 600, "float/X86Vnni/top1": b"\x01" * 600}
    assembly = Results(spec, bad).assemble()
    assert {r.reason for r in assembly.results} == {Reason.ACCURACY_DROP_TOO_LARGE}
    assert assembly.packages == ()
    assert json.loads(assembly.index)["manifests"] == []


def test_saturation_counts_where_it_can_happen() -> None:
    possible = canonical_json(SAFETY | {"saturationPossible": True})
    spec = revision_spec(optimization={"recipe": "StaticInt8"})
    nodes = [n.id for n in expand(spec, builder()).nodes if n.output is Output.SAFETY]
    older, newer = Results(spec, dict.fromkeys(nodes, possible)).assemble().results
    assert (older.verdict, older.reason) == (Verdict.REJECTED, Reason.SATURATION_RISK)
    assert newer.verdict is Verdict.ACCEPTED


def test_the_first_cause_is_told_when_a_shared_pass_fails() -> None:
    cause = Failure(reason=Reason.FORMAT_NOT_SUPPORTED, message="a pickle", deterministic=True)
    assembly = Results(revision_spec(), {"ingest": cause}).assemble()
    assert {(r.verdict, r.reason) for r in assembly.results} == {
        (Verdict.FAILED, Reason.FORMAT_NOT_SUPPORTED)
    }


def test_one_candidates_failure_leaves_the_others() -> None:
    cause = Failure(reason=Reason.PASS_FAILED, message="no", deterministic=True)
    assembly = Results(revision_spec(), {"calibrate": cause}).assemble()
    assert all(r.verdict is Verdict.ACCEPTED for r in assembly.results)
    notes = {note.name: note.reason for note in assembly.results[0].candidates}
    assert notes["static-int8"] == Reason.PASS_FAILED


@pytest.mark.parametrize(
    ("node", "content"),
    [
        ("float/X86Avx2/top1", b"\x04" * 600),
        ("float/X86Avx2/top1", b""),
        ("float/X86Avx2/top1", GOOD[1:]),
        ("float/X86Avx2/check-safety", b"[" * 100_000),
        ("float/X86Avx2/check-safety", b'{"a":' * 100_000),
        ("float/X86Avx2/check-safety", b"\xff"),
        ("float/X86Avx2/check-safety", b"[]"),
        ("float/X86Avx2/check-safety", b"{}"),
        ("float/X86Avx2/check-safety", canonical_json(SAFETY | {"constant": "no"})),
        ("float/X86Avx2/measure-latency", b"{}"),
        ("float/X86Avx2/measure-latency", canonical_json(LATENCY | {"pairs": []})),
        ("float/X86Avx2/measure-latency", canonical_json(LATENCY | {"pairs": [[1]]})),
        ("float/X86Avx2/measure-latency", canonical_json(LATENCY | {"pairs": [[1, 1]] * 5})),
        ("float/X86Avx2/measure-latency", canonical_json(LATENCY | {"pairs": [[1, 0]] * 40})),
        ("float/X86Avx2/measure-latency", b'{"pairs": [], "artifact": {"p50": 1, "p90": 1e999}}'),
        ("float/X86Avx2/measure-latency", canonical_json(LATENCY | {"artifact": {"p50": 9, "p90": 1}})),
    ],
)
def test_bytes_that_are_no_evidence(node: str, content: bytes) -> None:
    results = Results(revision_spec(), {node: content})
    with pytest.raises(EvidenceInvalid):
        results.assemble()


def test_an_unfinished_build_is_not_decided() -> None:
    results: Any = Results(revision_spec())
    results.walk = walk(results.plan, lambda key: None)
    with pytest.raises(ValueError, match="not finished"):
        results.assemble()
