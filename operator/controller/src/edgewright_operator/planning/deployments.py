"""EdgeDeployment: which revision, which nodes, which of them now, and what to tell.

The rollout rule. A node is *out* when it is changing, or does not confirm what it was told to run. Nodes that
serve are only touched while fewer than ``maxUnavailable`` are out; nodes that are out anyway may be touched, but
never more than ``maxUnavailable`` are changing at once. An offline node that was not told yet does not count: it
serves on and catches up when it is back. One that fell silent after it was told counts: the change may have
killed it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec.structs import replace

from edgewright_api.conditions import (
    ConditionType,
    Summary,
    apply_summary,
    complete,
    find,
    stalled,
    waiting,
    working,
)
from edgewright_api.edgedeployment import EdgeDeployment, EdgeDeploymentStatus, NodeCounts, ProblemNode
from edgewright_api.modelrevision import ModelRevision
from edgewright_api.quantity import share_of
from edgewright_api.reasons import Reason
from edgewright_operator.planning.clock import stamp
from edgewright_operator.planning.matching import Fit, Unfit, Variant, match, selects, variants
from edgewright_operator.planning.nodes import REMOVE, RUN, Wish, is_confirmed
from edgewright_operator.planning.objects import DeploymentRef, Entry, EntryStatus, Inventory
from edgewright_operator.planning.references import missing
from edgewright_operator.planning.revisions import is_settled, newest_ready


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One EdgeNode as a deployment sees it."""

    name: str
    labels: dict[str, str]
    """The union of the EdgeNode's labels and those of the Node of the same name."""
    inventory: Inventory | None
    reachable: bool
    entry: Entry | None = None
    """This deployment's entry in the node's assignment."""
    status: EntryStatus | None = None
    """What the node reports of it."""
    asked: str | None = None
    """The manifest digest that the composer was last asked for and has not written yet."""
    refusal: str | None = None
    """Why the composer refused that."""


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


class Stage(StrEnum):
    """Where one node is."""

    CONFIRMED = "Confirmed"
    UPDATING = "Updating"
    FAILED = "Failed"
    WAITING = "Waiting"


@dataclass(frozen=True, slots=True)
class Member:
    """A node that is to run the revision, with the variant that suits it."""

    node: NodeView
    fit: Fit

    @property
    def told(self) -> bool:
        """Whether the node's assignment names the variant, or is about to."""
        return self._named or (self.node.asked == self.fit.variant.digest and self.node.refusal is None)

    @property
    def _named(self) -> bool:
        entry = self.node.entry
        return entry is not None and entry.state == RUN and entry.manifest_digest == self.fit.variant.digest

    @property
    def stage(self) -> Stage:
        """Where the node is."""
        entry, status = self.node.entry, self.node.status
        if not self.told or self.node.refusal is not None:
            return Stage.FAILED if self.node.refusal is not None else Stage.WAITING
        if not self._named or entry is None:
            return Stage.UPDATING
        if is_confirmed(entry, status):
            return Stage.CONFIRMED
        failed = (
            status is not None and status.state == "Failed" and status.wanted_digest == entry.manifest_digest
        )
        return Stage.FAILED if failed else Stage.UPDATING

    @property
    def serves(self) -> bool:
        """Whether the node confirms what it was told to run, whatever that is."""
        entry = self.node.entry
        return entry is not None and is_confirmed(entry, self.node.status)


def plan(seen: DeploymentSeen, *, now: datetime, deadline: timedelta) -> DeploymentPlan:
    """Decide about one EdgeDeployment."""
    chosen = _choose(seen, now, deadline)
    if isinstance(chosen, DeploymentPlan):
        return chosen
    spec = seen.deployment.spec
    selected = [n for n in seen.nodes if selects(n.labels, spec.node_selector.match_labels)]
    members, unfit = _sort_out(selected, variants(chosen))
    update = choose_nodes(
        members, max_unavailable=max(1, share_of(spec.rollout.max_unavailable, len(members)))
    )
    wishes = {
        m.node.name: _run(seen.deployment, chosen, m) for m in members if m.told or m.node.name in update
    }
    for node in seen.nodes:
        if node.name not in wishes and node.entry is not None:
            leaves = not selects(node.labels, spec.node_selector.match_labels)
            wishes[node.name] = _keep(seen.deployment, node.entry, RUN if not leaves else REMOVE)
    counts = _count(members, unfit)
    status = _status(seen, _summarize(members, unfit, counts, update, chosen), now).model_copy(
        update={
            "version": chosen.spec.version,
            "revision": chosen.metadata.name,
            "nodes": counts,
            "confirmed": f"{counts.confirmed}/{counts.matched}",
            "problems": _problems(members, unfit),
        }
    )
    return DeploymentPlan(wishes, status, None)


def choose_nodes(members: Sequence[Member], *, max_unavailable: int) -> frozenset[str]:
    """Return which nodes to tell now, by the rule at the top of this module; always the same for the same."""
    told = [m for m in members if m.told and m.stage is not Stage.CONFIRMED]
    out = len(told) + sum(not m.told and not m.serves and m.node.reachable for m in members)
    changing = len(told)
    chosen: set[str] = set()
    candidates = [m for m in members if not m.told and m.node.reachable]
    for m in sorted(candidates, key=lambda m: (m.node.refusal is not None, m.serves, m.node.name)):
        if changing >= max_unavailable or (m.serves and out >= max_unavailable):
            continue
        chosen.add(m.node.name)
        changing += 1
        out += m.serves
    return frozenset(chosen)


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
        cause = find(named[-1].status.conditions, ConditionType.READY)
        summary = stalled(
            Reason.REVISION_NOT_READY,
            f"{what} was refused: {cause.message if cause else 'see its conditions'}",
        )
    return DeploymentPlan(None, _status(seen, summary, now), None)


def _sort_out(
    selected: Sequence[NodeView], offered: Sequence[Variant]
) -> tuple[list[Member], list[tuple[NodeView, Unfit]]]:
    members: list[Member] = []
    unfit: list[tuple[NodeView, Unfit]] = []
    for node in sorted(selected, key=lambda n: n.name):
        found = match(node.inventory, offered)
        if isinstance(found, Fit):
            members.append(Member(node, found))
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


def _count(members: Sequence[Member], unfit: Sequence[tuple[NodeView, Unfit]]) -> NodeCounts:
    stages = [m.stage for m in members]
    return NodeCounts(
        matched=len(members),
        confirmed=stages.count(Stage.CONFIRMED),
        updating=stages.count(Stage.UPDATING),
        waiting=stages.count(Stage.WAITING),
        failed=stages.count(Stage.FAILED),
        offline=sum(not m.node.reachable for m in members) + sum(not n.reachable for n, _ in unfit),
        unfit=len(unfit),
    )


def _summarize(
    members: Sequence[Member],
    unfit: Sequence[tuple[NodeView, Unfit]],
    counts: NodeCounts,
    update: frozenset[str],
    revision: ModelRevision,
) -> Summary:
    version = revision.spec.version
    if not members:
        if unfit:
            message = f"none of {len(unfit)} selected nodes suits a variant of {version}: {unfit[0][1].why}"
            return waiting(Reason.NO_VARIANT_FITS, message)
        return waiting(Reason.NO_MATCHING_NODES, "no node has the labels of nodeSelector")
    if counts.confirmed == counts.matched:
        return complete(f"all {counts.matched} nodes confirmed {version}")
    open_members = [m for m in members if m.stage is not Stage.CONFIRMED]
    progress = f"{counts.confirmed} of {counts.matched} nodes confirmed {version}"
    if all(not m.node.reachable for m in open_members):
        return waiting(Reason.NODES_OFFLINE, f"{progress}; the others are offline")
    if (
        not update
        and all(m.stage is not Stage.UPDATING or not m.node.reachable for m in open_members)
        and counts.failed
    ):
        first = next(m for m in open_members if m.stage is Stage.FAILED)
        reason = Reason.SERVED_NAME_TAKEN if first.node.refusal else Reason.NODE_FAILED
        return stalled(reason, f"{progress}; {first.node.name}: {_trouble(first)[1]}")
    return working(Reason.ROLLING_OUT, progress)


def _problems(members: Sequence[Member], unfit: Sequence[tuple[NodeView, Unfit]]) -> tuple[ProblemNode, ...]:
    """Return the first ten nodes that need attention: failed ones first, then unfit, then offline."""
    found = [(0, m.node.name, *_trouble(m)) for m in members if m.stage is Stage.FAILED]
    found += [(1, n.name, Reason.NO_VARIANT_FITS.value, u.why) for n, u in unfit]
    found += [
        (2, m.node.name, Reason.NODE_SILENT.value, "nothing was heard of the node lately")
        for m in members
        if not m.node.reachable and m.stage is not Stage.FAILED
    ]
    return tuple(
        ProblemNode(name=name, reason=reason, message=message[:2048])
        for _, name, reason, message in sorted(found)[:10]
    )


def _trouble(member: Member) -> tuple[str, str]:
    if member.node.refusal is not None:
        return Reason.SERVED_NAME_TAKEN.value, member.node.refusal
    status = member.node.status
    if status is None:
        return Reason.NODE_FAILED.value, "the node gives no reason"
    return status.reason or Reason.NODE_FAILED.value, status.message or "the node gives no reason"


def _status(seen: DeploymentSeen, summary: Summary, now: datetime) -> EdgeDeploymentStatus:
    generation, old = seen.deployment.metadata.generation, seen.deployment.status
    conditions = apply_summary(old.conditions, summary, generation=generation, now=stamp(now))
    return old.model_copy(update={"observed_generation": generation, "conditions": conditions})
