"""EdgeDeployment: which revision runs, on which nodes, and what each of them is asked for now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec.structs import replace

from edgewright_api.conditions import (
    ConditionType,
    Summary,
    apply_summary,
    find,
    stalled,
    working,
)
from edgewright_api.edgedeployment import EdgeDeployment, EdgeDeploymentStatus
from edgewright_api.modelrevision import ModelRevision
from edgewright_api.quantity import share_of
from edgewright_api.reasons import Reason
from edgewright_operator.planning.clock import stamp
from edgewright_operator.planning.matching import Fit, Unfit, Variant, match, selects, variants
from edgewright_operator.planning.nodes import REMOVE, RUN, Wish
from edgewright_operator.planning.objects import DeploymentRef, Entry
from edgewright_operator.planning.progress import count, problems, summarize
from edgewright_operator.planning.references import missing
from edgewright_operator.planning.revisions import age, is_settled, newest_ready
from edgewright_operator.planning.rollout import Member, NodeView, choose_nodes


@dataclass(frozen=True, slots=True)
class DeploymentSeen:
    """Everything that a decision about one EdgeDeployment looks at."""

    deployment: EdgeDeployment
    model_exists: bool
    ready_revision: str
    """What the EdgeModel says is its newest Ready revision."""
    revisions: tuple[ModelRevision, ...]
    """All revisions of the model."""
    nodes: tuple[NodeView, ...]


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """What is wanted of which node, and what to tell."""

    wishes: dict[str, Wish] | None
    """By node; None leaves all as it is, because it is not known what should run."""
    status: EdgeDeploymentStatus
    requeue_after: float | None


def plan(seen: DeploymentSeen, *, now: datetime, deadline: timedelta) -> DeploymentPlan:
    """Decide about one EdgeDeployment."""
    chosen = _choose(seen, now, deadline)
    if isinstance(chosen, DeploymentPlan):
        return chosen
    spec = seen.deployment.spec
    selected = [n for n in seen.nodes if selects(n.labels, spec.node_selector.match_labels)]
    members, unfit = _sort_out(selected, variants(chosen), spec.serving.model_name)
    update = choose_nodes(
        members, max_unavailable=max(1, share_of(spec.rollout.max_unavailable, len(members)))
    )
    wishes = {
        m.node.name: _run(seen.deployment, chosen, m) for m in members if m.told or m.node.name in update
    }
    for node in seen.nodes:
        if node.name not in wishes and node.entry is not None:
            leaves = node.labels_known and not selects(node.labels, spec.node_selector.match_labels)
            wishes[node.name] = _keep(seen.deployment, node.entry, REMOVE if leaves else RUN)
    counts = count(members, unfit)
    status = _status(seen, summarize(members, unfit, counts, update, chosen.spec.version), now).model_copy(
        update={
            "version": chosen.spec.version,
            "revision": chosen.metadata.name,
            "nodes": counts,
            "confirmed": f"{counts.confirmed}/{counts.matched}",
            "problems": problems(members, unfit),
        }
    )
    return DeploymentPlan(wishes, status, None)


def _choose(seen: DeploymentSeen, now: datetime, deadline: timedelta) -> ModelRevision | DeploymentPlan:
    """Return the revision to run, or what to tell while there is none: then nodes are left as they are."""
    wanted = seen.deployment.spec.model
    if wanted.revision is not None:
        named = [r for r in seen.revisions if r.metadata.name == wanted.revision]
        what = f"revision {wanted.revision}"
    else:
        named = [r for r in seen.revisions if r.spec.version == wanted.version]
        what = f"version {wanted.version} of model {wanted.name}"
    version = named[0].spec.version if named else ""
    ready = newest_ready(named, version, seen.ready_revision)
    if ready is not None:
        return ready
    if not named:
        message = f"{what} does not exist" if seen.model_exists else f"model {wanted.name} does not exist"
        grace = missing(
            Reason.MODEL_NOT_FOUND,
            message,
            conditions=seen.deployment.status.conditions,
            generation=seen.deployment.metadata.generation,
            now=now,
            deadline=deadline,
        )
        return DeploymentPlan(None, _status(seen, grace.summary, now), grace.requeue_after)
    summary = working(Reason.REVISION_NOT_READY, f"{what} is not built yet")
    if all(is_settled(r) for r in named):
        cause = find(max(named, key=age).status.conditions, ConditionType.READY)
        summary = stalled(
            Reason.REVISION_NOT_READY,
            f"{what} was refused: {cause.message if cause else 'see its conditions'}",
        )
    return DeploymentPlan(None, _status(seen, summary, now), None)


def _sort_out(
    selected: Sequence[NodeView], offered: Sequence[Variant], served_name: str
) -> tuple[list[Member], list[tuple[NodeView, Unfit]]]:
    members: list[Member] = []
    unfit: list[tuple[NodeView, Unfit]] = []
    for node in sorted(selected, key=lambda n: n.name):
        found = match(node.inventory, offered)
        if isinstance(found, Fit):
            members.append(Member(node, found, served_name))
        else:
            unfit.append((node, found))
    return members, unfit


def _run(deployment: EdgeDeployment, revision: ModelRevision, member: Member) -> Wish:
    entry = Entry(
        deployment=_ref(deployment),
        served_name=deployment.spec.serving.model_name,
        revision=revision.metadata.name,
        version=revision.spec.version,
        target=member.fit.variant.target,
        manifest_digest=member.fit.variant.digest,
        state=RUN,
        deletion_policy=deployment.spec.deletion_policy.value,
        why=member.fit.why,
    )
    return Wish(entry, deployment.metadata.creation_timestamp or "")


def _keep(deployment: EdgeDeployment, entry: Entry, state: str) -> Wish:
    """The artifact stays; who wants it and what becomes of it afterwards are as the deployment says now."""
    kept = replace(
        entry,
        deployment=_ref(deployment),
        deletion_policy=deployment.spec.deletion_policy.value,
        state=REMOVE if entry.state == REMOVE else state,
    )
    return Wish(kept, deployment.metadata.creation_timestamp or "")


def _ref(deployment: EdgeDeployment) -> DeploymentRef:
    meta = deployment.metadata
    return DeploymentRef(meta.namespace or "", meta.name, meta.uid)


def _status(seen: DeploymentSeen, summary: Summary, now: datetime) -> EdgeDeploymentStatus:
    generation, old = seen.deployment.metadata.generation, seen.deployment.status
    conditions = apply_summary(old.conditions, summary, generation=generation, now=stamp(now))
    return old.model_copy(update={"observed_generation": generation, "conditions": conditions})
