"""Matching a node with variants, and whether a node is heard of."""

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_api.edgetarget import EdgeTargetSpec
from edgewright_operator.planning.matching import Fit, Unfit, Variant, match, selects, variants
from edgewright_operator.planning.objects import Inventory, RuntimeView
from edgewright_operator.planning.reachability import Heartbeat, Judgement, judge
from support.operator_builders import AVX2, NOW, VNNI, result, revision


def variant(name: str, priority: int = 0, *, features: list[list[str]] | None = None) -> Variant:
    clauses = [{"anyOf": f} for f in features or []]
    spec = EdgeTargetSpec.model_validate(
        {
            "match": {"architectures": ["amd64"], "cpuFeatures": clauses},
            "runtime": "OnnxRuntime",
            "isa": "X86Avx2",
            "priority": priority,
        }
    )
    return Variant(name, spec, f"sha256:{name}")


FLOAT = variant("avx2", 10, features=[["avx2"]])
INT8 = variant("vnni", 20, features=[["avx512f", "avx2"], ["avx512_vnni", "avx_vnni"]])


@pytest.mark.parametrize(
    ("inventory", "chosen"),
    [
        pytest.param(AVX2, "avx2", id="only-one-fits"),
        pytest.param(VNNI, "vnni", id="the-higher-priority"),
    ],
)
def test_the_best_fitting_variant_is_chosen_and_says_why(inventory: Inventory, chosen: str) -> None:
    for order in permutations((FLOAT, INT8)):
        got = match(inventory, order)
        assert isinstance(got, Fit)
        assert got.variant.target == chosen
        assert got.why.startswith(f"{chosen} suits")


def test_the_reason_names_the_clause_that_excluded_a_variant() -> None:
    got = match(AVX2, [INT8, FLOAT])
    assert isinstance(got, Fit)
    assert "not vnni: the processor lacks avx512_vnni or avx_vnni" in got.why


@pytest.mark.parametrize(
    ("inventory", "why"),
    [
        pytest.param(None, "not reported its inventory", id="no-inventory"),
        pytest.param(Inventory("arm64", ("avx2",)), "architecture is arm64, not amd64", id="architecture"),
        pytest.param(Inventory("amd64", ("sse2",)), "the processor lacks avx2", id="feature"),
        pytest.param(Inventory("amd64", ("avx2",)), "the node has no OnnxRuntime", id="runtime"),
    ],
)
def test_a_node_that_nothing_suits_says_why(inventory: Inventory | None, why: str) -> None:
    got = match(inventory, [FLOAT])
    assert isinstance(got, Unfit)
    assert why in got.why


def test_only_accepted_artifacts_are_offered() -> None:
    assert [v.target for v in variants(revision())] == ["x86-64-avx2"]
    assert variants(revision(results=[result(verdict="Rejected")])) == ()


offers = st.lists(
    st.builds(variant, st.sampled_from("abcde"), st.integers(0, 2)), unique_by=lambda v: v.target, max_size=5
)


@given(offers, st.randoms(use_true_random=False))
def test_matching_does_not_depend_on_any_order(offered: list[Variant], random: Any) -> None:
    shuffled = list(offered)
    random.shuffle(shuffled)
    inventory = Inventory("amd64", (), (RuntimeView("onnxruntime"),))
    assert match(inventory, shuffled) == match(inventory, offered)


def test_a_selector_asks_for_all_of_its_labels() -> None:
    assert selects({"a": "1", "b": "2"}, {"a": "1"})
    assert not selects({"a": "1"}, {"a": "1", "b": "2"})
    assert selects({}, {})


MINUTE = timedelta(seconds=60)


@pytest.mark.parametrize(
    ("first_seen", "changed", "renewed", "before", "reachable"),
    [
        pytest.param(99, 0.5, None, None, True, id="renewed-while-we-looked"),
        pytest.param(99, 1.0, None, True, False, id="silent-since"),
        pytest.param(0.5, None, None, True, True, id="after-a-start-the-last-judgement-holds"),
        pytest.param(1.0, None, None, True, False, id="but-not-for-ever"),
        pytest.param(0.0, None, 0.1, False, False, id="a-silent-node-has-to-be-heard"),
        pytest.param(0.0, None, 0.1, None, True, id="a-new-node-is-taken-at-its-word"),
        pytest.param(0.0, None, 5.0, None, False, id="unless-that-is-old"),
    ],
)
def test_judge(
    first_seen: float, changed: float | None, renewed: float | None, before: bool | None, reachable: bool
) -> None:
    """Times are minutes ago; a renewal is good for one minute."""
    beat = Heartbeat(
        NOW - first_seen * MINUTE, None if changed is None else NOW - changed * MINUTE, good_for=MINUTE
    )
    word = None if renewed is None else NOW - renewed * MINUTE
    got = judge(beat, renewed=word, before=before, now=NOW)
    assert got.reachable is reachable
    assert (got.requeue_after is not None) is reachable


def test_a_node_without_a_lease_is_not_heard_of() -> None:
    assert judge(None, renewed=None, before=True, now=NOW) == Judgement(False, None)
