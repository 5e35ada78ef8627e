"""Confirmed is said only while it is true: servers that stray, that go, and that come back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edgewright_node import slots
from edgewright_node.agent import plan
from edgewright_node.agent.journal import Journal, advance
from edgewright_node.agent.situation import Action, Conclude, ProcessResult, Rest, RunTrial, Situation, Switch
from edgewright_node.states import Event, State
from support.agent_builders import (
    A,
    B,
    failing_report,
    make_disk,
    make_ref,
    make_report,
    make_situation,
    make_want,
    serving_report,
)

CONFIRMED = Journal(
    state=State.CONFIRMED, wanted=A, running=A, proven=(A,), reason="Complete", proven_by="golden"
)
ALONE = replace(CONFIRMED, reason="ServersAbsent", proven_by="trial")
LOADING = make_report(
    active=slots.ActiveReport(manifest_digest=A, state=slots.ActiveState.LOADING, reason="LoadFailed")
)
AT = "2026-11-25T12:00:00Z"


def confirmed(journal: Journal = CONFIRMED, **changes: Any) -> Situation:
    disk = make_disk({"slot-a": A, "slot-b": B}, "slot-a", make_want(active=make_ref()))
    return make_situation(**{"journal": journal, "disk": disk, **changes})


def conclude(action: Action, journal: Journal = CONFIRMED) -> Journal:
    assert isinstance(action, Conclude)
    return advance(journal, action.outcome)


@pytest.mark.parametrize(
    ("servers", "reason"),
    [
        pytest.param((failing_report(A),), "GoldenSourceMismatch", id="fails"),
        pytest.param((serving_report(A), failing_report(A, "s2")), "GoldenSourceMismatch", id="one-of-two"),
        pytest.param((serving_report(A), make_report("s2")), "NotConfirmed", id="has-nothing"),
        pytest.param((serving_report(B),), "NotConfirmed", id="serves-another"),
        pytest.param((LOADING,), "LoadFailed", id="loads-for-ever"),
    ],
)
def test_a_live_server_that_strays_ends_the_confirmation(
    servers: tuple[slots.ServerReport, ...], reason: str
) -> None:
    assert isinstance(plan.decide(confirmed(servers=servers, astray=29.0)), Rest)
    after = conclude(plan.decide(confirmed(servers=servers, astray=30.0)))
    assert (after.state, after.reason) == (State.SWAPPING, reason)
    assert next(s.server_id for s in servers if s != serving_report(A)) in after.message


def test_what_ran_after_the_way_back_is_what_is_said_to_run() -> None:
    journal = replace(CONFIRMED, proven=(B, A))
    lost = conclude(plan.decide(confirmed(journal, servers=(failing_report(A),), astray=30.0)), journal)
    back = conclude(plan.decide(confirmed(lost, servers=(failing_report(A),))), lost)
    assert (back.state, back.reason) == (State.RETURNING, "RolledBack")
    assert isinstance(plan.decide(confirmed(back, servers=(failing_report(A),))), Switch)
    there = make_disk({"slot-a": A, "slot-b": B}, "slot-b", make_want(active=make_ref("slot-b", B)))
    ended = conclude(plan.decide(confirmed(back, disk=there, servers=(serving_report(B),))), back)
    assert (ended.state, ended.running, ended.proven_by) == (State.FAILED, B, "golden")


def test_where_no_server_lives_a_trial_proves_it_once() -> None:
    assert isinstance(plan.decide(confirmed(astray=29.0)), Rest)
    now = confirmed(astray=30.0)
    assert plan.decide(now) == RunTrial("slot-a")
    after = advance(CONFIRMED, plan.judge_process(now, ProcessResult(True, AT)))
    assert (after.state, after.reason, after.proven_by, after.confirmed_at) == (
        State.CONFIRMED,
        "ServersAbsent",
        "trial",
        AT,
    )
    assert plan.stands(confirmed(after))
    assert isinstance(plan.decide(confirmed(after, astray=1e6)), Rest)
    came = conclude(plan.decide(confirmed(after, servers=(serving_report(A),))), after)
    assert (came.state, came.reason, came.message, came.proven_by) == (
        State.CONFIRMED,
        "Complete",
        "",
        "golden",
    )


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("GoldenSourceMismatch", State.SWAPPING),
        ("DigestMismatch", State.SWAPPING),
        ("TrialCrashed", State.SWAPPING),
        ("TrialTimeout", State.FAILED),
        ("TrialUnavailable", State.FAILED),
    ],
)
def test_what_the_trial_does_not_prove_is_no_longer_confirmed(reason: str, state: State) -> None:
    outcome = plan.judge_process(confirmed(), ProcessResult(False, AT, reason, "m"))
    after = advance(CONFIRMED, outcome)
    assert (after.state, after.reason, after.poisoned) == (state, reason, {})
    assert after.retry == (state is State.FAILED)


def test_a_slot_that_went_with_the_servers_is_fetched_again() -> None:
    after = conclude(plan.decide(confirmed(disk=make_disk(), astray=30.0)))
    assert (after.state, after.reason, after.retry) == (State.FAILED, "DiskError", True)


SERVERS = st.sampled_from([serving_report(A), failing_report(A), serving_report(B), make_report(), LOADING])


@given(st.lists(SERVERS, max_size=4), st.floats(0, 1e6), st.sampled_from([CONFIRMED, ALONE]))
def test_confirmed_is_left_exactly_when_it_is_untrue_for_too_long(
    servers: list[slots.ServerReport], astray: float, journal: Journal
) -> None:
    now = confirmed(journal, servers=tuple(servers), astray=astray)
    true = all(server == serving_report(A) for server in servers) if servers else journal is ALONE
    assert plan.stands(now) == true
    action = plan.decide(now)
    if true or astray < 30.0:
        assert isinstance(action, Rest) or conclude(action, journal).state is State.CONFIRMED
    elif servers:
        assert isinstance(action, Conclude)
        assert action.outcome.event is Event.DISPROVED
    else:
        assert action == RunTrial("slot-a")
