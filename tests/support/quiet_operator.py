"""The operator's loop without a cluster: real queue, workers, cache and reconcilers; what they write comes back."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from edgewright_api.edgemodel import EdgeModel
from edgewright_api.edgetarget import EdgeTarget
from edgewright_api.modelrevision import ModelRevision
from edgewright_operator.builds import Builder, RunningBuilds
from edgewright_operator.cluster.cache import Cache, Memory
from edgewright_operator.cluster.client import ApiClient, Connection
from edgewright_operator.cluster.execute import Executor
from edgewright_operator.cluster.routes import affected
from edgewright_operator.metrics import Metrics
from edgewright_operator.planning.objects import Key, Kind
from edgewright_operator.planning.plan import Action, CreateRevision, WriteStatus
from edgewright_operator.reconcile import Reconciler
from edgewright_operator.resolutions import Resolutions, Resolver
from edgewright_operator.workqueue import WorkQueue, work
from support.operator_builders import NOW


class Echo(Executor):
    """Takes each write into the cache, as the API server's answer and its watch would."""

    async def run(self, action: Action) -> None:
        if isinstance(action, CreateRevision):
            metadata = {"name": action.name, "namespace": action.namespace, "uid": f"uid-{action.name}"}
            wire = {"metadata": metadata | {"generation": 1, "resourceVersion": "1"}}
            self.cache.revisions.apply(ModelRevision.parse(wire | {"spec": action.spec.to_wire()}))
            return
        assert isinstance(action, WriteStatus)
        store = self.cache.stores()[action.key.kind]
        old = store.get(action.key.namespace, action.key.name)
        assert old is not None
        version = str(int(old.metadata.resource_version) + 1)
        wire = old.to_wire() | {"status": dict(action.status)}
        wire["metadata"]["resourceVersion"] = version
        store.apply(type(old).parse(wire))


@dataclass(frozen=True)
class QuietOperator:
    """Its parts that a test looks at."""

    cache: Cache
    queue: WorkQueue[Key]
    reconciler: Reconciler
    builds: RunningBuilds

    async def run(self, seconds: float, workers: int = 1) -> None:
        """Let workers take keys for so long."""
        tasks = [
            asyncio.create_task(work(self.queue, self.reconciler.visit, lambda key, error: None))
            for _ in range(workers)
        ]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.builds.close()
        await self.reconciler.resolutions.close()


def quiet_operator(builder: Builder, sources: Resolver, objects: Sequence[Any]) -> QuietOperator:
    """Return an operator that has just heard of ``objects``; its time is the running loop's."""
    loop = asyncio.get_running_loop()
    queue: WorkQueue[Key] = WorkQueue(loop.time)

    def changed(kind: Kind, old: Any, new: Any) -> None:
        for key in affected(cache, kind, old, new):
            queue.add(key)

    cache = Cache(changed)
    metrics = Metrics(CollectorRegistry(), version="0")
    builds = RunningBuilds(builder, lambda ns, name: queue.add(Key(Kind.REVISION, ns, name)), loop.time)
    reconciler = Reconciler(
        cache=cache,
        memory=Memory(),
        do=Echo(ApiClient(Connection("https://nowhere", Path("none"), Path("none"))), cache, metrics),
        builds=builds,
        resolutions=Resolutions(sources, lambda ns, name: queue.add(Key(Kind.MODEL, ns, name))),
        mark=queue.add,
        now=lambda: NOW + timedelta(seconds=loop.time()),
        seconds=loop.time,
        metrics=metrics,
        deadline=timedelta(seconds=600),
        removal_delay=timedelta(seconds=600),
    )
    kinds: dict[Any, Kind] = {EdgeModel: Kind.MODEL, ModelRevision: Kind.REVISION, EdgeTarget: Kind.TARGET}
    for obj in objects:
        cache.stores()[kinds[type(obj)]].apply(obj)
    return QuietOperator(cache, queue, reconciler, builds)
