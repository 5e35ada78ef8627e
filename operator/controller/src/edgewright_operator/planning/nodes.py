"""The node composer: from everything that wants something of one node to its whole assignment.

Its rules:

1. Absence is never a command. An entry without a wish stays as it is while a deployment of its name exists.
2. An entry whose deployment is gone, or no longer selects the node, becomes Remove after a delay, or stays when
   its policy is Retain. A deployment of the same namespace and name takes it over, without a restart when the
   artifact is the same.
3. A Remove entry goes when the node has said that it is removed.
4. A served name is unique on the node, entries to be removed included. What has it keeps it; among those who ask
   for a free one, the oldest deployment gets it, the others get ServedNameTaken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from edgewright_operator.planning.objects import (
    AssignmentSpec,
    DeploymentRef,
    Entry,
    EntryStatus,
    NodeAssignment,
)

IDLE_HEARTBEAT: Final = 300
ROLLOUT_HEARTBEAT: Final = 20
RUN: Final = "Run"
REMOVE: Final = "Remove"

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Wish:
    """What one deployment wants of the node now."""

    entry: Entry
    """Its state Run says what is to run. Remove says that the deployment no longer selects the node: the entry
    goes after the delay."""
    created: str
    """When the deployment was created, RFC 3339: the older one wins a served name."""

    @property
    def place(self) -> Place:
        """The deployment's namespace and name."""
        return self.entry.deployment.place

    @property
    def age(self) -> tuple[str, DeploymentRef]:
        """Orders wishes, the oldest deployment first."""
        return (self.created, self.entry.deployment)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A wish that can't be met now."""

    place: Place
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSeen:
    """Everything that a composition looks at."""

    assignment: NodeAssignment | None
    wishes: Sequence[Wish]
    existing: frozenset[Place]
    """Every EdgeDeployment that exists, by namespace and name."""
    unwanted_since: Mapping[DeploymentRef, datetime]
    """When the operator first saw that nothing wants an entry of this node."""
    term: int


@dataclass(frozen=True, slots=True)
class Composed:
    """The node's assignment as it should be."""

    spec: AssignmentSpec
    changed: bool
    refusals: tuple[Refusal, ...]
    requeue_after: float | None


def unwanted(
    assignment: NodeAssignment | None, existing: frozenset[Place], wishes: Sequence[Wish]
) -> frozenset[DeploymentRef]:
    """Return the deployments of running entries that nothing wants on this node.

    Their deployment is gone, with no other of its name, or says that it no longer selects the node. One that
    exists and says nothing (yet) still wants them.
    """
    wanted = {w.place: w for w in wishes}
    entries = assignment.spec.assignments if assignment else ()
    return frozenset(
        e.deployment
        for e in entries
        if e.state != REMOVE and _is_unwanted(e.deployment.place, existing, wanted)
    )


def _is_unwanted(place: Place, existing: frozenset[Place], wishes: Mapping[Place, Wish]) -> bool:
    wish = wishes.get(place)
    return place not in existing if wish is None else wish.entry.state == REMOVE


def name_holder(assignment: NodeAssignment | None, place: Place, served_name: str) -> DeploymentRef | None:
    """Return whose entry keeps a served name from the deployment at ``place``, or None."""
    for e in assignment.spec.assignments if assignment else ():
        if e.served_name == served_name and e.deployment.place != place:
            return e.deployment
    return None


def compose(seen: NodeSeen, *, now: datetime, removal_delay: timedelta) -> Composed:
    """Return the node's whole assignment; ``changed`` is False when it is what is written already."""
    old = seen.assignment.spec if seen.assignment else AssignmentSpec()
    wishes = {w.place: w for w in sorted(seen.wishes, key=lambda w: w.age, reverse=True)}
    kept, requeue = _kept(seen, wishes, now, removal_delay)
    entries, refusals = _grant(kept, wishes)
    ordered = tuple(sorted(entries, key=lambda e: e.deployment.place))
    heartbeat = ROLLOUT_HEARTBEAT if _in_motion(ordered, _statuses(seen.assignment)) else IDLE_HEARTBEAT
    seen_serial = seen.assignment.status.seen_serial if seen.assignment else 0
    # A restored or recreated object may lag behind what its node has seen, and the node ignores what is older.
    heeded = seen_serial <= old.serial
    same = ordered == old.assignments and heartbeat == old.heartbeat_seconds
    if same and heeded and seen.assignment is not None:
        return Composed(old, False, refusals, requeue)
    spec = AssignmentSpec(
        term=seen.term,
        serial=1 + max(old.serial, seen_serial),
        heartbeat_seconds=heartbeat,
        requires=old.requires,
        assignments=ordered,
    )
    return Composed(spec, True, refusals, requeue)


def _kept(
    seen: NodeSeen, wishes: Mapping[Place, Wish], now: datetime, delay: timedelta
) -> tuple[dict[Place, Entry], float | None]:
    """Return the entries that stay, before any wish to run is looked at, and when the next removal is due."""
    kept: dict[Place, Entry] = {}
    waits: list[float] = []
    statuses = _statuses(seen.assignment)
    for entry in seen.assignment.spec.assignments if seen.assignment else ():
        place = entry.deployment.place
        if entry.state == REMOVE:
            if _is_removed(entry, seen.assignment, statuses):
                continue
        elif _is_unwanted(place, seen.existing, wishes):
            if place in wishes:  # whose it is and what becomes of it are as the deployment says now
                said = wishes[place].entry
                entry = replace(entry, deployment=said.deployment, deletion_policy=said.deletion_policy)
            left = (seen.unwanted_since.get(entry.deployment, now) + delay - now).total_seconds()
            if entry.deletion_policy == REMOVE and left <= 0:
                entry = replace(entry, state=REMOVE)
            elif entry.deletion_policy == REMOVE:
                waits.append(left)
        kept[place] = entry
    return kept, min(waits, default=None)


def _grant(kept: dict[Place, Entry], wishes: Mapping[Place, Wish]) -> tuple[list[Entry], tuple[Refusal, ...]]:
    """Fulfil the wishes to run, as far as served names allow.

    A wish for a name that its entry has already can't fail. Of the others, one that is refused keeps its old
    name, which may in turn refuse another: so it is repeated until no more are refused that gave up a name.
    """
    wanting = [w for w in wishes.values() if w.entry.state == RUN]
    claims = [
        w for w in wanting if kept.get(w.place) is None or kept[w.place].served_name != w.entry.served_name
    ]
    claims = sorted(claims, key=lambda w: w.age)
    stuck: set[Place] = set()
    while True:
        movable = {w.place for w in claims if w.place not in stuck}
        held = {e.served_name: e.deployment for place, e in kept.items() if place not in movable}
        refused: dict[Place, Refusal] = {}
        for wish in claims:
            name = wish.entry.served_name
            holder = held.get(name)
            if wish.place in stuck or holder is not None:
                by = f"{holder.namespace}/{holder.name}" if holder else "another deployment"
                refused[wish.place] = Refusal(wish.place, f"the name {name} is served for {by} on this node")
            else:
                held[name] = wish.entry.deployment
        newly = {place for place in refused if place in kept} - stuck
        if not newly:
            break
        stuck |= newly
    granted = dict(kept)
    for wish in wanting:
        if wish.place not in refused:
            granted[wish.place] = wish.entry
    return list(granted.values()), tuple(refused[place] for place in sorted(refused))


def _statuses(assignment: NodeAssignment | None) -> dict[Place, EntryStatus]:
    return {s.deployment.place: s for s in assignment.status.assignments} if assignment else {}


def _is_removed(
    entry: Entry, assignment: NodeAssignment | None, statuses: Mapping[Place, EntryStatus]
) -> bool:
    """Return whether the node has acted on the removal: it says so, or has seen it and knows nothing of it."""
    # What it said before it saw this assignment is about an earlier entry of that name.
    if assignment is None or assignment.status.seen_serial < assignment.spec.serial:
        return False
    status = statuses.get(entry.deployment.place)
    return status is None or status.state == "Removed"


def _in_motion(entries: Sequence[Entry], statuses: Mapping[Place, EntryStatus]) -> bool:
    """Return whether anything is asked of the node that it has not confirmed."""
    return any(not is_confirmed(e, statuses.get(e.deployment.place)) for e in entries)


def is_confirmed(entry: Entry, status: EntryStatus | None) -> bool:
    """Return whether the node proved by an inference that it runs what the entry says."""
    return (
        status is not None
        and entry.state == RUN
        and status.state == "Confirmed"
        and status.running_digest == entry.manifest_digest
        and status.served_name in ("", entry.served_name)
    )
