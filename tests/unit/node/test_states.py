"""The table itself: what may follow what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_node.states import TRANSITIONS, Event, IllegalTransition, State, step

WORKING = (State.FETCHING, State.VERIFYING, State.TRIAL, State.RECALLING, State.SWAPPING, State.RETURNING)


@pytest.mark.parametrize("state", State)
def test_every_state_answers_a_restart_and_none_forgets_a_removal(state: State) -> None:
    assert step(state, Event.RESTARTED) is state
    if state is not State.REMOVED:
        assert step(state, Event.REMOVE) is State.REMOVING


@pytest.mark.parametrize("state", WORKING)
def test_every_working_state_ends_well_or_badly(state: State) -> None:
    assert (state, Event.OK) in TRANSITIONS
    assert (state, Event.FAILED) in TRANSITIONS


def test_the_link_moves_only_after_a_trial_a_recall_or_a_loss() -> None:
    ways = {(a, e) for (a, e), b in TRANSITIONS.items() if b is State.SWAPPING and a is not b}
    assert ways == {
        (State.TRIAL, Event.OK),
        (State.RECALLING, Event.OK),
        (State.CONFIRMED, Event.DISPROVED),
    }


def test_confirmed_takes_a_proof() -> None:
    ways = {(a, e) for (a, e), b in TRANSITIONS.items() if b is State.CONFIRMED and a is not b}
    assert ways == {(State.SWAPPING, Event.OK), (State.FAILED, Event.PROVEN)}


def test_only_remove_removes() -> None:
    ways = {(a, e) for (a, e), b in TRANSITIONS.items() if b is State.REMOVING and a is not b}
    assert {event for _, event in ways} == {Event.REMOVE}
    assert [(a, e) for (a, e), b in TRANSITIONS.items() if b is State.REMOVED and a is not b] == [
        (State.REMOVING, Event.OK)
    ]


@pytest.mark.parametrize("state", [State.RECALLING, State.SWAPPING, State.RETURNING])
def test_nothing_is_fetched_while_the_active_slot_may_be_unproven(state: State) -> None:
    assert (state, Event.ASSIGNED) not in TRANSITIONS
    assert (state, Event.HELD) not in TRANSITIONS


def test_every_state_can_be_reached_from_the_first() -> None:
    seen, todo = set[State](), [State.IDLE]
    while todo:
        state = todo.pop()
        if state not in seen:
            seen.add(state)
            todo += [b for (a, _), b in TRANSITIONS.items() if a is state]
    assert seen == set(State)


@given(st.sampled_from(State), st.sampled_from(Event))
def test_what_is_not_in_the_table_is_refused(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert step(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalTransition, match=event):
            step(state, event)
