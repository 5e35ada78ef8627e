"""The agent as a whole: what runs beside each other, and how each of it comes back after a failure."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec

from edgewright_node.agent import inventory, metrics, node, store
from edgewright_node.agent.api import ASSIGNMENTS, UNREACHABLE, Api, ApiError
from edgewright_node.agent.assignments import Assignments
from edgewright_node.agent.report import has_ended, only_progress
from edgewright_node.agent.settings import AgentSettings
from edgewright_node.agent.wire import API_VERSION, AssignmentStatus, Metadata, NodeAssignment
from edgewright_node.agent.worker import Kit, stamp

RETRY_SECONDS: Final = 3.0
"""Constant, with jitter of half: a control plane that comes back is seen at once, by a fleet spread out."""

REGISTER_SECONDS: Final = 300.0
"""How often the EdgeNode is read and compared; it is written only when it differs."""

WRITE_SECONDS: Final = 1.0
"""The least time between two writes of status, but for the end of an entry."""

PROGRESS_SECONDS: Final = 5.0
"""The least time between two writes that only move byte counts."""

log = logging.getLogger(__name__)


class Agent:
    """Everything but sockets, clocks and signals, which ``__main__`` gives."""

    def __init__(
        self,
        settings: AgentSettings,
        api: Api,
        *,
        version: str,
        make_kit: Callable[[Callable[[], None]], Kit],
        jitter: Callable[[], float],
    ) -> None:
        """``make_kit`` is given what to call when there is news, and returns what workers need."""
        self.settings = settings
        self.api = api
        self.version = version
        self.jitter = jitter
        self._news = asyncio.Event()
        self._heartbeat = asyncio.Event()
        self._kit = make_kit(self._news.set)
        self._all: Assignments

    async def run(self) -> None:
        """Run until cancelled. What is not caught here is a bug, and ends the process."""
        store.sweep(self.settings.root)
        server = None
        try:
            async with asyncio.TaskGroup() as group:
                self._all = Assignments(
                    self.settings.root, self._kit, lambda worker: group.create_task(worker.run())
                )
                if self.settings.metrics:
                    server = await metrics.serve(self.settings.metrics, self._figures)
                for part in (self._watch, self._report, self._register, self._beat):
                    group.create_task(part())
        finally:
            if server is not None:
                server.close()

    def _figures(self) -> str:
        states = Counter(str(entry.state) for entry in self._all.entries())
        return metrics.render(self._kit.counters, dict(states), self.version)

    async def _retry(self, what: str, call: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Do ``call``; on failure say so once per kind of failure, pause and return False."""
        try:
            await call()
        except (ApiError, msgspec.DecodeError, OSError, *UNREACHABLE) as e:
            self._kit.counters.api_failures += 1
            log.warning("%s: %s: %s", what, type(e).__name__, e)
            await asyncio.sleep(RETRY_SECONDS * (0.5 + 0.5 * self.jitter()))
            return False
        return True

    async def _watch(self) -> None:
        while True:
            await self._retry("watch", self._watch_once)

    async def _watch_once(self) -> None:
        self._kit.counters.watch_restarts += 1
        before = self._heartbeat_seconds()
        async for seen in self.api.watch_assignment(self.settings.node_name):
            self._all.accept(seen)
            if self._heartbeat_seconds() != before:
                before = self._heartbeat_seconds()
                self._heartbeat.set()

    def _heartbeat_seconds(self) -> int:
        current = self._all.current
        return current.spec.heartbeat_seconds if current else 300

    async def _beat(self) -> None:
        """Renew the Lease; a new period counts from now."""
        while True:
            if not await self._retry("lease", self._renew):
                continue
            seconds = self._heartbeat_seconds() * (0.9 + 0.1 * self.jitter())
            try:
                async with asyncio.timeout(seconds):
                    await self._heartbeat.wait()
            except TimeoutError:
                continue
            self._heartbeat.clear()

    async def _renew(self) -> None:
        await node.renew(
            self.api,
            self.settings.node_name,
            seconds=self._heartbeat_seconds(),
            now=_micro(self._kit.now()),
            counters=self._kit.counters,
        )

    async def _register(self) -> None:
        while True:
            if await self._retry("register", self._register_once):
                await asyncio.sleep(REGISTER_SECONDS * (0.9 + 0.1 * self.jitter()))

    async def _register_once(self) -> None:
        await node.register(
            self.api,
            self.settings.node_name,
            inventory.probe(self.settings.root),
            version=self.version,
            now=stamp(self._kit.now()),
            counters=self._kit.counters,
        )

    async def _report(self) -> None:
        """Bring the assignment's status in line: all entries in one write, none that changes nothing."""
        written = float("-inf")
        while True:
            await self._news.wait()
            self._news.clear()
            status = self._all.status(now=stamp(self._kit.now()))
            current = self._all.current
            if status is None or current is None or status == current.status:
                continue
            left = written + _gap(status, current.status) - self._kit.monotonic()
            if left > 0:
                await asyncio.sleep(min(left, 0.2))
                self._news.set()
                continue
            if not await self._retry("status", partial(self._write, current, status)):
                self._news.set()
            written = self._kit.monotonic()

    async def _write(self, current: NodeAssignment, status: AssignmentStatus) -> None:
        path = f"{ASSIGNMENTS}/{self.settings.node_name}"
        metadata = Metadata(name=self.settings.node_name, resource_version=current.metadata.resource_version)
        body = NodeAssignment(
            api_version=API_VERSION,
            kind="NodeAssignment",
            metadata=metadata,
            spec=current.spec,
            status=status,
        )
        try:
            seen = await self.api.call("PUT", f"{path}/status", NodeAssignment, body=body)
            self._kit.counters.status_writes += 1
        except ApiError as e:
            if e.status != 409:
                raise
            seen = await self.api.call("GET", path, NodeAssignment)
            self._news.set()
        self._all.accept(seen)


def _gap(new: AssignmentStatus, old: AssignmentStatus) -> float:
    if only_progress(new, old):
        return PROGRESS_SECONDS
    return 0.0 if has_ended(new, old) else WRITE_SECONDS


def _micro(moment: datetime) -> str:
    """Return the form of metav1.MicroTime."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
