"""What is planned, what is known, and what exactly runs again when something changes."""

from collections.abc import Callable

import pytest

from edgewright_api.cachekeys import walk
from edgewright_api.canonical import digest_value
from edgewright_api.edgetarget import Isa
from edgewright_api.modelrevision import ModelRevisionSpec
from edgewright_api.plan import ACCEPTANCE, SOURCE, BuildPlan, Output, Step
from edgewright_api.reasons import Reason
from edgewright_api.recipes import expand, golden_limits
from edgewright_api.report import CacheRecord, Failure, Machine
from support.api_builders import DIGEST, builder, revision_spec, target

MACHINE = Machine(isa=Isa.X86_AVX2)


class Cache:
    """Runs nothing: the output of a pass is named after its key, so different inputs differ."""

    def __init__(self) -> None:
        self.records: dict[str, CacheRecord] = {}

    def lookup(self, key: str) -> CacheRecord | None:
        return self.records.get(key)

    def build(self, plan: BuildPlan) -> list[str]:
        """Run what is missing until everything is known, and return what ran."""
        ran = []
        while missing := walk(plan, self.lookup).missing:
            seen = walk(plan, self.lookup)
            for node_id in missing:
                if node_id in seen.keys:
                    ran.append(node_id)
                    self.put(seen.keys[node_id], plan.node(node_id).pass_name)
        return ran

    def put(self, key: str, name: str, failure: Failure | None = None) -> None:
        output = None if failure else digest_value({"of": key})
        self.records[key] = CacheRecord(
            key=key, pass_name=name, output=output, machine=MACHINE, failure=failure
        )


def test_a_second_build_runs_nothing() -> None:
    cache, plan = Cache(), expand(revision_spec(), builder())
    assert sorted(cache.build(plan)) == sorted(n.id for n in plan.nodes)
    assert cache.build(expand(revision_spec(), builder())) == []


def _calibration(spec: ModelRevisionSpec) -> ModelRevisionSpec:
    data = spec.data.model_copy(
        update={"calibration": spec.data.calibration.model_copy(update={"digest": DIGEST})}
    )
    return spec.model_copy(update={"data": data})


def _acceptance(spec: ModelRevisionSpec) -> ModelRevisionSpec:
    data = spec.data.model_copy(
        update={"acceptance": spec.data.acceptance.model_copy(update={"digest": DIGEST})}
    )
    return spec.model_copy(update={"data": data})


@pytest.mark.parametrize(
    ("change", "untouched"),
    [
        pytest.param(
            _calibration,
            {
                "ingest",
                "canonicalize",
                "infer-shapes",
                "float/optimize-graph",
                "dynamic-int8/quantize-dynamic",
            },
            id="calibration",
        ),
        pytest.param(
            _acceptance,
            {"ingest", "calibrate", "static-int8/optimize-graph", "float/X86Avx2/golden"},
            id="acceptance",
        ),
    ],
)
def test_a_change_leaves_alone_what_does_not_depend_on_it(
    change: Callable[[ModelRevisionSpec], ModelRevisionSpec], untouched: set[str]
) -> None:
    cache = Cache()
    cache.build(expand(revision_spec(), builder()))
    ran = set(cache.build(expand(change(revision_spec()), builder())))
    assert ran
    assert not untouched & ran


def test_another_tool_version_runs_everything_again() -> None:
    cache = Cache()
    cache.build(expand(revision_spec(), builder()))
    plan = expand(revision_spec(), builder(onnxruntime="1.33.0"))
    assert len(cache.build(plan)) == len(plan.nodes)


def test_an_option_runs_its_dependants_only() -> None:
    cache = Cache()
    cache.build(expand(revision_spec(), builder()))
    changed = revision_spec(optimization={"calibration": {"method": "Percentile"}})
    ran = cache.build(expand(changed, builder()))
    assert ran
    assert all(i == "calibrate" or i.startswith("static-int8") for i in ran)


def test_the_wrong_kernels_are_never_timed() -> None:
    for isa in ("X86Avx2", "X86Vnni"):
        plan = expand(revision_spec(), builder(isa))
        for t in plan.targets:
            assert all((c.latency is not None) == (t.isa == isa) for c in t.candidates)


def test_only_evaluation_sees_acceptance_data_and_it_makes_no_artifact() -> None:
    plan = expand(revision_spec(), builder())
    for node in plan.nodes:
        if ACCEPTANCE in node.inputs.values():
            assert node.step is Step.EVALUATE
        if node.step is Step.EVALUATE:
            assert node.output not in (Output.MODEL, Output.GOLDEN, Output.RANGES)


def test_artifacts_are_compared_with_the_source_that_no_pass_has_touched() -> None:
    plan = expand(revision_spec(), builder())
    ports = {"predict": "model"} | dict.fromkeys(["golden", "check-safety", "measure-latency"], "baseline")
    found = {(n.pass_name, n.inputs[ports[n.pass_name]]) for n in plan.nodes if n.pass_name in ports}
    assert found == {(name, SOURCE) for name in ports}


def test_a_file_that_ingest_refuses_is_opened_by_nothing_else() -> None:
    cache, plan = Cache(), expand(revision_spec(), builder())
    key = walk(plan, cache.lookup).keys["ingest"]
    cache.put(key, "ingest", Failure(reason=Reason.MODEL_INVALID, message="", deterministic=True))
    assert walk(plan, cache.lookup).blocked == tuple(n.id for n in plan.nodes if n.id != "ingest")


@pytest.mark.parametrize(("drop", "allowed"), [("0.0", 1), ("2.0", 1), ("12.5", 2), ("13", 3), ("100", 16)])
def test_golden_disagreements_follow_the_loosest_limit_of_the_gate(drop: str, allowed: int) -> None:
    spec = revision_spec(requirements={"accuracy": [{"metric": "top1", "maxDropPercentagePoints": drop}]})
    assert golden_limits(spec).max_disagreements == allowed
    golden = next(n for n in expand(spec, builder()).nodes if n.output is Output.GOLDEN)
    assert golden.options == {"samples": 16, "maxDisagreements": allowed, "maxNrmse": 0.35}


def test_seven_bit_weights_exactly_where_sixteen_bit_sums_could_overflow() -> None:
    plan = expand(revision_spec(), builder())
    flags = {n.id: n.options["reduceRange"] for n in plan.nodes if "reduceRange" in n.options}
    assert {i for i, reduced in flags.items() if reduced} == {i for i in flags if "-r7/" in i}


def test_a_known_failure_blocks_its_branch_and_nothing_else() -> None:
    cache, plan = Cache(), expand(revision_spec(targets=[target()]), builder())
    cache.build(plan)
    key = walk(plan, cache.lookup).keys["static-int8-r7/quantize-static"]
    cache.put(key, "quantize-static", Failure(reason=Reason.PASS_FAILED, message="", deterministic=True))
    seen = walk(plan, cache.lookup)
    assert seen.missing == ()
    assert seen.blocked
    assert all(i.startswith("static-int8-r7/") for i in seen.blocked)


def test_a_fault_drill_is_a_pass_of_every_candidate() -> None:
    plan = expand(revision_spec(optimization={"faultDrill": "DroppedBias"}), builder())
    for t in plan.targets:
        assert all(c.model.endswith("/plant-dropped-bias") for c in t.candidates)
