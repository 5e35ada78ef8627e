"""One visit to one object: observe, plan, execute, report. The same sentence for every kind."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from edgewright_api.conditions import ConditionType, Status
from edgewright_api.errors import EdgewrightError
from edgewright_api.reasons import Reason
from edgewright_api.resolving import Pins
from edgewright_operator.cluster import observe
from edgewright_operator.cluster.cache import Cache, Memory
from edgewright_operator.cluster.client import Conflict, NotFound
from edgewright_operator.cluster.execute import Executor
from edgewright_operator.metrics import Metrics
from edgewright_operator.planning import deployments, models, nodes, reachability, revisions
from edgewright_operator.planning.builds import Builds
from edgewright_operator.planning.clock import stamp
from edgewright_operator.planning.objects import EdgeNode, Key, Kind
from edgewright_operator.planning.plan import Assign, SetReachable, WriteStatus
from edgewright_operator.resolutions import Resolutions

_LOG: Final = logging.getLogger(__name__)
CONFLICT_SECONDS: Final = 0.2
"""How soon a decision is made anew that rested on something outdated."""


@dataclass(slots=True, kw_only=True)
class Reconciler:
    """Visits objects. Everything it knows is in the cache and the memory; everything it does goes through ``do``."""

    cache: Cache
    memory: Memory
    do: Executor
    builds: Builds
    resolutions: Resolutions
    mark: Callable[[Key], None]
    now: Callable[[], datetime]
    seconds: Callable[[], float]
    metrics: Metrics
    deadline: timedelta
    removal_delay: timedelta

    async def visit(self, key: Key) -> float | None:
        """Visit one object; return after how many seconds it is to be visited again, or None."""
        start = self.seconds()
        outcome = "error"
        try:
            after = await self._visit(key)
            outcome = "ok"
        except NotFound:
            after, outcome = None, "gone"  # deleted meanwhile: the event that tells it may be on its way
        except Conflict:
            after, outcome = CONFLICT_SECONDS, "conflict"
        finally:
            self.metrics.reconciles.labels(key.kind.value, outcome).inc()
            self.metrics.duration.labels(key.kind.value).observe(self.seconds() - start)
        return after

    async def _visit(self, key: Key) -> float | None:
        match key.kind:
            case Kind.MODEL:
                return await self._model(key)
            case Kind.REVISION:
                return await self._revision(key)
            case Kind.DEPLOYMENT:
                return await self._deployment(key)
            case Kind.NODE:
                return await self._node(key)
            case _:
                raise ValueError(f"nothing reconciles a {key.kind}")

    async def _model(self, key: Key) -> float | None:
        seen = observe.model(self.cache, key)
        if seen is None:
            self.resolutions.forget(key.namespace, key.name)
            return None  # its revisions are the collector's; nodes keep what they run
        pins: Pins | EdgewrightError | None = models.known_pins(seen)
        if pins is not None or models.missing_targets(seen):
            self.resolutions.forget(key.namespace, key.name)
        elif (pins := self.resolutions.take(seen.model)) is None:
            return None  # marked again when they are resolved
        decided = models.plan(seen, pins, now=self.now(), deadline=self.deadline)
        if decided.create is not None:
            await self.do.run(decided.create)
        if decided.status != seen.model.status:
            await self.do.run(
                WriteStatus(key, seen.model.metadata.resource_version, decided.status.to_wire())
            )
        return decided.requeue_after

    async def _revision(self, key: Key) -> float | None:
        revision = self.cache.revisions.get(key.namespace, key.name)
        if revision is None or revisions.is_settled(revision):
            self.builds.forget(key.namespace, key.name)
            return None
        state = self.builds.ensure(revision)
        status = revisions.status_of(revision, state, self.now())
        if status != revision.status:
            await self.do.run(WriteStatus(key, revision.metadata.resource_version, status.to_wire()))
        if state.published is not None:
            self.metrics.passes.labels("run").inc(state.published.passes_run)
            self.metrics.passes.labels("cached").inc(state.published.passes_cached)
        return state.retry_after

    async def _deployment(self, key: Key) -> float | None:
        place = (key.namespace, key.name)
        seen = observe.deployment(self.cache, self.memory, key)
        if seen is None:
            for node in self.memory.wishes.pop(place, {}):
                self.mark(Key(Kind.NODE, "", node))
            return None
        decided = deployments.plan(seen, now=self.now(), deadline=self.deadline)
        before = self.memory.wishes.get(place, {})
        wishes = decided.wishes
        if wishes is None:  # not known what should run: what was asked for stays, but nothing leaves for that
            wishes = {node: wish for node, wish in before.items() if wish.entry.state == nodes.RUN}
        self.memory.wishes[place] = wishes
        for node in before.keys() | wishes.keys():
            if before.get(node) != wishes.get(node):
                self.mark(Key(Kind.NODE, "", node))
        if decided.status != seen.deployment.status:
            await self.do.run(
                WriteStatus(key, seen.deployment.metadata.resource_version, decided.status.to_wire())
            )
        return decided.requeue_after

    async def _node(self, key: Key) -> float | None:
        node = self.cache.nodes.get("", key.name)
        if node is None:
            self.memory.unwanted_since.pop(key.name, None)
            return None  # the collector takes its assignment
        heard = await self._reachable(node)
        self._note_unwanted(key.name)
        seen = observe.node(self.cache, self.memory, key)
        composed = nodes.compose(seen, now=self.now(), removal_delay=self.removal_delay)
        if composed.changed:
            version = seen.assignment.metadata.resource_version if seen.assignment else None
            await self.do.run(Assign(key.name, node.metadata.uid, composed.spec, version))
        for refusal in composed.refusals:
            self.mark(
                Key(Kind.DEPLOYMENT, *refusal.place)
            )  # it withdraws the wish, and tells who has the name
        return min((s for s in (heard, composed.requeue_after) if s is not None), default=None)

    async def _reachable(self, node: EdgeNode) -> float | None:
        """Write the condition Reachable when it changes; return when silence may change it."""
        name, now = node.metadata.name, self.now()
        before = next((c for c in node.status.conditions if c.type == ConditionType.REACHABLE), None)
        judged = reachability.judge(
            observe.heartbeat(self.cache, self.memory, name),
            renewed=observe.renewed(self.cache, name),
            before=None if before is None else before.status == Status.TRUE,
            now=now,
        )
        if before is None or (before.status == Status.TRUE) != judged.reachable:
            heard = "the node renews its Lease" if judged.reachable else "the node has not renewed its Lease"
            condition = {
                "type": ConditionType.REACHABLE.value,
                "status": (Status.TRUE if judged.reachable else Status.FALSE).value,
                "observedGeneration": node.metadata.generation,
                "lastTransitionTime": stamp(now),
                "reason": (Reason.NODE_HEARD if judged.reachable else Reason.NODE_SILENT).value,
                "message": heard,
            }
            await self.do.run(SetReachable(name, condition))
        return judged.requeue_after

    def _note_unwanted(self, node: str) -> None:
        """Remember since when nothing wants entries of this node."""
        assignment = self.cache.assignments.get("", node)
        unwanted = nodes.unwanted(assignment, self.existing(), self.memory.wishes_for(node))
        before, now = self.memory.unwanted_since.pop(node, {}), self.now()
        if unwanted:
            self.memory.unwanted_since[node] = {ref: before.get(ref, now) for ref in unwanted}

    def existing(self) -> frozenset[tuple[str, str]]:
        """Return namespace and name of every EdgeDeployment."""
        return frozenset((d.metadata.namespace or "", d.metadata.name) for d in self.cache.deployments.all())
