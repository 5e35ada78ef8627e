"""Which nodes are told of a change now.

The rollout rule. A node is *out* when it is changing, or does not confirm what it was told to run. Nodes that
serve are only touched while fewer than ``maxUnavailable`` are out; nodes that are out anyway may be touched, but
never more than ``maxUnavailable`` are changing at once. An offline node that was not told yet does not count: it
serves on and catches up when it is back. One that fell silent after it was told counts: the change may have
killed it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from edgewright_operator.planning.matching import Fit
from edgewright_operator.planning.nodes import RUN, is_confirmed
from edgewright_operator.planning.objects import Entry, EntryStatus, Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One EdgeNode as a deployment sees it."""

    name: str
    labels: dict[str, str]
    """The union of the EdgeNode's labels and those of the Node of the same name."""
    labels_known: bool
    """Whether that Node is there: without it a label that is missing says nothing."""
    inventory: Inventory | None
    reachable: bool
    entry: Entry | None = None
    """This deployment's entry in the node's assignment."""
    status: EntryStatus | None = None
    """What the node reports of it."""
    asked: str | None = None
    """The manifest digest that the composer was last asked for and has not written yet."""
    refusal: str | None = None
    """Who has the wanted served name on this node; None when it is free or ours."""


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
    served_name: str

    @property
    def told(self) -> bool:
        """Whether the node's assignment says so, or is about to."""
        return self._named or (self.node.asked == self.fit.variant.digest and self.node.refusal is None)

    @property
    def _named(self) -> bool:
        entry = self.node.entry
        return (
            entry is not None
            and entry.state == RUN
            and entry.manifest_digest == self.fit.variant.digest
            and entry.served_name == self.served_name
        )

    @property
    def stage(self) -> Stage:
        """Where the node is."""
        entry, status = self.node.entry, self.node.status
        if not self.told:
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


def choose_nodes(members: Sequence[Member], *, max_unavailable: int) -> frozenset[str]:
    """Return which nodes to tell now, by the rule at the top of this module; always the same for the same."""
    told = [m for m in members if m.told and m.stage is not Stage.CONFIRMED]
    out = len(told) + sum(not m.told and not m.serves and m.node.reachable for m in members)
    changing = len(told)
    chosen: set[str] = set()
    candidates = [m for m in members if not m.told and m.node.reachable and m.node.refusal is None]
    for m in sorted(candidates, key=lambda m: (m.serves, m.node.name)):
        if changing >= max_unavailable or (m.serves and out >= max_unavailable):
            continue
        chosen.add(m.node.name)
        changing += 1
        out += m.serves
    return frozenset(chosen)
