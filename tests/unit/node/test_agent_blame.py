"""What is held against a digest: only what its bytes do, once or repeatedly; never what its surroundings do."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_node import slots
from edgewright_node.agent import blame, plan
from edgewright_node.agent.journal import Journal, Outcome, advance
from edgewright_node.agent.situation import Conclude, ProcessResult
from edgewright_node.reasons import Reason
from edgewright_node.serving.errors import ArtifactRefused
from edgewright_node.states import Event, State
from support.agent_builders import (
    NOW,
    A,
    B,
    failing_report,
    make_disk,
    make_order,
    make_ref,
    make_report,
    make_situation,
    make_want,
    serving_report,
)

GUILTY = {"GoldenSourceMismatch", "GoldenArtifactMismatch", "GoldenInvalid", "ManifestInvalid"}
SUSPECT = {"LoadFailed", "TrialCrashed", "TrialInterrupted"}
EVERY_REASON = sorted(
    {*Reason} | {kind.reason for kind in ArtifactRefused.__subclasses__()} | {"FromTomorrow"}
)
ENVIRONMENT = sorted(set(EVERY_REASON) - GUILTY - SUSPECT)

ON_TRIAL = Journal(state=State.TRIAL, wanted=B, running=A, proven=(A,), attempt=1)
SWAPPING = Journal(state=State.SWAPPING, wanted=B, running=A, proven=(A,))
BOTH: dict[slots.SlotName, str] = {"slot-a": A, "slot-b": B}


def fail_trial(journal: Journal, reason: str) -> Journal:
    """Let a server refuse the trial in hand."""
    attempt = f"{B[7:19]}-{journal.attempt}"
    offer = slots.TrialRef(
        slot="slot-b", manifest_digest=B, attempt=attempt, deadline=NOW + timedelta(hours=1)
    )
    answer = slots.TrialReport(
        attempt=attempt, manifest_digest=B, state=slots.TrialState.FAILED, reason=reason, message="m"
    )
    action = plan.decide(
        make_situation(
            journal=journal,
            order=make_order(B),
            disk=make_disk(BOTH, "slot-a", make_want(active=make_ref(), trial=offer)),
            servers=(make_report(trial=answer),),
        )
    )
    assert isinstance(action, Conclude)
    return advance(journal, action.outcome)


def fail_swap(journal: Journal, reason: str | None) -> Journal:
    """Let the server fail the swap for ``reason``, or not answer in time without one."""
    failing = failing_report(B, reason=reason) if reason else serving_report(A)
    action = plan.decide(
        make_situation(
            journal=journal,
            order=make_order(B),
            disk=make_disk(BOTH, "slot-b", make_want(active=make_ref("slot-b", B))),
            servers=(failing,),
            elapsed=0.0 if reason else 61.0,
        )
    )
    assert isinstance(action, Conclude)
    return advance(journal, action.outcome)


def fail_process(journal: Journal, reason: str) -> Journal:
    """Let the one-shot self-test end for ``reason``."""
    now = make_situation(journal=journal, order=make_order(B), disk=make_disk(BOTH, "slot-b"))
    return advance(journal, plan.judge_process(now, ProcessResult(False, "", reason, "m")))


def again(journal: Journal) -> Journal:
    """Let the pause pass and lead back to the trial."""
    if journal.state is State.RETURNING:
        journal = advance(journal, Outcome(event=Event.OK))
    assert journal.retry
    pause = blame.retry_pause(journal.failures)
    disk = make_disk(BOTH, "slot-a", make_want(active=make_ref()))
    due = plan.decide(make_situation(journal=journal, order=make_order(B), disk=disk, elapsed=pause))
    assert isinstance(due, Conclude)
    journal = advance(journal, due.outcome)
    for _ in ("fetched", "sealed"):
        journal = advance(journal, Outcome(event=Event.OK))
    return journal


@given(st.lists(st.tuples(st.sampled_from(ENVIRONMENT), st.sampled_from("tsp")), min_size=1, max_size=12))
def test_no_reason_of_the_environment_is_ever_held_against_a_digest(failures: list[tuple[str, str]]) -> None:
    journal = ON_TRIAL
    for count, (reason, where) in enumerate(failures, 1):
        if where == "t":
            journal = fail_trial(journal, reason)
        elif where == "p":
            journal = fail_process(journal, reason)
        else:
            journal = fail_swap(advance(journal, Outcome(event=Event.OK)), reason)
        assert (journal.poisoned, journal.strikes, journal.failures) == ({}, {}, count)
        journal = again(journal)
        assert journal.state is State.TRIAL


@given(st.lists(st.sampled_from(EVERY_REASON), min_size=1, max_size=12))
def test_what_is_held_against_a_digest_was_its_own_doing(reasons: list[str]) -> None:
    journal = ON_TRIAL
    for number, reason in enumerate(reasons, 1):
        journal = fail_trial(journal, reason)
        suspected = reason in SUSPECT and reasons[:number].count(reason) >= blame.STRIKES
        assert (B in journal.poisoned) == (reason in GUILTY or suspected)
        if B in journal.poisoned:
            assert not journal.retry
            return
        journal = again(journal)


def test_a_slow_confirmation_is_tried_again_and_a_wrong_answer_is_not() -> None:
    slow = fail_swap(SWAPPING, None)
    assert (slow.state, slow.reason, slow.retry, slow.poisoned) == (State.RETURNING, "RolledBack", True, {})
    assert again(slow).state is State.TRIAL
    wrong = fail_swap(SWAPPING, "GoldenSourceMismatch")
    assert (wrong.reason, wrong.retry) == ("RolledBack", False)
    assert wrong.poisoned[B].reason == "GoldenSourceMismatch"


@pytest.mark.parametrize(("reason", "retry"), [("GoldenInvalid", False), ("LoadFailed", True)])
def test_the_only_model_is_never_refused(reason: str, retry: bool) -> None:
    journal = fail_swap(Journal(state=State.SWAPPING, wanted=B), reason)
    assert (journal.reason, journal.retry, journal.poisoned) == ("NotConfirmed", retry, {})


def test_what_was_suspected_is_forgotten_by_a_confirmation() -> None:
    journal = again(fail_trial(ON_TRIAL, "LoadFailed"))
    assert journal.strikes == {B: {"LoadFailed": 1}}
    swapping = advance(journal, Outcome(event=Event.OK))
    assert advance(swapping, Outcome(event=Event.OK, proven_by="golden")).strikes == {}


def test_pauses_grow_to_a_limit() -> None:
    assert [blame.retry_pause(n) for n in (1, 2, 3)] == [15.0, 30.0, 60.0]
    assert blame.retry_pause(50_000) == 3600.0
