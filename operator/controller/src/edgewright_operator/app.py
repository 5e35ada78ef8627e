"""The operator as a whole: parts are made here, given to each other, and run side by side until one of them fails."""

import asyncio
import logging
import shlex
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web
from prometheus_client import CollectorRegistry

from edgewright_api.assembly import Decide
from edgewright_api.decide import decide_target
from edgewright_api.errors import EdgewrightError
from edgewright_operator import builds, health
from edgewright_operator.builder import Builder
from edgewright_operator.cluster.builds import LocalExecutor
from edgewright_operator.cluster.cache import Beat, Cache, Memory
from edgewright_operator.cluster.client import ApiClient, Connection
from edgewright_operator.cluster.execute import Executor
from edgewright_operator.cluster.resources import OWN_WATCHES, RESOURCES
from edgewright_operator.cluster.routes import affected
from edgewright_operator.cluster.watch import Watcher, resync
from edgewright_operator.gateway import keeper, server
from edgewright_operator.gateway.artifacts import Artifacts
from edgewright_operator.gateway.metrics import GatewayMetrics
from edgewright_operator.gateway.run import serving
from edgewright_operator.gateway.tickets import Limits, TicketBook
from edgewright_operator.gateway.tokens import TokenCache, reviewer
from edgewright_operator.handlers import startup
from edgewright_operator.handlers.events import Deliver
from edgewright_operator.metrics import Metrics
from edgewright_operator.planning.objects import Key, Kind
from edgewright_operator.planning.revisions import is_settled
from edgewright_operator.publisher import Publisher
from edgewright_operator.reconcile import Reconciler
from edgewright_operator.resolutions import Resolutions
from edgewright_operator.settings import Settings, host_port
from edgewright_operator.sources import Sources
from edgewright_operator.store import ObjectStore, StoreSettings
from edgewright_operator.workqueue import WorkQueue, work

_LOG: Final = logging.getLogger(__name__)
NODE_ACCOUNT: Final = "edgewright-node"


@dataclass(slots=True)
class Operator:
    """One operator process. ``now`` is the wall clock; monotonic time is the event loop's."""

    settings: Settings
    connection: Connection
    search_path: str
    """The PATH that builders are given."""
    now: Callable[[], datetime]
    decide: Decide = decide_target
    """Judges what was built; the product has no other."""

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            ExceptionGroup: a part failed; the process is to end, and whoever started it to start it again.
        """
        async with AsyncExitStack() as stack:
            self.settings.work_dir.mkdir(parents=True, exist_ok=True)
            api = await stack.enter_async_context(ApiClient(self.connection))
            store = ObjectStore(_store_settings(self.settings))
            stack.callback(store.close)
            await self._run(stack, api, store)

    async def _run(self, stack: AsyncExitStack, api: ApiClient, store: ObjectStore) -> None:
        loop = asyncio.get_running_loop()
        metrics = Metrics(CollectorRegistry(), version=version("edgewright-operator"))
        queue: WorkQueue[Key] = WorkQueue(loop.time)
        memory = Memory()

        def changed(kind: Kind, old: Any, new: Any) -> None:
            metrics.events.labels(kind.value).inc()
            if kind is Kind.LEASE:
                _note_beat(memory, old, new, self.now(), listed=cache.leases.synced)
            for key in affected(cache, kind, old, new):
                queue.add(key)

        cache = Cache(changed)
        running = builds.RunningBuilds(
            self._builder(store),
            lambda namespace, name: queue.add(Key(Kind.REVISION, namespace, name)),
            loop.time,
        )
        stack.push_async_callback(running.close)
        resolving = Resolutions(
            Sources(store, self.settings.work_dir),
            lambda namespace, name: queue.add(Key(Kind.MODEL, namespace, name)),
        )
        stack.push_async_callback(resolving.close)
        reconciler = Reconciler(
            cache=cache,
            memory=memory,
            do=Executor(api, cache, metrics),
            builds=running,
            resolutions=resolving,
            mark=queue.add,
            now=self.now,
            seconds=loop.time,
            metrics=metrics,
            deadline=timedelta(seconds=self.settings.progress_deadline_seconds),
            removal_delay=timedelta(seconds=self.settings.removal_delay_seconds),
        )
        async with asyncio.TaskGroup() as tasks:
            await self._serve_health(stack, queue, cache, metrics)
            watchers = {
                kind: Watcher(api, RESOURCES[kind], kept, self.settings.resync_seconds, loop.time)
                for kind, kept in cache.stores().items()
            }
            for kind, watcher in watchers.items():
                tasks.create_task(watcher.follow() if kind in OWN_WATCHES else resync(watcher))
            for watcher in watchers.values():
                await watcher.listed.wait()
            memory.term = 1 + max((a.spec.term for a in cache.assignments.all()), default=0)
            _LOG.info("the cluster is read; this is term %d", memory.term)
            tasks.create_task(self._gateway(api, store, cache, metrics))
            tasks.create_task(startup.run(self.connection, _deliver(cache), self.now))
            for _ in range(self.settings.workers):
                tasks.create_task(work(queue, reconciler.visit, _failed))

    def _builder(self, store: ObjectStore) -> Builder:
        settings = self.settings
        command = shlex.split(settings.build_command) or [sys.executable, "-m", "edgewright_build"]
        executor = LocalExecutor(
            command=command,
            work_dir=settings.work_dir,
            search_path=self.search_path,
            concurrency=settings.build_concurrency,
        )
        publisher = Publisher(store, settings.work_dir, self.decide)
        return Builder(store=store, publisher=publisher, executor=executor)

    async def _serve_health(
        self, stack: AsyncExitStack, queue: WorkQueue[Key], cache: Cache, metrics: Metrics
    ) -> None:
        def collect() -> CollectorRegistry:
            metrics.queue_depth.set(queue.depth)
            metrics.queue_planned.set(queue.planned)
            metrics.builds_running.set(sum(not is_settled(r) for r in cache.revisions.all()))
            return metrics.registry

        routes = health.app(stuck_seconds=queue.stuck_seconds, ready=lambda: cache.synced, collect=collect)
        runner = web.AppRunner(routes, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, *host_port(self.settings.http)).start()

    async def _gateway(self, api: ApiClient, store: ObjectStore, cache: Cache, metrics: Metrics) -> None:
        """Serve artifacts to nodes, and keep the certificates."""
        settings = self.settings
        loop = asyncio.get_running_loop()
        counted = GatewayMetrics(metrics.registry)
        tokens = TokenCache(
            reviewer(api),
            frozenset({f"system:serviceaccount:{settings.namespace}:{NODE_ACCOUNT}"}),
            loop.time,
            lambda source: counted.reviews.labels(source).inc(),
        )
        gateway = server.Gateway(
            store=store,
            tokens=tokens,
            artifacts=Artifacts(store, lambda node: _assigned(cache, node)),
            book=TicketBook(Limits()),
            metrics=counted,
            clock=loop.time,
            now=self.now,
            url=settings.gateway_url,
            mode=server.Mode(settings.gateway_mode),
        )
        host = urlsplit(settings.gateway_url).hostname or ""
        certificates = keeper.Keeper(api=api, namespace=settings.namespace, hosts=[host], now=self.now)
        async with serving(gateway, certificates, *host_port(settings.gateway_bind)):
            await loop.create_future()


def _store_settings(settings: Settings) -> StoreSettings:
    return StoreSettings(
        endpoint=settings.s3_endpoint,
        bucket=settings.s3_bucket,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
        region=settings.s3_region,
        prefix=settings.s3_prefix,
        public_endpoint=settings.s3_public_endpoint,
    )


def _assigned(cache: Cache, node: str) -> frozenset[str]:
    assignment = cache.assignments.get("", node)
    return assignment.manifest_digests() if assignment is not None else frozenset()


def _deliver(cache: Cache) -> Deliver:
    stores = cache.stores()

    def deliver(kind: Kind, obj: Any, deleted: bool) -> None:
        if deleted:
            stores[kind].remove(obj)
        else:
            stores[kind].apply(obj)

    return deliver


def _note_beat(memory: Memory, old: Any, new: Any, now: datetime, *, listed: bool) -> None:
    """Remember by our own clock when a Lease was renewed. One that is new after the first list was made just now."""
    name = (new or old).metadata.name
    beat = memory.beats.get(name)
    if new is None:
        memory.beats.pop(name, None)
    elif beat is None:
        memory.beats[name] = Beat(now, now if listed else None)
    elif old is None or old.spec.renew_time != new.spec.renew_time:
        memory.beats[name] = Beat(beat.first_seen, now)


def _failed(key: Key, error: Exception) -> None:
    expected = isinstance(error, EdgewrightError)
    _LOG.warning("%s is tried again: %s", key, error, exc_info=None if expected else error)
