"""What to do next about one deployment: a pure function of what is wanted and what is held.

Asked again after every action and every change of want.json, so a lost event costs time and nothing else.
What serves comes before what is tried: a server that starts answers first and tests later.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from edgewright_node.slots import SlotRef, TrialRef, Want, WantState


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What this server has of the deployment."""

    served_name: str | None = None
    """The name under which it answers; None when it does not."""
    serving: str | None = None
    """Manifest digest of what answers."""
    proven: bool = False
    """Whether what answers has proven itself since it began to, or was found wanting."""
    trial: str | None = None
    """Manifest digest of the model that is loaded beside it and has passed."""
    attempt: str | None = None
    """The attempt answered last, whichever way it went."""
    refused: str | None = None
    """Manifest digest that could not be made active."""
    retry_at: datetime | None = None
    """When to try the refused one again."""


class Step(Enum):
    """Actions that need no argument."""

    UNSERVE = "Unserve"
    """Stop answering and free everything."""
    PROMOTE = "Promote"
    """Let the model on trial answer."""
    PROVE = "Prove"
    """Run the golden vectors on what answers."""
    DROP_TRIAL = "DropTrial"
    """Free the model on trial; nobody asks for it any more."""
    EXPIRE_TRIAL = "ExpireTrial"
    """Answer that the attempt ran out of time, and free its model."""


@dataclass(frozen=True, slots=True)
class Load:
    """Load the active slot and let it answer."""

    slot: SlotRef


@dataclass(frozen=True, slots=True)
class Try:
    """Load a slot beside what answers, and test it."""

    trial: TrialRef


Action = Step | Load | Try


def decide(want: Want, held: Held, *, now: datetime) -> Action | None:
    """Return the next action; None when nothing is to do now."""
    if want.state is WantState.REMOVE:
        return Step.UNSERVE if held.serving or held.trial else None
    return _active(want, held, now) or _trial(want, held, now)


def _active(want: Want, held: Held, now: datetime) -> Action | None:
    if want.active is None:
        return None
    digest = want.active.manifest_digest
    if (held.serving, held.served_name) == (digest, want.served_name):
        return None if held.proven else Step.PROVE
    waiting = held.refused == digest and held.retry_at is not None and now < held.retry_at
    if waiting:
        return None
    return Step.PROMOTE if held.trial == digest else Load(want.active)


def _trial(want: Want, held: Held, now: datetime) -> Action | None:
    if want.trial is None:
        return Step.DROP_TRIAL if held.trial else None
    late = now >= want.trial.deadline
    if want.trial.attempt != held.attempt:
        return Step.EXPIRE_TRIAL if late else Try(want.trial)
    return Step.EXPIRE_TRIAL if late and held.trial else None
