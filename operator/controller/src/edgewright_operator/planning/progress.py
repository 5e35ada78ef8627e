"""What a deployment tells of its rollout: counts, a summary, and the first nodes that need attention."""

from collections.abc import Sequence

from edgewright_api.conditions import Summary, complete, stalled, waiting, working
from edgewright_api.edgedeployment import NodeCounts, ProblemNode
from edgewright_api.reasons import Reason
from edgewright_operator.planning.matching import Unfit
from edgewright_operator.planning.rollout import Member, NodeView, Stage


def count(members: Sequence[Member], unfit: Sequence[tuple[NodeView, Unfit]]) -> NodeCounts:
    """Return how many nodes are where."""
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


def summarize(
    members: Sequence[Member],
    unfit: Sequence[tuple[NodeView, Unfit]],
    counts: NodeCounts,
    update: frozenset[str],
    version: str,
) -> Summary:
    """Return what the conditions say; ``update`` are the nodes that are told now."""
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
    moving = update or any(m.stage is Stage.UPDATING and m.node.reachable for m in open_members)
    if counts.failed and not moving:
        first = next(m for m in open_members if m.stage is Stage.FAILED)
        reason = Reason.SERVED_NAME_TAKEN if first.node.refusal else Reason.NODE_FAILED
        return stalled(reason, f"{progress}; {first.node.name}: {_trouble(first)[1]}")
    return working(Reason.ROLLING_OUT, progress)


def problems(members: Sequence[Member], unfit: Sequence[tuple[NodeView, Unfit]]) -> tuple[ProblemNode, ...]:
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
