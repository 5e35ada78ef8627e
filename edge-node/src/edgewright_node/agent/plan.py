"""What to do next for one deployment: a function of order, journal, disk and servers. PURE.

``decide`` returns one action; the worker performs it, writes the outcome to the journal and asks again.
Nothing here reads a file or a clock.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from edgewright_node.agent.blame import VERDICTS, failed, retry_pause
from edgewright_node.agent.journal import Outcome
from edgewright_node.agent.orders import enter, take_up
from edgewright_node.agent.proofs import proof_of, stray
from edgewright_node.agent.situation import (
    Action,
    Conclude,
    Erase,
    Fetch,
    OfferTrial,
    ProcessResult,
    Recheck,
    Rest,
    RunTrial,
    Seal,
    Situation,
    Switch,
    Will,
    WriteWant,
)
from edgewright_node.reasons import Reason
from edgewright_node.slots import (
    ActiveState,
    SlotName,
    SlotRef,
    TrialState,
    Want,
    WantState,
)
from edgewright_node.states import Event, State

MAX_INTERRUPTIONS: Final = 3
"""A model on whose trial the agent went down more often than this is refused: chance does not explain it."""

POLL_SECONDS: Final = 0.05
"""How often servers' files are looked at while an answer is awaited."""

REST_SECONDS: Final = 5.0
"""How often they are looked at otherwise: only a server that lost its model would be news."""

PROVEN_BY_TRIAL: Final = "trial"
"""What proved a model where no server lives; servers say themselves what proved theirs."""

GRACE_SECONDS: Final = 1.0
"""How long a server gets to show itself in a new directory before a process is started in its place."""

RELEASE_SECONDS: Final = 60.0
"""How long a removal waits for servers; then the files go, which a mapped session survives."""


def decide(now: Situation) -> Action:
    """Choose the next action; new orders first, then the step of the state in hand."""
    return take_up(now) or _STEPS[now.journal.state](now)


# The step of each state


def _settle(now: Situation) -> Action | None:
    """Bring want.json in line where nothing is under way: the active slot, no trial."""
    digest = now.disk.complete.get(now.disk.active) if now.disk.active else None
    if digest is not None:
        wanted = _want(now, now.disk.active, digest)
    elif now.disk.want is not None:  # a lost link is no command to unload
        wanted = Want(served_name=now.order.served_name, active=now.disk.want.active)
    else:
        return None
    return None if now.disk.want == wanted else WriteWant(wanted)


def _idle(now: Situation) -> Action:
    return _settle(now) or Rest(REST_SECONDS)


def _fetching(now: Situation) -> Action:
    want = now.disk.want
    if want is None or want.state is WantState.REMOVE:  # so that servers answer here by the time of the trial
        digest = now.disk.complete.get(now.disk.active) if now.disk.active else None
        return WriteWant(_want(now, now.disk.active, digest))
    return Fetch(_wanted(now))


def _verifying(now: Situation) -> Action:
    return Seal(_wanted(now))


def _trial(now: Situation) -> Action:
    digest = _wanted(now)
    slot = now.disk.slot_of(digest)
    if slot is None:
        return _failed(now, Reason.DISK_ERROR, f"the slot of {digest} is gone")
    if now.journal.interruptions > MAX_INTERRUPTIONS:
        times = now.journal.interruptions
        message = f"the agent went down {times} times on trial"
        return Conclude(failed(now.journal, Reason.TRIAL_INTERRUPTED, message, strikes=times))
    if not now.servers:
        return RunTrial(slot) if now.elapsed >= GRACE_SECONDS else Rest(POLL_SECONDS)
    attempt = f"{digest[7:19]}-{now.journal.attempt}"
    offered = now.disk.want.trial if now.disk.want else None
    if offered is None or (offered.attempt, offered.slot) != (attempt, slot):
        return OfferTrial(slot, digest, attempt)
    return _judge_trial(now, attempt)


def _judge_trial(now: Situation, attempt: str) -> Action:
    answers = [s.trial if s.trial and s.trial.attempt == attempt else None for s in now.servers]
    for answer in answers:
        if answer is not None and answer.state is TrialState.FAILED:
            return _failed(now, answer.reason or Reason.TRIAL_CRASHED, answer.message or "")
    if all(answer is not None and answer.state is TrialState.PASSED for answer in answers):
        return enter(Event.OK)
    if now.elapsed > now.limits.trial_seconds:
        slow = [s.server_id for s, a in zip(now.servers, answers, strict=True) if _unfinished(a)]
        seconds = f"{now.limits.trial_seconds:g} s"
        return _failed(now, Reason.TRIAL_TIMEOUT, f"no answer within {seconds} from {', '.join(slow)}")
    return Rest(POLL_SECONDS)


def _unfinished(answer: object) -> bool:
    return getattr(answer, "state", None) is not TrialState.PASSED


def _recalling(now: Situation) -> Action:
    digest = _wanted(now)
    slot = now.disk.slot_of(digest)
    if slot is None:
        return _failed(now, Reason.DISK_ERROR, f"the kept slot of {digest} is gone")
    return Recheck(slot, digest)


def _swapping(now: Situation) -> Action:
    digest = _wanted(now)
    slot = now.disk.slot_of(digest)
    if slot is None:
        return _failed(now, Reason.DISK_ERROR, f"the slot of {digest} is gone")
    switch = _switch(now, slot, digest)
    if switch is not None:
        return switch
    if not now.servers:
        return RunTrial(slot) if now.elapsed >= GRACE_SECONDS else Rest(POLL_SECONDS)
    proof = proof_of(now.servers, digest)
    if proof is not None:
        return Conclude(proof)
    for server in now.servers:
        active = server.active
        if active and active.manifest_digest == digest and active.state is ActiveState.FAILED:
            message = f"{server.server_id} answered {active.reason}: {active.message}"
            return Conclude(_back(now, active.reason or Reason.NOT_CONFIRMED, message))
    if now.elapsed > now.limits.confirm_seconds:
        message = f"not proven by every server within {now.limits.confirm_seconds:g} s"
        return Conclude(_back(now, Reason.NOT_CONFIRMED, message))
    return Rest(POLL_SECONDS)


def _back(now: Situation, cause: str, message: str) -> Outcome:
    """Give up the swap for ``cause``; only the bytes' own fault is held against the digest."""
    kept = _kept(now)
    if kept is not None:
        return failed(now.journal, Reason.ROLLED_BACK, f"went back to {kept}: {message}", cause=cause)
    # The only model stays, whatever it is: refused, it would not be asked for again when servers prove it.
    return Outcome(
        event=Event.FAILED, reason=Reason.NOT_CONFIRMED, message=message, retry=cause not in VERDICTS
    )


def _kept(now: Situation) -> str | None:
    """Return the digest to go back to: proven here, complete, and not the wanted one."""
    candidates = (now.journal.running, *reversed(now.journal.proven))
    return next((d for d in candidates if d != now.journal.wanted and now.disk.slot_of(d)), None)


def _returning(now: Situation) -> Action:
    kept = _kept(now)
    slot = now.disk.slot_of(kept)
    if kept is None or slot is None:
        return enter(Event.FAILED)  # the only model is never taken away
    switch = _switch(now, slot, kept)
    if switch is not None:
        return switch
    proof = proof_of(now.servers, kept) or (None if now.servers else Outcome(event=Event.OK))
    if proof is not None:
        return Conclude(replace(proof, running=kept))
    late = now.elapsed > now.limits.confirm_seconds
    return enter(Event.FAILED) if late else Rest(POLL_SECONDS)


def stands(now: Situation) -> bool:
    """Tell whether what was confirmed is true: every live server proves it, or their absence is told."""
    if not now.servers:
        return now.journal.reason == Reason.SERVERS_ABSENT
    return proof_of(now.servers, _wanted(now)) is not None


def _confirmed(now: Situation) -> Action:
    settled = _settle(now)
    if settled is not None:
        return settled
    if stands(now):
        back = now.servers and now.journal.reason == Reason.SERVERS_ABSENT
        proof = proof_of(now.servers, _wanted(now)) if back else None
        return Conclude(replace(proof, event=Event.PROVEN)) if proof else Rest(REST_SECONDS)
    left = now.limits.astray_seconds - now.astray
    if left > 0:
        return Rest(min(left, REST_SECONDS))
    if not now.servers:
        return _prove_again(now)
    reason, message = stray(now.servers, _wanted(now))
    return enter(Event.DISPROVED, reason=reason, message=message)


def _prove_again(now: Situation) -> Action:
    slot = now.disk.slot_of(now.journal.wanted)
    return RunTrial(slot) if slot else _failed(now, Reason.DISK_ERROR, "no server lives and the slot is gone")


def _failed_state(now: Situation) -> Action:
    settled = _settle(now)
    if settled is not None:
        return settled
    digest = now.journal.wanted
    active = now.disk.complete.get(now.disk.active) if now.disk.active else None
    if digest is not None and active == digest and now.servers:
        proof = proof_of(now.servers, digest)
        if proof is not None:
            return Conclude(Outcome(event=Event.PROVEN, proven_by=proof.proven_by, proven_at=proof.proven_at))
    if now.order.will is Will.RUN and now.journal.retry:
        left = retry_pause(now.journal.failures) - now.elapsed
        return enter(Event.ASSIGNED, digest) if left <= 0 else Rest(min(left, REST_SECONDS))
    return Rest(REST_SECONDS)


def _removing(now: Situation) -> Action:
    if not now.disk.present:
        return enter(Event.OK)
    if now.disk.want is None or now.disk.want.state is not WantState.REMOVE:
        return WriteWant(Want(served_name=now.order.served_name, state=WantState.REMOVE))
    if any(s.active for s in now.servers) and now.elapsed <= RELEASE_SECONDS:
        return Rest(POLL_SECONDS)
    return Erase()


def _removed(now: Situation) -> Action:
    return Rest(REST_SECONDS)


_STEPS: Final[Mapping[State, Callable[[Situation], Action]]] = MappingProxyType(
    {
        State.IDLE: _idle,
        State.FETCHING: _fetching,
        State.VERIFYING: _verifying,
        State.TRIAL: _trial,
        State.RECALLING: _recalling,
        State.SWAPPING: _swapping,
        State.RETURNING: _returning,
        State.CONFIRMED: _confirmed,
        State.FAILED: _failed_state,
        State.REMOVING: _removing,
        State.REMOVED: _removed,
    }
)


def _wanted(now: Situation) -> str:
    assert now.journal.wanted is not None, f"{now.journal.state} without a wanted digest"
    return now.journal.wanted


def _want(now: Situation, slot: SlotName | None, digest: str | None) -> Want:
    active = SlotRef(slot=slot, manifest_digest=digest) if slot and digest else None
    return Want(served_name=now.order.served_name, active=active)


def _switch(now: Situation, slot: SlotName, digest: str) -> Switch | None:
    """Return the step that makes link and want.json name ``slot``, unless both do."""
    want = _want(now, slot, digest)
    return None if now.disk.active == slot and now.disk.want == want else Switch(slot, want)


_NO_ANSWER: Final = (Reason.TRIAL_UNAVAILABLE, Reason.TRIAL_TIMEOUT)


def judge_process(now: Situation, result: ProcessResult) -> Outcome:
    """Return what the one-shot self-test means: a verdict on trial, the proof while no server lives."""
    state = now.journal.state
    if result.passed and state is State.TRIAL:
        return Outcome(event=Event.OK)
    if result.passed:
        return Outcome(
            event=Event.PROVEN if state is State.CONFIRMED else Event.OK,
            reason=Reason.SERVERS_ABSENT,
            message="no server lives on this node; a trial proved the model",
            proven_by=PROVEN_BY_TRIAL,
            proven_at=result.at,
        )
    if state is State.SWAPPING:
        return _back(now, result.reason, f"{result.reason}: {result.message}")
    if state is State.CONFIRMED and result.reason not in _NO_ANSWER:
        return Outcome(event=Event.DISPROVED, reason=result.reason, message=result.message)
    return failed(now.journal, result.reason, result.message)


def _failed(now: Situation, reason: str, message: str) -> Conclude:
    return Conclude(failed(now.journal, reason, message))
