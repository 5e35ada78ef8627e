"""A missing reference may still arrive, since GitOps applies in any order: in hand for a while, then Stalled."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from edgewright_api.conditions import Condition, ConditionType, Status, Summary, find, stalled, working
from edgewright_api.reasons import Reason

LOOK_AGAIN_SECONDS = 60.0
"""How often a reference is looked for when no event can tell of it."""


@dataclass(frozen=True, slots=True)
class Grace:
    """What to say of a missing reference, and when to look again."""

    summary: Summary
    requeue_after: float


def missing(
    reason: Reason,
    message: str,
    *,
    conditions: Sequence[Condition],
    generation: int,
    now: datetime,
    deadline: timedelta,
) -> Grace:
    """Return Reconciling until ``deadline`` after it was first missed for this generation, then Stalled.

    When it was first missed is the transition time of the condition itself, so a restart forgets nothing.
    """
    was_stalled, reconciling = (
        find(conditions, ConditionType.STALLED),
        find(conditions, ConditionType.RECONCILING),
    )
    same = (
        reconciling is not None
        and reconciling.reason == reason
        and reconciling.observed_generation == generation
    )
    if same and was_stalled is not None and was_stalled.status is Status.TRUE:
        return Grace(stalled(reason, message), LOOK_AGAIN_SECONDS)
    since = now
    if same and reconciling is not None and reconciling.status is Status.TRUE:
        since = datetime.fromisoformat(reconciling.last_transition_time)
    left = (since + deadline - now).total_seconds()
    if left <= 0:
        return Grace(stalled(reason, message), LOOK_AGAIN_SECONDS)
    return Grace(working(reason, message), min(left, LOOK_AGAIN_SECONDS))
