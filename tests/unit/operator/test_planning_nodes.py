"""The node composer: absence removes nothing, names stay unique, and composing twice changes nothing."""

from collections.abc import Sequence
from dataclasses import replace as with_changes
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edgewright_operator.planning.nodes import (
    IDLE_HEARTBEAT,
    ROLLOUT_HEARTBEAT,
    Composed,
    NodeSeen,
    Wish,
    compose,
    unwanted,
)
from edgewright_operator.planning.objects import AssignmentSpec, NodeAssignment
from support.operator_builders import NOW, assignment, entry, ref, said

DELAY = timedelta(seconds=600)


def node_seen(written: NodeAssignment | None = None, *wishes: Wish, **changes: Any) -> NodeSeen:
    existing = {w.place for w in wishes}
    fields: dict[str, Any] = {"existing": frozenset(existing), "unwanted_since": {}, "term": 1}
    return NodeSeen(assignment=written, wishes=wishes, **(fields | changes))


def composed(seen: NodeSeen, at: timedelta = timedelta()) -> Composed:
    return compose(seen, now=NOW + at, removal_delay=DELAY)


def states(got: Composed) -> dict[str, str]:
    return {e.deployment.name: e.state for e in got.spec.assignments}


def test_a_new_node_gets_an_empty_assignment() -> None:
    got = composed(node_seen())
    assert got == Composed(AssignmentSpec(term=1, serial=1), True, (), None)


def test_a_wish_becomes_an_entry_with_fast_heartbeats_until_it_is_confirmed() -> None:
    wish = Wish(entry("digits", "2"), "2026")
    got = composed(node_seen(assignment(serial=4, seen_serial=9), wish))
    assert got.spec.assignments == (wish.entry,)
    assert (got.spec.serial, got.spec.heartbeat_seconds) == (10, ROLLOUT_HEARTBEAT)

    confirmed = assignment(wish.entry, statuses=(said("digits", "2"),), heartbeat_seconds=ROLLOUT_HEARTBEAT)
    assert composed(node_seen(confirmed, wish)).spec.heartbeat_seconds == IDLE_HEARTBEAT


def test_nothing_is_written_when_nothing_changes() -> None:
    written = assignment(entry(), statuses=(said(),), serial=3)
    got = composed(node_seen(written, Wish(entry(), "2026"), term=2))
    assert (got.changed, got.spec) == (False, written.spec)


def test_an_assignment_that_its_node_would_ignore_is_numbered_anew() -> None:
    """A restored object, or one made anew, has a smaller serial than the node has seen."""
    restored = assignment(entry(), statuses=(said(),), serial=3, seen_serial=8)
    got = composed(node_seen(restored, Wish(entry(), "2026")))
    assert (got.changed, got.spec.serial) == (True, 9)
    assert got.spec.assignments == restored.spec.assignments
    again = composed(node_seen(replace(restored, spec=got.spec), Wish(entry(), "2026")))
    assert not again.changed


def test_a_deployment_without_a_wish_keeps_what_it_has() -> None:
    written = assignment(entry("digits"), statuses=(said(),))
    got = composed(node_seen(written, existing=frozenset({("vision", "digits")})), DELAY * 10)
    assert not got.changed


@pytest.mark.parametrize(
    "leaving",
    [
        pytest.param((), id="its-deployment-is-gone"),
        pytest.param((Wish(entry(state="Remove"), "2026"),), id="its-deployment-does-not-select-the-node"),
    ],
)
@pytest.mark.parametrize(
    ("policy", "seconds", "state", "requeue"),
    [
        pytest.param("Remove", 0, "Run", 600, id="just-missed"),
        pytest.param("Remove", 599, "Run", 1, id="within-the-delay"),
        pytest.param("Remove", 600, "Remove", None, id="after-the-delay"),
        pytest.param("Retain", 6000, "Run", None, id="retained"),
    ],
)
def test_an_entry_outlives_what_wanted_it(
    leaving: tuple[Wish, ...], policy: str, seconds: int, state: str, requeue: float | None
) -> None:
    written = assignment(entry(deletion_policy=policy), statuses=(said(),))
    wishes = [replace_policy(wish, policy) for wish in leaving]
    got = composed(node_seen(written, *wishes, unwanted_since={ref(): NOW}), timedelta(seconds=seconds))
    assert (states(got), got.requeue_after) == ({"digits": state}, requeue)


def replace_policy(wish: Wish, policy: str) -> Wish:
    return with_changes(wish, entry=replace(wish.entry, deletion_policy=policy))


def test_a_node_that_is_left_heeds_the_policy_of_now_and_waits_for_a_new_deployment_anew() -> None:
    written = assignment(entry(uid="old", deletion_policy="Retain"), statuses=(said(),))
    leaves = Wish(entry(uid="new", state="Remove", deletion_policy="Remove"), "2026")
    got = composed(node_seen(written, leaves, unwanted_since={ref(uid="old"): NOW}), DELAY)
    assert got.spec.assignments == (entry(uid="new", deletion_policy="Remove"),)
    assert got.requeue_after == DELAY.total_seconds()


def test_a_deployment_of_the_same_name_takes_the_entry_over() -> None:
    written = assignment(entry(uid="old"), statuses=(said(),))
    waiting = composed(node_seen(written, existing=frozenset({("vision", "digits")})), DELAY * 2)
    assert not waiting.changed
    adopted = composed(node_seen(written, Wish(entry(uid="new"), "2026")))
    assert adopted.spec.assignments == (entry(uid="new"),)
    assert adopted.spec.heartbeat_seconds == IDLE_HEARTBEAT  # nothing restarts


@pytest.mark.parametrize(
    ("statuses", "seen_serial", "left"),
    [
        pytest.param((said(state="Removed"),), 5, [], id="said-removed"),
        pytest.param((), 5, [], id="seen-and-unknown"),
        pytest.param((), 4, ["digits"], id="not-seen-yet"),
        pytest.param((said(),), 5, ["digits"], id="still-running"),
    ],
)
def test_a_removed_entry_goes_when_the_node_has_acted(
    statuses: Any, seen_serial: int, left: list[str]
) -> None:
    written = assignment(entry(state="Remove"), statuses=statuses, serial=5, seen_serial=seen_serial)
    assert list(states(composed(node_seen(written)))) == left


def test_the_oldest_deployment_gets_a_free_name() -> None:
    older = Wish(entry("older", served_name="digits"), "2026-01")
    younger = Wish(entry("younger", served_name="digits"), "2026-02")
    for order in permutations((older, younger)):
        got = composed(node_seen(assignment(), *order))
        assert states(got) == {"older": "Run"}
        assert [r.place for r in got.refusals] == [("vision", "younger")]
        assert "vision/older" in got.refusals[0].message


def test_what_serves_under_a_name_keeps_it_even_from_an_older_deployment() -> None:
    running = entry("younger", served_name="digits")
    older = Wish(entry("older", served_name="digits"), "2026-01")
    got = composed(node_seen(assignment(running), Wish(running, "2026-02"), older))
    assert states(got) == {"younger": "Run"}


def test_a_name_is_not_free_before_the_node_has_removed_it() -> None:
    leaving = entry("leaving", served_name="digits", state="Remove")
    wish = Wish(entry("coming", served_name="digits"), "2026")
    still = composed(node_seen(assignment(leaving, statuses=(said("leaving"),)), wish))
    assert states(still) == {"leaving": "Remove"}
    gone = composed(node_seen(assignment(leaving, statuses=(said("leaving", state="Removed"),)), wish))
    assert states(gone) == {"coming": "Run"}


def test_names_may_be_exchanged_in_one_step() -> None:
    written = assignment(entry("a", served_name="x"), entry("b", served_name="y"))
    wishes = (Wish(entry("a", served_name="y"), "1"), Wish(entry("b", served_name="x"), "2"))
    got = composed(node_seen(written, *wishes))
    assert [e.served_name for e in got.spec.assignments] == ["y", "x"]
    assert got.refusals == ()


def test_unwanted_are_running_entries_whose_deployment_is_gone_or_says_so() -> None:
    written = assignment(entry("here"), entry("gone"), entry("left"), entry("leaving", state="Remove"))
    existing = frozenset({("vision", "here"), ("vision", "left")})
    wishes = (Wish(entry("left", state="Remove"), "2026"),)
    assert unwanted(written, existing, wishes) == {ref("gone"), ref("left")}
    assert unwanted(None, frozenset(), ()) == frozenset()


FEW = settings(max_examples=60, deadline=None)
NAMES = "abcd"
entries = st.builds(
    entry,
    st.sampled_from(NAMES),
    st.sampled_from("123"),
    served_name=st.sampled_from("xyz"),
    state=st.sampled_from(["Run", "Run", "Run", "Remove"]),
    deletion_policy=st.sampled_from(["Remove", "Retain"]),
)
wish_lists = st.lists(
    st.builds(Wish, entries, st.sampled_from(["2026-01", "2026-02", "2026-03"])),
    max_size=4,
    unique_by=lambda w: w.place,
)


@st.composite
def situations(draw: st.DrawFn) -> NodeSeen:
    written = draw(
        st.lists(entries, max_size=4, unique_by=(lambda e: e.deployment.place, lambda e: e.served_name))
    )
    statuses = [
        said(e.deployment.name, draw(st.sampled_from("123")), draw(st.sampled_from(["Confirmed", "Removed"])))
        for e in written
        if draw(st.booleans())
    ]
    wishes = draw(wish_lists)
    existing = {w.place for w in wishes} | {("vision", n) for n in draw(st.sets(st.sampled_from(NAMES)))}
    serial, seen_serial = draw(st.integers(0, 5)), draw(st.integers(0, 9))
    return node_seen(
        assignment(*written, statuses=tuple(statuses), serial=serial, seen_serial=seen_serial),
        *wishes,
        existing=frozenset(existing),
        unwanted_since={ref(n): NOW - DELAY * draw(st.sampled_from([0, 2])) for n in NAMES},
    )


@FEW
@given(situations(), st.randoms(use_true_random=False))
def test_the_order_of_wishes_does_not_matter(seen: NodeSeen, random: Any) -> None:
    shuffled = list(seen.wishes)
    random.shuffle(shuffled)
    assert composed(with_changes(seen, wishes=shuffled)) == composed(seen)


@FEW
@given(situations())
def test_composing_what_was_composed_changes_nothing(seen: NodeSeen) -> None:
    got = composed(seen)
    assert seen.assignment is not None
    again = composed(with_changes(seen, assignment=replace(seen.assignment, spec=got.spec)))
    assert again.spec.assignments == got.spec.assignments
    assert (again.changed, again.refusals) == (False, got.refusals)


@FEW
@given(situations())
def test_no_two_entries_share_a_served_name_or_a_deployment(seen: NodeSeen) -> None:
    got = composed(seen).spec.assignments
    assert len({e.served_name for e in got}) == len(got)
    assert len({e.deployment.place for e in got}) == len(got)


@FEW
@given(situations())
def test_absence_never_removes(seen: NodeSeen) -> None:
    """A running entry becomes Remove only when nothing has wanted it for long; it never vanishes."""
    wishes = {w.place: w for w in seen.wishes}
    after = {e.deployment.place: e for e in composed(seen).spec.assignments}
    for e in running(seen):
        kept = after[e.deployment.place]
        if kept.state == "Remove":
            wish = wishes.get(e.deployment.place)
            left = wish is not None and wish.entry.state == "Remove"
            assert left or e.deployment.place not in seen.existing
            assert (wish.entry if wish else e).deletion_policy == "Remove"
            assert NOW - seen.unwanted_since[e.deployment] >= DELAY


@FEW
@given(situations())
def test_a_serial_only_grows_and_only_with_a_change(seen: NodeSeen) -> None:
    got = composed(seen)
    assert seen.assignment is not None
    before = seen.assignment.spec.serial
    if got.changed:
        assert got.spec.serial > max(before, seen.assignment.status.seen_serial)
    else:
        assert got.spec == seen.assignment.spec


def running(seen: NodeSeen) -> Sequence[Any]:
    return [e for e in seen.assignment.spec.assignments if e.state == "Run"] if seen.assignment else []
