"""Rollouts: which revision, which nodes now, never more than maxUnavailable, and what is told."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright_api.conditions import Condition, ConditionType, find
from edgewright_api.modelrevision import ModelRevision
from edgewright_operator.planning.deployments import DeploymentPlan, DeploymentSeen, plan
from edgewright_operator.planning.matching import Fit, Variant
from edgewright_operator.planning.rollout import Member, NodeView, choose_nodes
from support.api_builders import digest
from support.operator_builders import (
    NOW,
    edge_deployment,
    edge_model,
    edge_target,
    entry,
    ref,
    result,
    revision,
    said,
    seen,
    view,
)

DEADLINE = timedelta(seconds=600)


def decide(what: DeploymentSeen) -> DeploymentPlan:
    return plan(what, now=NOW, deadline=DEADLINE)


def told(got: DeploymentPlan) -> tuple[str, str, str]:
    """Return reason, Ready and Complete."""
    conditions = got.status.conditions
    ready, complete = find(conditions, ConditionType.READY), find(conditions, ConditionType.COMPLETE)
    assert ready is not None
    assert complete is not None
    return ready.reason, ready.status.value, complete.status.value


def wanted(got: DeploymentPlan) -> dict[str, tuple[str, str]]:
    """Return state and first digit of the digest that is wanted of each node."""
    assert got.wishes is not None
    return {n: (w.entry.state, w.entry.manifest_digest[7]) for n, w in got.wishes.items()}


def running(name: str, letter: str = "1", *, confirmed: bool = True, **changes: Any) -> NodeView:
    """Return a node that was told to run an artifact, and confirms it or not."""
    status = said("digits", letter) if confirmed else said("digits", letter, "Fetching")
    return view(name, entry=entry("digits", letter), status=status, **changes)


@pytest.mark.parametrize(
    ("nodes", "reason", "ready", "complete", "asked"),
    [
        pytest.param([], "NoMatchingNodes", "True", "False", {}, id="no-node"),
        pytest.param([view("a", inventory=None)], "NoVariantFits", "True", "False", {}, id="no-variant"),
        pytest.param([running("a")], "Complete", "True", "True", {"a": ("Run", "1")}, id="all-confirmed"),
        pytest.param(
            [view("b"), view("a")], "RollingOut", "False", "False", {"a": ("Run", "1")}, id="one-at-a-time"
        ),
        pytest.param(
            [running("a"), running("b", "0")],
            "RollingOut",
            "False",
            "False",
            {"a": ("Run", "1"), "b": ("Run", "1")},
            id="the-next-one",
        ),
        pytest.param(
            [running("a", confirmed=False), running("b", "0")],
            "RollingOut",
            "False",
            "False",
            {"a": ("Run", "1"), "b": ("Run", "0")},
            id="wait-for-the-first",
        ),
        pytest.param(
            [running("a"), running("b", "0", reachable=False)],
            "NodesOffline",
            "True",
            "False",
            {"a": ("Run", "1"), "b": ("Run", "0")},
            id="the-rest-is-offline",
        ),
        pytest.param(
            [running("a", confirmed=False, reachable=False), running("b", "0")],
            "RollingOut",
            "False",
            "False",
            {"a": ("Run", "1"), "b": ("Run", "0")},
            id="silent-after-it-was-told-is-suspect",
        ),
    ],
)
def test_plan(
    nodes: list[NodeView], reason: str, ready: str, complete: str, asked: dict[str, tuple[str, str]]
) -> None:
    got = decide(seen(*nodes))
    assert told(got) == (reason, ready, complete)
    assert wanted(got) == asked


def test_a_node_that_refuses_the_artifact_stops_the_rollout_and_is_named() -> None:
    refuses = view(
        "a",
        entry=entry(),
        status=said(state="Failed", reason="GoldenSourceMismatch", message="3 of 16 differ"),
    )
    got = decide(seen(refuses, running("b", "0")))
    assert told(got)[:2] == ("NodeFailed", "False")
    stalled = find(got.status.conditions, ConditionType.STALLED)
    assert stalled is not None
    assert stalled.status.value == "True"
    assert wanted(got)["b"] == ("Run", "0")  # the old version serves on
    assert [(p.name, p.reason, p.message) for p in got.status.problems] == [
        ("a", "GoldenSourceMismatch", "3 of 16 differ")
    ]
    assert got.status.nodes.failed == 1


def test_a_taken_name_is_told_and_holds_up_no_other_node() -> None:
    taken = view("a", refusal="the name digits is served for vision/other")
    got = decide(seen(taken, view("b")))
    assert wanted(got) == {"b": ("Run", "1")}
    got = decide(seen(taken, running("b")))
    assert told(got)[0] == "ServedNameTaken"
    assert got.status.problems[0].message == "the name digits is served for vision/other"
    assert wanted(got) == {"b": ("Run", "1")}


def test_another_served_name_is_rolled_out_like_another_version() -> None:
    deployment = edge_deployment(serving={"modelName": "numbers"})
    got = decide(seen(running("a"), running("b"), deployment=deployment))
    assert got.wishes is not None
    assert [w.entry.served_name for _, w in sorted(got.wishes.items())] == ["numbers", "digits"]


@pytest.mark.parametrize(
    ("labels", "known", "state"),
    [
        pytest.param({"site": "lab"}, True, "Remove", id="selected-no-longer"),
        pytest.param({}, False, "Run", id="the-Node-is-gone-and-its-labels-with-it"),
        pytest.param({"site": "store"}, False, "Run", id="selected-without-the-Node"),
    ],
)
def test_a_node_leaves_only_when_all_its_labels_are_known(
    labels: dict[str, str], known: bool, state: str
) -> None:
    deployment = edge_deployment(nodeSelector={"matchLabels": {"site": "store"}})
    got = decide(seen(running("a", labels=labels, labels_known=known), deployment=deployment))
    assert wanted(got) == {"a": (state, "1")}


def test_a_node_that_no_variant_suits_any_more_keeps_what_it_has() -> None:
    got = decide(seen(running("a", "0", inventory=None)))
    assert wanted(got) == {"a": ("Run", "0")}
    assert (got.status.nodes.unfit, got.status.problems[0].reason) == (1, "NoVariantFits")


def test_a_new_deployment_of_the_same_name_takes_over_without_a_rollout() -> None:
    deployment = edge_deployment(meta={"uid": "new"})
    got = decide(seen(running("a"), running("b"), deployment=deployment))
    assert told(got)[0] == "Complete"
    assert got.wishes is not None
    assert {w.entry.deployment for w in got.wishes.values()} == {ref(uid="new")}


def test_other_revision_with_the_same_artifact_touches_no_node() -> None:
    got = decide(seen(running("a", "1"), running("b", "1")))
    assert told(got)[0] == "Complete"


def test_setting_the_version_back_rolls_back() -> None:
    old = revision(edge_model(version="1.0.0"), results=[result(letter="1")])
    new = revision(edge_model(version="1.1.0"), created="2026-11-25T11:00:00Z", results=[result(letter="2")])
    forward = edge_deployment(model={"name": "digits", "version": "1.1.0"})
    assert wanted(decide(seen(running("a", "1"), deployment=forward, revisions=(old, new)))) == {
        "a": ("Run", "2")
    }
    assert wanted(decide(seen(running("a", "2"), revisions=(old, new)))) == {"a": ("Run", "1")}


def test_the_newest_ready_revision_of_a_version_runs_unless_the_model_has_gone_back() -> None:
    first = revision(created="2026-11-25T10:00:00Z", results=[result(letter="1")])
    second = revision(
        edge_model(objectives=["Size"]), created="2026-11-25T11:00:00Z", results=[result(letter="2")]
    )
    refused = revision(edge_model(objectives=["Latency"]), created="2026-11-25T12:00:00Z", ready=False)
    all_three = (first, second, refused)
    assert wanted(decide(seen(view(), revisions=all_three))) == {"node-a": ("Run", "2")}
    back = seen(view(), revisions=all_three, ready_revision=first.metadata.name)
    assert wanted(decide(back)) == {"node-a": ("Run", "1")}
    pinned = edge_deployment(model={"name": "digits", "revision": first.metadata.name})
    assert wanted(decide(seen(view(), revisions=all_three, deployment=pinned))) == {"node-a": ("Run", "1")}


@pytest.mark.parametrize(
    ("changes", "reason", "stalled"),
    [
        pytest.param({"revisions": (), "model_exists": False}, "ModelNotFound", "False", id="no-model"),
        pytest.param({"revisions": ()}, "ModelNotFound", "False", id="no-version"),
        pytest.param({"revisions": (revision(ready=False),)}, "RevisionNotReady", "True", id="refused"),
    ],
)
def test_nodes_are_left_alone_while_there_is_nothing_to_run(
    changes: dict[str, Any], reason: str, stalled: str
) -> None:
    got = decide(seen(running("a", "0"), **changes))
    assert got.wishes is None
    found = find(got.status.conditions, ConditionType.STALLED)
    assert found is not None
    assert (found.reason, found.status.value) == (reason, stalled)


def test_the_newest_refusal_is_told_whatever_order_they_come_in() -> None:
    early = revision(created="2026-11-25T10:00:00Z", ready=False, reason="ModelInvalid")
    late = revision(
        edge_model(objectives=["Size"]), created="2026-11-25T11:00:00Z", ready=False, reason="Underpowered"
    )
    early, late = (
        r.model_copy(update={"status": r.status.model_copy(update={"conditions": tuple(said_why(r))})})
        for r in (early, late)
    )
    for order in permutations((early, late)):
        got = find(decide(seen(view(), revisions=order)).status.conditions, ConditionType.STALLED)
        assert got is not None
        assert "Underpowered" in got.message


def said_why(refused: ModelRevision) -> list[Condition]:
    """Return its conditions with their reason as their message."""
    return [c.model_copy(update={"message": c.reason}) for c in refused.status.conditions]


def test_deciding_again_about_what_was_told_tells_the_same() -> None:
    first = decide(seen(view("a"), view("b")))
    deployment = edge_deployment(status=first.status.to_wire())
    assert decide(seen(view("a"), view("b"), deployment=deployment)).status == first.status


def test_only_the_first_ten_problem_nodes_are_told() -> None:
    got = decide(seen(*(view(f"n{i:02}", reachable=False) for i in range(25))))
    assert [p.name for p in got.status.problems] == [f"n{i:02}" for i in range(10)]
    assert got.status.nodes.offline == 25


VARIANT = Variant("x86-64-avx2", edge_target().spec, digest("2"))


def member(name: str, kind: str, reachable: bool) -> Member:
    node = {
        "new": lambda: view(name),
        "old": lambda: running(name, "1"),
        "broken": lambda: running(name, "1", confirmed=False),
        "changing": lambda: running(name, "2", confirmed=False),
        "done": lambda: running(name, "2"),
        "asked": lambda: view(name, asked=digest("2")),
        "refused": lambda: running(name, "1", refusal="taken"),
    }[kind]()
    changed = view(
        name,
        entry=node.entry,
        status=node.status,
        asked=node.asked,
        refusal=node.refusal,
        reachable=reachable,
    )
    return Member(changed, Fit(VARIANT, ""), "digits")


KINDS = ("new", "old", "broken", "changing", "done", "asked", "refused")
fleets = st.lists(st.tuples(st.sampled_from(KINDS), st.booleans()), max_size=12).map(
    lambda kinds: [member(f"n{i}", kind, reachable) for i, (kind, reachable) in enumerate(kinds)]
)


def is_out(m: Member, chosen: frozenset[str]) -> bool:
    """Whether the node does not confirm, or soon will not, what it was told to run."""
    return m.node.name in chosen or (m.told and not m.serves) or (not m.serves and m.node.reachable)


@settings(deadline=None)
@given(fleets, st.integers(1, 5))
def test_a_rollout_never_exceeds_max_unavailable(fleet: list[Member], limit: int) -> None:
    chosen = choose_nodes(fleet, max_unavailable=limit)
    changing = [m for m in fleet if m.told and not m.serves]
    assert not chosen or len(changing) + len(chosen) <= limit
    if any(m.serves and m.node.name in chosen for m in fleet):
        assert sum(is_out(m, chosen) for m in fleet) <= limit
    assert all(m.node.reachable and not m.told for m in fleet if m.node.name in chosen)


@settings(deadline=None)
@given(fleets, st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_any_order(fleet: list[Member], limit: int, random: Any) -> None:
    shuffled = list(fleet)
    random.shuffle(shuffled)
    assert choose_nodes(shuffled, max_unavailable=limit) == choose_nodes(fleet, max_unavailable=limit)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(KINDS[:3]), min_size=1, max_size=8), st.integers(1, 4))
def test_a_rollout_over_reachable_nodes_ends(kinds: Sequence[str], limit: int) -> None:
    """Nodes that confirm what they are told are all told in the end, in at most as many rounds as nodes."""
    fleet = {f"n{i}": member(f"n{i}", kind, True) for i, kind in enumerate(kinds)}
    for _ in range(len(fleet)):
        for name in choose_nodes(list(fleet.values()), max_unavailable=limit):
            fleet[name] = member(name, "done", True)
    assert all(m.told and m.serves for m in fleet.values())
