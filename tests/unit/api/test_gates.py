"""The gate fails closed, and says what would have been enough."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_api.decide import decide_target
from edgewright_api.edgemodel import Budgets, Objective
from edgewright_api.evidence import Evidence
from edgewright_api.gates import PairedOutcomes, Safety, choose, judge
from edgewright_api.reasons import Reason
from edgewright_api.report import Failure
from edgewright_api.verdicts import Verdict
from support.api_builders import ask, latency, measured, outcomes

BOTH = (Objective.LATENCY, Objective.SIZE)


@pytest.mark.parametrize(
    ("candidate", "question", "reason"),
    [
        pytest.param({}, {}, Reason.ACCEPTED, id="good"),
        pytest.param({"outcomes": {"top1": None}}, {}, Reason.NOT_MEASURED, id="outcomes-missing"),
        pytest.param(
            {"outcomes": {"top1": outcomes(0, wrong_in_both=0)}}, {}, Reason.NOT_MEASURED, id="no-samples"
        ),
        pytest.param(
            {"outcomes": {"top1": outcomes(lost=20)}}, {}, Reason.ACCURACY_DROP_TOO_LARGE, id="drop"
        ),
        pytest.param(
            {"outcomes": {"top1": outcomes(lost=12)}}, {}, Reason.ACCURACY_DROP_TOO_LARGE, id="drop-is-limit"
        ),
        pytest.param({"outcomes": {"top1": outcomes(lost=9)}}, {}, Reason.UNDERPOWERED, id="too-few-samples"),
        pytest.param({}, {"drop": "0.3"}, Reason.UNDERPOWERED, id="cannot-be-proven-without-one-regression"),
        pytest.param({"safety": None}, {}, Reason.NOT_MEASURED, id="safety-missing"),
        pytest.param({"safety": Safety(True, False, False)}, {}, Reason.SATURATION_RISK, id="saturates"),
        pytest.param({"safety": Safety(False, True, False)}, {}, Reason.NUMERICALLY_UNSAFE, id="nan"),
        pytest.param({"safety": Safety(False, False, True)}, {}, Reason.NUMERICALLY_UNSAFE, id="constant"),
        pytest.param({"golden_holds": None}, {}, Reason.NOT_MEASURED, id="golden-missing"),
        pytest.param({"golden_holds": False}, {}, Reason.GOLDEN_SOURCE_MISMATCH, id="nodes-would-refuse"),
        pytest.param({"latency": latency(1.2)}, {}, Reason.SLOWER_THAN_BASELINE, id="slower"),
        pytest.param({"latency": latency(1.03)}, {}, Reason.ACCEPTED, id="not-clearly-slower"),
        pytest.param({"latency": None}, {}, Reason.LATENCY_UNPROVEN, id="unproven-is-accepted-where-allowed"),
        pytest.param({"latency": latency(math.nan)}, {}, Reason.LATENCY_UNPROVEN, id="nan-latency-is-none"),
        pytest.param(
            {"latency": latency(evidence=Evidence.ESTIMATED)},
            {"latency_evidence": Evidence.SAME_ISA},
            Reason.EVIDENCE_TOO_WEAK,
            id="estimate-is-not-enough",
        ),
        pytest.param(
            {},
            {"budgets": Budgets(latency_p90_microseconds=10)},
            Reason.LATENCY_BUDGET_EXCEEDED,
            id="p90-over",
        ),
        pytest.param({}, {"budgets": Budgets(size="900")}, Reason.SIZE_BUDGET_EXCEEDED, id="too-big"),
    ],
)
def test_judge(candidate: dict[str, Any], question: dict[str, Any], reason: Reason) -> None:
    assert judge(measured(**candidate), ask(**question)).reason == reason


@pytest.mark.parametrize(
    "question",
    [{"budgets": Budgets(latency_p90_microseconds=10_000)}, {"latency_evidence": Evidence.SAME_ISA}],
    ids=["budget", "evidence"],
)
def test_an_unmeasured_latency_meets_no_demand(question: dict[str, Any]) -> None:
    got = judge(measured(latency=None), ask(**question))
    assert (got.accepted, got.reason) == (False, Reason.LATENCY_UNPROVEN)


def test_underpowered_says_how_many_samples_would_do() -> None:
    got = judge(measured(), ask("0.3"))
    assert got.samples_needed == 1398
    assert "need n ≥ 1398" in got.message
    enough = measured(outcomes={"top1": outcomes(1398)})
    assert judge(enough, ask("0.3")).accepted
    assert not judge(measured(outcomes={"top1": outcomes(1397)}), ask("0.3")).accepted


@given(
    lost=st.integers(0, 40),
    more=st.integers(0, 20),
    gained=st.integers(0, 20),
    drop=st.sampled_from(["0.5", "1.0", "2.0", "5.0"]),
)
def test_losing_more_never_helps(lost: int, more: int, gained: int, drop: str) -> None:
    better = judge(measured(outcomes={"top1": outcomes(lost=lost, gained=gained)}), ask(drop))
    worse = judge(measured(outcomes={"top1": outcomes(lost=lost + more, gained=gained)}), ask(drop))
    assert better.accepted or not worse.accepted


@given(st.binary(min_size=1, max_size=300).map(lambda b: bytes(x & 3 for x in b)))
def test_counts_add_up(raw: bytes) -> None:
    got = PairedOutcomes.from_bytes(raw)
    assert got.baseline_right - got.candidate_right == got.lost - got.gained
    assert got.samples == len(raw)


def test_an_outcome_with_a_third_bit_is_refused() -> None:
    with pytest.raises(ValueError, match="two bits"):
        PairedOutcomes.from_bytes(b"\x04")


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        pytest.param([("a", 0.5, 900), ("b", 0.9, 100)], "a", id="fastest"),
        pytest.param([("a", 0.50, 900), ("b", 0.51, 100)], "b", id="within-noise-the-smaller"),
        pytest.param([("a", 0.5, 900), ("b", None, 100)], "b", id="latency-unknown-for-one-is-no-ground"),
        pytest.param([("a", 1.5, 100), ("b", 0.9, 900)], "b", id="the-slower-is-never-chosen"),
        pytest.param([("a", 1.5, 100)], None, id="nothing-passes"),
    ],
)
def test_choose(candidates: list[tuple[str, float | None, int]], chosen: str | None) -> None:
    judgements = [
        judge(measured(name, latency=latency(r) if r else None, size_bytes=size), ask())
        for name, r, size in candidates
    ]
    got = choose(judgements, BOTH)
    assert (got.name if got else None) == chosen


def test_float_ships_where_int8_is_slower_and_the_result_says_so() -> None:
    fast, slow = measured("float", size_bytes=4000, latency=latency(1.0)), measured(latency=latency(1.4))
    got = decide_target("x86-64-avx2", [slow, fast], ask(), BOTH, required=True)
    assert got.chosen == "float"
    assert got.result.verdict is Verdict.ACCEPTED
    assert "static-int8 not chosen: SlowerThanBaseline" in got.result.message


def test_the_nearest_candidate_explains_a_rejection() -> None:
    broken = measured("float", failure=Failure(reason=Reason.PASS_FAILED, message="x", deterministic=True))
    got = decide_target("t", [broken, measured()], ask("0.3"), BOTH, required=True)
    assert (got.chosen, got.result.verdict, got.result.reason) == (None, Verdict.REJECTED, "Underpowered")


def test_no_candidates_is_a_failure_and_no_success() -> None:
    assert decide_target("t", [], ask(), BOTH, required=True).result.verdict is Verdict.FAILED
