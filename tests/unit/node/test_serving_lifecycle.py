"""What a server does next about a deployment, decided from what is wanted and held."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_node.serving.lifecycle import Action, Held, Load, Step, Try, decide
from edgewright_node.slots import SlotRef, TrialRef, Want, WantState

NOW = datetime(2026, 11, 1, tzinfo=UTC)
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
SLOT_A, SLOT_B = SlotRef(slot="slot-a", manifest_digest=A), SlotRef(slot="slot-b", manifest_digest=B)


def trial(attempt: str = "1", seconds: int = 60) -> TrialRef:
    deadline = NOW + timedelta(seconds=seconds)
    return TrialRef(slot="slot-b", manifest_digest=B, attempt=attempt, deadline=deadline)


def want(
    active: SlotRef | None = SLOT_A, tried: TrialRef | None = None, state: WantState = WantState.RUN
) -> Want:
    return Want(served_name="digits", active=active, trial=tried, state=state)


NOTHING = Held()
SERVING_A = Held(serving=A, served_name="digits", proven=True)
TRIED_B = replace(SERVING_A, trial=B, attempt="1")


@pytest.mark.parametrize(
    ("wanted", "held", "action"),
    [
        pytest.param(want(None), NOTHING, None, id="nothing-wanted"),
        pytest.param(want(), NOTHING, Load(SLOT_A), id="start"),
        pytest.param(want(tried=trial()), NOTHING, Load(SLOT_A), id="answer-before-testing"),
        pytest.param(want(), replace(SERVING_A, proven=False), Step.PROVE, id="prove-what-answers"),
        pytest.param(want(), SERVING_A, None, id="settled"),
        pytest.param(want(tried=trial()), SERVING_A, Try(trial()), id="try"),
        pytest.param(want(tried=trial()), TRIED_B, None, id="tried"),
        pytest.param(want(tried=trial("2")), TRIED_B, Try(trial("2")), id="try-again"),
        pytest.param(want(SLOT_B), TRIED_B, Step.PROMOTE, id="promote"),
        pytest.param(want(SLOT_B), SERVING_A, Load(SLOT_B), id="switch-without-trial"),
        pytest.param(want(), TRIED_B, Step.DROP_TRIAL, id="trial-withdrawn"),
        pytest.param(want(tried=trial(seconds=0)), SERVING_A, Step.EXPIRE_TRIAL, id="too-late-to-try"),
        pytest.param(want(tried=trial(seconds=0)), TRIED_B, Step.EXPIRE_TRIAL, id="nobody-came"),
        pytest.param(want(), replace(SERVING_A, served_name="old"), Load(SLOT_A), id="renamed"),
        pytest.param(want(state=WantState.REMOVE), TRIED_B, Step.UNSERVE, id="remove"),
        pytest.param(want(state=WantState.REMOVE), NOTHING, None, id="removed"),
        pytest.param(
            want(SLOT_B),
            replace(SERVING_A, refused=B, retry_at=NOW + timedelta(1)),
            None,
            id="rest-after-refusal",
        ),
        pytest.param(want(SLOT_B), replace(SERVING_A, refused=B, retry_at=NOW), Load(SLOT_B), id="retry"),
    ],
)
def test_decide(wanted: Want, held: Held, action: Action | None) -> None:
    assert decide(wanted, held, now=NOW) == action


def after(action: Action, wanted: Want, held: Held, works: bool) -> Held:
    """What is held after an action, if loading works or not: the loader in four lines."""
    match action:
        case Load(slot) if not works:
            return replace(held, refused=slot.manifest_digest, retry_at=NOW + timedelta(seconds=30))
        case Load(slot):
            return replace(held, serving=slot.manifest_digest, served_name=wanted.served_name, proven=False)
        case Try(ref):
            return replace(held, attempt=ref.attempt, trial=ref.manifest_digest if works else None)
        case Step.PROMOTE:
            return replace(held, serving=held.trial, served_name=wanted.served_name, proven=False, trial=None)
        case Step.PROVE:
            return replace(held, proven=True)
        case Step.EXPIRE_TRIAL:
            assert wanted.trial is not None
            return replace(held, trial=None, attempt=wanted.trial.attempt)
        case Step.DROP_TRIAL:
            return replace(held, trial=None)
        case _:
            return Held()


REFS = st.sampled_from([None, SLOT_A, SLOT_B])
WANTS = st.builds(
    lambda active, tried, state: Want(served_name="digits", active=active, trial=tried, state=state),
    REFS,
    st.sampled_from([None, trial(), trial("2"), trial(seconds=-1)]),
    st.sampled_from(WantState),
)
DIGESTS = st.sampled_from([None, A, B])
HELD = st.builds(
    lambda serving, proven, tried, attempt: Held(
        serving=serving,
        served_name="digits" if serving else None,
        proven=proven,
        trial=tried,
        attempt=attempt,
    ),
    DIGESTS,
    st.booleans(),
    DIGESTS,
    st.sampled_from([None, "1", "2"]),
)


@given(WANTS, HELD, st.booleans())
def test_it_settles_on_what_is_wanted_and_never_stops_serving_on_the_way(
    wanted: Want, held: Held, works: bool
) -> None:
    served = held.serving
    for _ in range(6):
        action = decide(wanted, held, now=NOW)
        if action is None:
            break
        held = after(action, wanted, held, works)
        if wanted.state is WantState.RUN and served is not None:
            assert held.serving is not None
    assert decide(wanted, held, now=NOW) is None
    if wanted.state is WantState.REMOVE:
        assert (held.serving, held.trial) == (None, None)
    elif wanted.active is not None and works:
        assert (held.serving, held.proven) == (wanted.active.manifest_digest, True)
