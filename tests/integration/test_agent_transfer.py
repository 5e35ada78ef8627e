"""Transfers over real HTTP: cuts, caps, expiry, lies, and what is never asked for twice."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from edgewright_node import slots
from edgewright_node.agent import store
from edgewright_node.agent.errors import Refused, RetryLater, Superseded
from edgewright_node.agent.fetch import fetch_artifact
from edgewright_node.agent.gateway import Gateway
from edgewright_node.agent.verify import digest_of
from edgewright_node.reasons import Reason
from support.agent_builders import make_gateway
from support.artifact_builders import Artifact, lay_out, make_artifact
from support.gateway_simulator import GatewaySimulator, serving


@dataclass
class Job:
    """Wants the bytes until ``stop_after`` of them have arrived."""

    stop_after: int | None = None
    arrived: int = 0
    total: int = 0
    notes: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def check(self) -> None:
        if self.stop_after is not None and self.arrived >= self.stop_after:
            raise Superseded

    def note(self, reason: Reason | None, message: str) -> None:
        if reason is not None:
            self.notes.append(reason)

    def moved(self, count: int) -> None:
        self.arrived += count

    def sized(self, *, done: int, total: int) -> None:
        self.total = total

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


@dataclass
class Place:
    """A gateway, a client of it and an empty deployment."""

    simulator: GatewaySimulator
    gateway: Gateway
    where: slots.Deployment

    async def fetch(self, artifact: Artifact, job: Job | None = None, *, reserve: int = 0) -> None:
        digest = artifact.manifest_digest
        await fetch_artifact(self.gateway, self.where, digest, reserve=reserve, job=job or Job())

    def assert_here(self, artifact: Artifact) -> None:
        here = store.incoming(self.where, artifact.manifest_digest)
        assert {p.name: p.read_bytes() for p in here.iterdir()} == dict(artifact.files)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    simulator = GatewaySimulator({})
    where = slots.deployment(tmp_path, "vision", "digits")
    slots.create(where)
    async with serving(simulator), aiohttp.ClientSession() as session:
        yield Place(simulator, make_gateway(session, simulator.url), where)


def big_artifact(kib: int = 1024) -> Artifact:
    filler = np.random.default_rng(7).bytes(kib << 10)
    return make_artifact(replace={slots.MODEL_FILE: filler})


async def test_all_files_arrive_and_every_ticket_is_given_back(place: Place) -> None:
    artifact = make_artifact()
    place.simulator.blobs.update(artifact.blobs)
    await place.fetch(artifact)
    place.assert_here(artifact)
    assert place.simulator.open_tickets == {}
    assert all("Authorization" not in headers for headers in place.simulator.content_headers)


async def test_fifty_cuts_cost_next_to_nothing(place: Place) -> None:
    artifact = big_artifact()
    place.simulator.blobs.update(artifact.blobs)
    size = sum(len(content) for content in artifact.files.values())
    random = np.random.default_rng(3)
    place.simulator.cut_after = [int(n) for n in random.integers(1, 40_000, 50)]
    await place.fetch(artifact)
    place.assert_here(artifact)
    assert place.simulator.cut_after == []
    assert place.simulator.served <= 1.05 * size


async def test_a_cap_is_waited_for_as_long_as_was_said(place: Place) -> None:
    artifact, job = make_artifact(), Job()
    place.simulator.blobs.update(artifact.blobs)
    place.simulator.busy_answers, place.simulator.retry_after = 2, "7"
    await place.fetch(artifact, job)
    place.assert_here(artifact)
    assert (job.pauses, job.notes) == ([7.0, 7.0], ["GatewayBusy", "GatewayBusy"])


async def test_an_expired_url_is_renewed_and_the_transfer_goes_on(place: Place) -> None:
    artifact, job = big_artifact(), Job(stop_after=300_000)
    place.simulator.blobs.update(artifact.blobs)
    with pytest.raises(Superseded):
        await place.fetch(artifact, job)
    had = place.simulator.served
    place.simulator.expire_next = 2
    await place.fetch(artifact)
    place.assert_here(artifact)
    size = sum(len(content) for content in artifact.files.values())
    assert place.simulator.served - had < size - 250_000
    assert any(headers.get("Range", "bytes=0-") != "bytes=0-" for headers in place.simulator.content_headers)


async def test_a_store_without_ranges_begins_anew(place: Place) -> None:
    artifact = big_artifact(256)
    place.simulator.blobs.update(artifact.blobs)
    with pytest.raises(Superseded):
        await place.fetch(artifact, Job(stop_after=100_000))
    place.simulator.ignore_ranges = True
    await place.fetch(artifact)
    place.assert_here(artifact)


@pytest.mark.parametrize("file", [slots.MANIFEST_FILE, slots.MODEL_FILE, slots.CONFIG_FILE])
async def test_other_bytes_are_refused_and_dropped(place: Place, file: str) -> None:
    artifact = make_artifact()
    place.simulator.blobs.update(artifact.blobs)
    digest = next(d for d, content in artifact.blobs.items() if content == artifact.files[file])
    content = artifact.files[file]
    place.simulator.blobs[digest] = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(RetryLater) as caught:
        await place.fetch(artifact)
    assert caught.value.reason is Reason.DIGEST_MISMATCH
    place.simulator.blobs[digest] = content
    await place.fetch(artifact)
    place.assert_here(artifact)


async def test_bytes_that_a_power_cut_damaged_are_fetched_anew(place: Place) -> None:
    artifact = big_artifact(128)
    place.simulator.blobs.update(artifact.blobs)
    with pytest.raises(Superseded):
        await place.fetch(artifact, Job(stop_after=60_000))
    part = store.incoming(place.where, artifact.manifest_digest) / "model.onnx.part"
    part.write_bytes(bytes(part.stat().st_size))
    await place.fetch(artifact)
    place.assert_here(artifact)


async def test_more_than_was_promised_is_refused(place: Place) -> None:
    artifact = make_artifact()
    place.simulator.blobs.update(artifact.blobs)
    place.simulator.blobs[artifact.model_digest] += b"more"
    with pytest.raises(RetryLater, match="not"):
        await place.fetch(artifact)


async def test_what_another_slot_has_is_not_fetched(place: Place) -> None:
    old = make_artifact(seed=1)
    same_model = {slots.MODEL_FILE: old.files[slots.MODEL_FILE]}
    new = make_artifact(seed=2, replace=same_model)
    lay_out(place.where.slot(slots.SLOT_A), old)
    place.simulator.blobs.update(new.blobs)
    await place.fetch(new)
    place.assert_here(new)
    assert new.model_digest not in place.simulator.tickets
    ours = store.incoming(place.where, new.manifest_digest) / slots.MODEL_FILE
    assert ours.samefile(place.where.slot(slots.SLOT_A) / slots.MODEL_FILE)


async def test_a_damaged_file_of_another_slot_is_not_reused(place: Place) -> None:
    artifact = make_artifact(seed=1)
    lay_out(place.where.slot(slots.SLOT_A), artifact)
    kept = place.where.slot(slots.SLOT_A) / slots.MODEL_FILE
    kept.write_bytes(bytes(kept.stat().st_size))
    new = make_artifact(seed=2, replace={slots.MODEL_FILE: artifact.files[slots.MODEL_FILE]})
    place.simulator.blobs.update(new.blobs)
    await place.fetch(new)
    place.assert_here(new)


async def test_what_cannot_fit_is_refused_before_its_first_byte(place: Place) -> None:
    artifact = make_artifact()
    place.simulator.blobs.update(artifact.blobs)
    with pytest.raises(RetryLater, match="bytes too few") as caught:
        await place.fetch(artifact, reserve=1 << 60)
    assert caught.value.reason is Reason.INSUFFICIENT_DISK
    assert place.simulator.tickets == [artifact.manifest_digest]


async def test_a_manifest_of_another_kind_is_refused_for_good(place: Place) -> None:
    digest = digest_of(b"{}")
    place.simulator.blobs[digest] = b"{}"
    with pytest.raises(Refused):
        await fetch_artifact(place.gateway, place.where, digest, reserve=0, job=Job())


async def test_a_wrong_token_is_said_and_tried_again(place: Place) -> None:
    artifact, job = make_artifact(), Job()
    place.simulator.blobs.update(artifact.blobs)
    place.simulator.token = "rotated"

    async def rotate() -> None:
        while not job.notes:
            await asyncio.sleep(0.001)
        place.simulator.token = "node-token"

    async with asyncio.TaskGroup() as group:
        group.create_task(rotate())
        group.create_task(place.fetch(artifact, job))
    place.assert_here(artifact)
    assert set(job.notes) == {"GatewayRefused"}


async def test_only_a_whole_verified_set_becomes_a_slot(place: Place) -> None:
    artifact = make_artifact()
    place.simulator.blobs.update(artifact.blobs)
    await place.fetch(artifact)
    here = store.incoming(place.where, artifact.manifest_digest)
    (here / slots.MODEL_FILE).write_bytes(b"damaged")
    with pytest.raises(RetryLater):
        store.seal(place.where, artifact.manifest_digest)
    assert store.observe(place.where).complete == {}
    await place.fetch(artifact)
    store.seal(place.where, artifact.manifest_digest)
    assert store.observe(place.where).complete == {"slot-a": artifact.manifest_digest}
