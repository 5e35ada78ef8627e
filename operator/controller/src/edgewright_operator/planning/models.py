"""EdgeModel: from what is seen to the revision that should exist, and what to tell of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from edgewright_api.conditions import ConditionType, Summary, apply_summary, find, stalled, working
from edgewright_api.edgemodel import EdgeModel, EdgeModelStatus
from edgewright_api.edgetarget import EdgeTarget
from edgewright_api.errors import EdgewrightError, TransientError
from edgewright_api.modelrevision import ModelRevision
from edgewright_api.reasons import Reason
from edgewright_api.resolving import Pins, content, revision_name
from edgewright_api.verdicts import Verdict
from edgewright_operator.planning.clock import stamp
from edgewright_operator.planning.plan import CreateRevision
from edgewright_operator.planning.references import LOOK_AGAIN_SECONDS, missing
from edgewright_operator.planning.revisions import content_conflict, is_ready, is_settled

RETRY_SECONDS = 10.0
"""How soon the store is asked again after it did not answer."""


@dataclass(frozen=True, slots=True)
class ModelSeen:
    """Everything that a decision about one EdgeModel looks at."""

    model: EdgeModel
    targets: Mapping[str, EdgeTarget]
    revisions: tuple[ModelRevision, ...]
    """All revisions of this model that exist, of whatever version."""

    def revision(self, name: str) -> ModelRevision | None:
        """Return one of the model's revisions."""
        return next((r for r in self.revisions if r.metadata.name == name), None)


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What to do for one EdgeModel, and what to tell."""

    create: CreateRevision | None
    status: EdgeModelStatus
    requeue_after: float | None


def missing_targets(seen: ModelSeen) -> tuple[str, ...]:
    """Return the EdgeTargets that the model names and that do not exist."""
    return tuple(t.name for t in seen.model.spec.targets if t.name not in seen.targets)


_UNRESOLVED: Final = frozenset(
    {
        Reason.VERSION_CONTENT_CHANGED,
        Reason.SOURCE_NOT_READABLE,
        Reason.STORE_UNAVAILABLE,
        Reason.TARGET_NOT_FOUND,
    }
)
"""What is said of a generation whose addresses were not resolved to a revision."""


def known_pins(seen: ModelSeen) -> Pins | None:
    """Return what the addresses were resolved to for this very generation, or None: resolve them now.

    A change of the spec resolves anew: the same address may hold other content by now. A change of an
    EdgeTarget does not.
    """
    model, status = seen.model, seen.model.status
    current = seen.revision(status.revision)
    if current is None or status.observed_generation != model.metadata.generation:
        return None
    ready = find(status.conditions, ConditionType.READY)
    if ready is None or ready.reason in _UNRESOLVED:
        return None
    snapshots = {t.name: EdgeTarget(spec=t.target) for t in current.spec.targets}
    if any(t.name not in snapshots for t in model.spec.targets):
        return None
    pins = Pins(current.spec.source, current.spec.data)
    return pins if content(model, snapshots, pins) == current.spec else None


def plan(
    seen: ModelSeen, resolved: Pins | EdgewrightError | None, *, now: datetime, deadline: timedelta
) -> ModelPlan:
    """Decide about one EdgeModel; ``resolved`` is None when a target is missing, and then not looked at."""
    absent = missing_targets(seen)
    if absent:
        message = f"EdgeTarget {', '.join(absent)} does not exist"
        return _missing(seen, Reason.TARGET_NOT_FOUND, message, now, deadline)
    if resolved is None:
        raise ValueError("nothing is missing, so the addresses must have been resolved")
    if isinstance(resolved, EdgewrightError):
        return _unresolved(seen, resolved, now, deadline)
    spec = content(seen.model, seen.targets, resolved)
    name = revision_name(spec)
    other = content_conflict(spec, seen.revisions)
    if other is not None:
        message = (
            f"version {spec.version} is {other.spec.source.digest[:19]} since {other.metadata.name}, "
            f"and {spec.source.digest[:19]} now. Give other content another version."
        )
        return _told(seen, stalled(Reason.VERSION_CONTENT_CHANGED, message), now, LOOK_AGAIN_SECONDS)
    current = seen.revision(name)
    if current is None:
        meta = seen.model.metadata
        create = CreateRevision(meta.namespace or "", name, spec, meta.name, meta.uid)
        status = _status(seen, working(Reason.BUILDING, f"revision {name} is made"), now)
        return ModelPlan(create, status.model_copy(update={"progress": None}), None)
    return ModelPlan(None, _of_revision(seen, current, now), None)


def _unresolved(seen: ModelSeen, error: EdgewrightError, now: datetime, deadline: timedelta) -> ModelPlan:
    if isinstance(error, TransientError) and error.reason is Reason.SOURCE_NOT_READABLE:
        return _missing(seen, error.reason, str(error), now, deadline)  # it may yet be uploaded
    if isinstance(error, TransientError):
        return _told(seen, working(error.reason, str(error)), now, RETRY_SECONDS)
    return _told(seen, stalled(error.reason, str(error)), now, LOOK_AGAIN_SECONDS)


def _missing(seen: ModelSeen, reason: Reason, message: str, now: datetime, deadline: timedelta) -> ModelPlan:
    grace = missing(
        reason,
        message,
        conditions=seen.model.status.conditions,
        generation=seen.model.metadata.generation,
        now=now,
        deadline=deadline,
    )
    return _told(seen, grace.summary, now, grace.requeue_after)


def _told(seen: ModelSeen, summary: Summary, now: datetime, requeue_after: float | None) -> ModelPlan:
    """Keep what is known of the revision before: it serves on."""
    return ModelPlan(None, _status(seen, summary, now), requeue_after)


def _status(seen: ModelSeen, summary: Summary, now: datetime) -> EdgeModelStatus:
    generation = seen.model.metadata.generation
    old = seen.model.status
    return old.model_copy(
        update={
            "observed_generation": generation,
            "conditions": apply_summary(old.conditions, summary, generation=generation, now=stamp(now)),
        }
    )


def _of_revision(seen: ModelSeen, current: ModelRevision, now: datetime) -> EdgeModelStatus:
    """Tell what the current revision tells."""
    accepted = sum(t.verdict is Verdict.ACCEPTED for t in current.status.targets)
    status = _status(seen, _summary(current), now)
    return status.model_copy(
        update={
            "version": current.spec.version,
            "revision": current.metadata.name,
            "ready_revision": current.metadata.name if is_ready(current) else status.ready_revision,
            "targets_accepted": f"{accepted}/{len(current.spec.targets)}",
            "progress": None if is_settled(current) else current.status.progress,
            "targets": current.status.targets,
        }
    )


def _summary(current: ModelRevision) -> Summary:
    ready = find(current.status.conditions, ConditionType.READY)
    if ready is None:
        return working(Reason.BUILDING, f"revision {current.metadata.name} waits for its build")
    settled = is_settled(current)
    return Summary(
        ready=is_ready(current),
        complete=is_ready(current),
        reconciling=not settled,
        stalled=settled and not is_ready(current),
        reason=Reason(ready.reason),
        message=ready.message,
    )
