"""Conditions in the standard form, and the four that every kind carries from its first visit."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from edgewright_api.base import CamelReason, Message, Timestamp, WireModel, map_list
from edgewright_api.reasons import Reason


class Status(StrEnum):
    """The status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionType(StrEnum):
    """Ready and Complete are normal-true; Reconciling and Stalled are abnormal-true, as kstatus reads them."""

    READY = "Ready"
    COMPLETE = "Complete"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    REACHABLE = "Reachable"


class Condition(WireModel):
    """One observation about an object, in the form of metav1.Condition."""

    type: CamelReason
    """type is what is observed, e.g. Ready."""

    status: Status
    """status is True, False or Unknown."""

    observed_generation: int = 0
    """observedGeneration is the generation of the spec that this was decided on."""

    last_transition_time: Timestamp
    """lastTransitionTime is when the status last changed."""

    reason: CamelReason
    """reason is the cause as a stable constant; docs/errors.md has a heading for each."""

    message: Message = ""
    """message is the cause for people, with what to do about it."""


ConditionList = Annotated[tuple[Condition, ...], map_list(8, "type")]


def set_condition(old: Sequence[Condition], new: Condition) -> tuple[Condition, ...]:
    """Return ``old`` with ``new`` in place of the condition of its type, order kept.

    ``last_transition_time`` is the time the *status* last changed, so it is kept when only the reason or
    the message is new; a decision that changes nothing therefore produces no write.
    """
    out: list[Condition] = []
    seen = False
    for c in old:
        if c.type != new.type:
            out.append(c)
            continue
        seen = True
        kept = c.last_transition_time if c.status == new.status else new.last_transition_time
        out.append(new.model_copy(update={"last_transition_time": kept}))
    return tuple(out) if seen else (*out, new)


@dataclass(frozen=True, slots=True)
class Summary:
    """One row of the status table: what the four conditions say together."""

    ready: bool
    complete: bool
    reconciling: bool
    stalled: bool
    reason: Reason
    message: str


def working(reason: Reason, message: str) -> Summary:
    """Work is in hand."""
    return Summary(
        ready=False, complete=False, reconciling=True, stalled=False, reason=reason, message=message
    )


def waiting(reason: Reason, message: str) -> Summary:
    """All that may be done now is done; the rest waits for something outside."""
    return Summary(
        ready=True, complete=False, reconciling=False, stalled=False, reason=reason, message=message
    )


def complete(message: str) -> Summary:
    """Everything is confirmed."""
    return Summary(
        ready=True, complete=True, reconciling=False, stalled=False, reason=Reason.COMPLETE, message=message
    )


def stalled(reason: Reason, message: str) -> Summary:
    """Nothing changes until a person acts."""
    return Summary(
        ready=False, complete=False, reconciling=False, stalled=True, reason=reason, message=message
    )


_ORDER: Final = (
    (ConditionType.READY, "ready"),
    (ConditionType.COMPLETE, "complete"),
    (ConditionType.RECONCILING, "reconciling"),
    (ConditionType.STALLED, "stalled"),
)


def apply_summary(
    old: Sequence[Condition], summary: Summary, *, generation: int, now: str
) -> tuple[Condition, ...]:
    """Return ``old`` with the four standard conditions set as ``summary`` says.

    ``now`` is RFC 3339; it is used only for conditions whose status changes.
    """
    out = tuple(old)
    for kind, attribute in _ORDER:
        out = set_condition(
            out,
            Condition(
                type=kind,
                status=Status.TRUE if getattr(summary, attribute) else Status.FALSE,
                observed_generation=generation,
                last_transition_time=now,
                reason=summary.reason,
                message=summary.message[:2048],
            ),
        )
    return out


def find(conditions: Sequence[Condition], kind: ConditionType) -> Condition | None:
    """Return the condition of a type, or None."""
    return next((c for c in conditions if c.type == kind), None)
