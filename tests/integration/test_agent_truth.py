"""What an agent says when servers go, come back and stray: its worker, a real trial, files that servers write."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from edgewright_node import slots
from edgewright_node.agent.situation import Limits
from edgewright_node.agent.worker import Worker
from edgewright_node.states import State
from support.agent_builders import make_entry, make_gateway, make_kit
from support.artifact_builders import make_artifact
from support.gateway_simulator import GatewaySimulator, serving
from support.server_simulator import ServerSimulator, answering

ARTIFACT = make_artifact()
LIMITS = Limits(trial_seconds=20, confirm_seconds=20, astray_seconds=0.3)


def utc_now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - reports must be fresh by the real clock


@asynccontextmanager
async def running_worker(root: Path) -> AsyncIterator[tuple[Worker, list[int]]]:
    """Run one worker; the list gets an item whenever it has something to report."""
    news: list[int] = []
    async with serving(GatewaySimulator(dict(ARTIFACT.blobs))) as gateway, aiohttp.ClientSession() as session:
        kit = make_kit(
            root,
            make_gateway(session, gateway.url),
            time.monotonic,
            utc_now,
            trial_command=(sys.executable, "-I", "-m", "edgewright_node", "trial"),
            limits=LIMITS,
            changed=lambda: news.append(1),
        )
        worker = Worker(slots.deployment(root, "vision", "digits"), kit)
        worker.order(make_entry(manifest_digest=ARTIFACT.manifest_digest))
        task = asyncio.create_task(worker.run())
        try:
            yield worker, news
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


async def test_servers_go_come_back_and_stray(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as (worker, news):
        server = ServerSimulator(worker.where, utc_now)
        async with answering(server):
            await until(lambda: worker.journal.state is State.CONFIRMED)
            assert (worker.journal.proven_by, worker.journal.reason) == ("golden", "Complete")
        slots.remove_server_report(worker.where, "sim")
        await until(lambda: worker.journal.reason == "ServersAbsent")
        assert (worker.journal.state, worker.journal.proven_by) == (State.CONFIRMED, "trial")

        before = len(news)
        await asyncio.sleep(6)  # longer than the worker rests
        assert len(news) == before, "an absence is told once"

        async with answering(server):
            await until(lambda: worker.journal.proven_by == "golden")
            assert worker.journal.reason == "Complete"
            server.refuse_active = {ARTIFACT.manifest_digest}
            await until(lambda: worker.journal.state is State.FAILED)
            assert (worker.journal.reason, worker.journal.retry) == ("NotConfirmed", True)
            server.refuse_active = set()
            await until(lambda: worker.journal.state is State.CONFIRMED)
