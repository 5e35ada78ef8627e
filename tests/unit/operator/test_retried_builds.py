"""A build that fails is tried again ever later, however often its own status write comes back as an event."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from edgewright_api.edgemodel import BuildProgress
from edgewright_api.errors import TransientError
from edgewright_api.modelrevision import (
    ModelRevision,
    ModelRevisionSpec,
    ModelRevisionStatus,
    ResolvedContent,
)
from edgewright_api.reasons import Reason
from edgewright_operator.builder import Report
from edgewright_operator.builds import RunningBuilds
from edgewright_operator.cluster.cache import Cache, Memory
from edgewright_operator.cluster.client import ApiClient, Connection
from edgewright_operator.cluster.execute import Executor
from edgewright_operator.cluster.routes import affected
from edgewright_operator.metrics import Metrics
from edgewright_operator.planning.builds import Published
from edgewright_operator.planning.objects import Key, Kind
from edgewright_operator.planning.plan import Action, WriteStatus
from edgewright_operator.planning.revisions import is_settled
from edgewright_operator.reconcile import Reconciler
from edgewright_operator.workqueue import WorkQueue, work
from support.hurrying_loop import run_hurried
from support.operator_builders import NOW, revision


class Failing:
    """A builder whose world is broken until the ``heals``-th attempt."""

    def __init__(self, heals: int = 10**9) -> None:
        self.starts: list[float] = []
        self._heals = heals

    async def build(self, namespace: str, name: str, spec: ModelRevisionSpec, report: Report) -> Published:
        self.starts.append(asyncio.get_running_loop().time())
        report(BuildProgress(passes_done=0, passes_total=3))
        await asyncio.sleep(0.01)
        if len(self.starts) < self._heals:
            raise TransientError(Reason.STORE_UNAVAILABLE, "no store", remedy="It is tried again")
        return Published(index_digest=None, interface=None, targets=(), passes_run=3, passes_cached=0)


class Echo(Executor):
    """Takes each status write into the cache, as the API server's answer and its watch would."""

    async def run(self, action: Action) -> None:
        assert isinstance(action, WriteStatus)
        old = self.cache.revisions.get(action.key.namespace, action.key.name)
        assert old is not None
        wire = old.to_wire() | {"status": dict(action.status)}
        wire["metadata"] = dict(wire["metadata"]) | {
            "resourceVersion": str(int(old.metadata.resource_version) + 1)
        }
        self.cache.revisions.apply(ModelRevision.parse(wire))


class NoSource:
    async def resolve(self, uri: str) -> ResolvedContent:
        raise AssertionError("a revision is resolved already")


async def operate(builder: Failing, seconds: float) -> ModelRevision:
    """Run one worker on a fresh revision for so long, with a real queue; return what became of the revision."""
    loop = asyncio.get_running_loop()
    queue: WorkQueue[Key] = WorkQueue(loop.time)

    def changed(kind: Kind, old: Any, new: Any) -> None:
        for key in affected(cache, kind, old, new):
            if key.kind is Kind.REVISION:
                queue.add(key)

    cache = Cache(changed)
    metrics = Metrics(CollectorRegistry(), version="0")
    builds = RunningBuilds(builder, lambda ns, name: queue.add(Key(Kind.REVISION, ns, name)), loop.time)
    reconciler = Reconciler(
        cache=cache,
        memory=Memory(),
        do=Echo(ApiClient(Connection("https://nowhere", Path("none"), Path("none"))), cache, metrics),
        builds=builds,
        sources=NoSource(),
        mark=queue.add,
        now=lambda: NOW + timedelta(seconds=loop.time()),
        seconds=loop.time,
        metrics=metrics,
        deadline=timedelta(seconds=600),
        removal_delay=timedelta(seconds=600),
    )
    fresh = revision().model_copy(update={"status": ModelRevisionStatus()})
    cache.revisions.apply(fresh)
    worker = asyncio.create_task(work(queue, reconciler.visit, lambda key, error: None))
    await asyncio.sleep(seconds)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    await builds.close()
    (left,) = cache.revisions.all()
    return left


def test_a_build_that_fails_again_and_again_waits_longer_each_time() -> None:
    builder = Failing()
    left = run_hurried(operate(builder, 70.0))
    assert builder.starts == pytest.approx([0, 1, 3, 7, 15, 31, 63], abs=0.5)
    assert len([at for at in builder.starts if at <= 5]) <= 3
    assert {c.reason for c in left.status.conditions} == {"StoreUnavailable"}


def test_a_build_that_heals_is_not_started_again() -> None:
    builder = Failing(heals=3)
    left = run_hurried(operate(builder, 3600.0))
    assert len(builder.starts) == 3
    assert is_settled(left)
