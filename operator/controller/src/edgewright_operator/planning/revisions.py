"""Revisions: which content a version names, what the verdicts of one mean, and which one to follow."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from edgewright_api.conditions import (
    ConditionType,
    Status,
    Summary,
    apply_summary,
    complete,
    find,
    stalled,
    working,
)
from edgewright_api.errors import StalledError
from edgewright_api.modelrevision import (
    ModelRevision,
    ModelRevisionSpec,
    ModelRevisionStatus,
)
from edgewright_api.reasons import Reason
from edgewright_api.verdicts import TargetResult, Verdict
from edgewright_operator.planning.builds import BuildState
from edgewright_operator.planning.clock import stamp


def content_conflict(spec: ModelRevisionSpec, known: Iterable[ModelRevision]) -> ModelRevision | None:
    """Return the oldest revision that gave this version other content: another source or interface."""
    for revision in sorted(known, key=age):
        if revision.spec.version != spec.version:
            continue
        interface = revision.spec.interface or revision.status.interface
        if revision.spec.source.digest != spec.source.digest:
            return revision
        if interface is not None and spec.interface is not None and interface != spec.interface:
            return revision
    return None


def is_ready(revision: ModelRevision) -> bool:
    """Return whether every required target was accepted and published."""
    return _is(revision, ConditionType.READY)


def is_settled(revision: ModelRevision) -> bool:
    """Return whether the build has ended, well or not: nothing is left to do for this revision."""
    return _is(revision, ConditionType.READY) or _is(revision, ConditionType.STALLED)


def judge(results: Sequence[TargetResult]) -> Summary:
    """Return what the verdicts mean for the whole revision: required targets decide.

    One cause is passed on by its own reason; several become RequiredTargetRejected.
    """
    refused = [r for r in results if r.required and r.verdict is not Verdict.ACCEPTED]
    accepted = sum(r.verdict is Verdict.ACCEPTED for r in results)
    if refused:
        causes = {r.reason for r in refused}
        reason = Reason(causes.pop()) if len(causes) == 1 else Reason.REQUIRED_TARGET_REJECTED
        return stalled(reason, "; ".join(f"{r.name}: {r.verdict}, {r.reason}: {r.message}" for r in refused))
    if not accepted:
        return stalled(Reason.NO_CANDIDATE, f"none of {len(results)} targets has an accepted artifact")
    return complete(f"{accepted} of {len(results)} targets accepted")


def status_of(revision: ModelRevision, build: BuildState, now: datetime) -> ModelRevisionStatus:
    """Return what to tell of a revision whose build is where ``build`` says."""
    old, generation = revision.status, revision.metadata.generation
    update: dict[str, Any] = {"observed_generation": generation, "progress": build.progress}
    if build.published is not None:
        published = build.published
        summary = judge(published.targets)
        update |= {
            "index_digest": published.index_digest,
            "interface": published.interface,
            "targets": published.targets,
            "passes_run": published.passes_run,
            "passes_cached": published.passes_cached,
        }
    elif isinstance(build.failure, StalledError):
        summary = stalled(build.failure.reason, str(build.failure))
    elif build.failure is not None:
        summary = working(build.failure.reason, str(build.failure))
    else:
        done, total = build.progress.passes_done, build.progress.passes_total
        summary = working(Reason.BUILDING, f"{done} of {total} passes done")
    update["conditions"] = apply_summary(old.conditions, summary, generation=generation, now=stamp(now))
    return old.model_copy(update=update)


def newest_ready(
    revisions: Iterable[ModelRevision], version: str, preferred: str = ""
) -> ModelRevision | None:
    """Return the Ready revision of ``version`` to follow: ``preferred`` if it is one, else the newest."""
    ready = [r for r in revisions if r.spec.version == version and is_ready(r)]
    for revision in ready:
        if revision.metadata.name == preferred:
            return revision
    return max(ready, key=age, default=None)


def age(revision: ModelRevision) -> tuple[str, str]:
    """Order revisions, the oldest first."""
    return (revision.metadata.creation_timestamp or "", revision.metadata.name)


def _is(revision: ModelRevision, kind: ConditionType) -> bool:
    found = find(revision.status.conditions, kind)
    return found is not None and found.status is Status.TRUE
