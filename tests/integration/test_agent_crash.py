"""The power goes at every point of an update: one slot serves at any time, and the agent ends where it should."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from edgewright_node import slots
from edgewright_node.agent import store
from edgewright_node.agent.worker import Worker
from edgewright_node.states import State
from support.agent_builders import make_entry, make_gateway, make_kit
from support.artifact_builders import Artifact, make_artifact
from support.gateway_simulator import GatewaySimulator, serving
from support.server_simulator import ServerSimulator, answering

OLD, NEW = make_artifact(seed=1), make_artifact(seed=2)


class PowerCut(BaseException):
    """Not an Exception: nothing in the agent may catch it."""


def utc_now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - reports must be fresh by the real clock


@dataclass
class Fault:
    """Cuts the power at the n-th point, once; counts them in any case."""

    at: int | None = None
    points: list[str] = field(default_factory=list)

    def __call__(self, point: str) -> None:
        self.points.append(point)
        if len(self.points) - 1 == self.at:
            raise PowerCut(point)


@dataclass
class Bench:
    """One deployment whose agent may be started over and over."""

    root: Path
    session: aiohttp.ClientSession
    gateway: GatewaySimulator
    server: ServerSimulator

    @property
    def where(self) -> slots.Deployment:
        return self.server.where

    async def drive(
        self, artifact: Artifact, until: State, fault: Callable[[str], None] | None = None
    ) -> Worker:
        """Run a new agent until the state is reached or the power goes."""
        gateway = make_gateway(self.session, self.gateway.url)
        kit = make_kit(self.root, gateway, time.monotonic, utc_now, fault=fault or Fault())
        worker = Worker(self.where, kit)
        worker.order(make_entry(manifest_digest=artifact.manifest_digest))
        running = asyncio.create_task(_contain(worker.run))
        async with asyncio.timeout(15):
            while not running.done():
                if worker.journal.state is until and worker.journal.wanted == artifact.manifest_digest:
                    break
                await asyncio.sleep(0.002)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return worker

    def assert_one_serves(self) -> None:
        disk = store.observe(self.where)
        assert disk.active is not None
        store.check_files(self.where.slot(disk.active), disk.complete[disk.active])


async def _contain(run: Callable[[], Awaitable[None]]) -> None:
    """The cut ends the agent, not the event loop that the test shares with it."""
    with suppress(PowerCut):
        await run()


async def with_bench(tmp_path: Path, play: Callable[[Bench], Awaitable[None]]) -> None:
    gateway = GatewaySimulator({**OLD.blobs, **NEW.blobs})
    where = slots.deployment(tmp_path, "vision", "digits")
    server = ServerSimulator(where, utc_now)
    async with serving(gateway), aiohttp.ClientSession() as session, answering(server):
        bench = Bench(tmp_path, session, gateway, server)
        await bench.drive(OLD, State.CONFIRMED)
        await play(bench)


async def count_points(tmp_path: Path) -> list[str]:
    fault = Fault()

    async def play(bench: Bench) -> None:
        await bench.drive(NEW, State.CONFIRMED, fault)

    await with_bench(tmp_path, play)
    return fault.points


@pytest.mark.slow
async def test_the_power_may_go_anywhere_in_an_update(tmp_path: Path) -> None:
    points = await count_points(tmp_path / "count")
    assert {"before Fetch", "after Seal", "linked", "after OfferTrial", "journalled Confirmed"} <= set(points)
    for at, point in enumerate(points):

        async def play(bench: Bench, at: int = at, point: str = point) -> None:
            fault = Fault(at)
            await bench.drive(NEW, State.CONFIRMED, fault)
            bench.assert_one_serves()
            worker = await bench.drive(NEW, State.CONFIRMED)
            assert worker.journal.running == NEW.manifest_digest, point
            assert bench.server.served == [OLD.manifest_digest, NEW.manifest_digest], point
            bench.assert_one_serves()

        await with_bench(tmp_path / str(at), play)


@pytest.mark.slow
async def test_the_power_may_go_anywhere_while_going_back(tmp_path: Path) -> None:
    """The trial passes and the servers fail the swap: the worst moment to lose power."""
    fault = Fault()

    async def spoilt(bench: Bench, fault: Fault) -> None:
        bench.server.refuse_active = {NEW.manifest_digest}
        await bench.drive(NEW, State.FAILED, fault)
        bench.assert_one_serves()
        worker = await bench.drive(NEW, State.FAILED)
        assert (worker.journal.running, worker.journal.reason) == (OLD.manifest_digest, "RolledBack")
        disk = store.observe(bench.where)
        assert disk.active is not None
        assert disk.complete[disk.active] == OLD.manifest_digest

    await with_bench(tmp_path / "count", partial(spoilt, fault=fault))
    assert "journalled Returning" in fault.points
    for at in range(len(fault.points)):
        await with_bench(tmp_path / str(at), partial(spoilt, fault=Fault(at)))


async def test_a_model_on_whose_trial_the_agent_dies_is_refused(tmp_path: Path) -> None:
    async def play(bench: Bench) -> None:
        def dies_on_trial(point: str) -> None:
            if point == "after OfferTrial":
                raise PowerCut(point)

        for _ in range(6):
            worker = await bench.drive(NEW, State.FAILED, dies_on_trial)
            slots.write_want(bench.where, slots.Want(served_name="digits", active=_active(bench)))
        assert (worker.journal.reason, worker.journal.running) == ("TrialInterrupted", OLD.manifest_digest)

    await with_bench(tmp_path, play)


def _active(bench: Bench) -> slots.SlotRef:
    want = slots.read_want(bench.where)
    assert isinstance(want, slots.Want)
    assert want.active is not None
    return want.active


@pytest.mark.parametrize("at", range(12))
async def test_the_power_may_go_while_removing(tmp_path: Path, at: int) -> None:
    async def play(bench: Bench) -> None:
        gone = make_entry(manifest_digest=OLD.manifest_digest, state="Remove")
        for fault in (Fault(at), Fault()):
            gateway = make_gateway(bench.session, bench.gateway.url)
            worker = Worker(bench.where, make_kit(bench.root, gateway, time.monotonic, utc_now, fault=fault))
            worker.order(gone)
            running = asyncio.create_task(_contain(worker.run))
            async with asyncio.timeout(10):
                while not running.done() and worker.journal.state is not State.REMOVED:
                    await asyncio.sleep(0.002)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
        assert not bench.where.path.exists()

    await with_bench(tmp_path, play)
