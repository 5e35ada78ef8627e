"""From a source in the bucket to a published index, with the real builder and a real object store."""

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from edgewright_api.accepting import ReportInvalidError
from edgewright_api.assembly import Decide
from edgewright_api.base import ObjectMeta
from edgewright_api.canonical import digest_bytes
from edgewright_api.decide import decide_target
from edgewright_api.edgemodel import BuildProgress
from edgewright_api.errors import StalledError, TransientError
from edgewright_api.modelrevision import ModelRevision, ModelRevisionSpec
from edgewright_api.plan import ACCEPTANCE, SOURCE, Step
from edgewright_api.reasons import Reason
from edgewright_api.recipes import expand
from edgewright_api.report import BuilderDescription, Job
from edgewright_api.verdicts import Verdict
from edgewright_lab.store import Store
from edgewright_operator.builds import RunningBuilds
from edgewright_operator.cluster.builds import LocalExecutor, Progress
from edgewright_operator.publisher import REPORT, step_file
from edgewright_operator.sources import Sources
from edgewright_operator.store import ObjectStore, blob_key, index_key, manifest_key
from support.api_builders import target
from support.publisher_builders import (
    CountingExecutor,
    digits_revision,
    ignore,
    make_builder,
    object_store,
)
from support.ungated_operator import accept_all


@dataclass(frozen=True)
class Site:
    """One installation's prefix of the bucket, and a place for temporary files."""

    lab: Store
    store: ObjectStore
    work: Path


@pytest.fixture
async def site(store: Store, tmp_path: Path) -> AsyncIterator[Site]:
    async with object_store(store, f"site-{uuid.uuid4().hex[:8]}/") as mine:
        yield Site(store, mine, tmp_path)


async def everything(site: Site) -> dict[str, bytes]:
    """Return what the installation keeps, staging left out."""
    names = [name for name, _ in await site.store.names("") if not name.startswith("staging/")]
    return {name: await site.store.get(name) for name in names}


async def build(site: Site, spec: ModelRevisionSpec, decide: Decide = decide_target) -> tuple[Any, list[Job]]:
    executor = CountingExecutor(site.work)
    builder = make_builder(site.store, site.work, executor, decide)
    return await builder.build("vision", "digits-1", spec, ignore), executor.jobs


async def test_a_build_is_published_once_and_known_afterwards(site: Site) -> None:
    spec = await digits_revision(site.lab, site.store, site.work)
    seen: list[BuildProgress] = []
    executor = CountingExecutor(site.work)
    published = await make_builder(site.store, site.work, executor).build(
        "vision", "digits-1", spec, seen.append
    )

    assert [job.step for job in executor.jobs] == [Step.TRANSFORM, Step.EVALUATE]
    transform, evaluate = executor.jobs
    assert spec.data.acceptance.digest not in transform.reads
    assert spec.data.acceptance.digest in evaluate.reads
    assert spec.source.digest in evaluate.reads
    assert published.passes_cached == 0
    assert published.passes_run == len(transform.plan.nodes)
    assert seen[-1].passes_done == seen[-1].passes_total == published.passes_run
    assert published.interface is not None

    (result,) = published.targets
    assert result.verdict is Verdict.ACCEPTED, result.message
    index = await site.store.get(index_key("vision", "digits", "digits-1"))
    assert digest_bytes(index) == published.index_digest
    (entry,) = json.loads(index)["manifests"]
    assert entry["digest"] == result.manifest_digest
    manifest = await site.store.get(manifest_key(entry["digest"]))
    assert digest_bytes(manifest) == entry["digest"]
    total = len(manifest)
    for part in [json.loads(manifest)["config"], *json.loads(manifest)["layers"]]:
        content = await site.store.get(blob_key(part["digest"]))
        assert (digest_bytes(content), len(content)) == (part["digest"], part["size"])
        total += len(content)
    assert result.size_bytes == total
    assert not await site.store.names("staging/")

    before = await everything(site)
    again, jobs = await build(site, spec)
    assert jobs == []
    assert (again.passes_run, again.targets) == (0, published.targets)
    assert await everything(site) == before


async def test_only_what_depends_on_a_change_runs_again(site: Site) -> None:
    spec = await digits_revision(site.lab, site.store, site.work)
    await build(site, spec)
    changed = await digits_revision(site.lab, site.store, site.work, calibrate=101)
    _, jobs = await build(site, changed)
    ran = {name for job in jobs for name in job.writes} - {REPORT}
    assert "calibrate" in ran
    assert "baseline/predict" in ran  # it holds both sets against each other
    assert not ran & {"ingest", "canonicalize", "infer-shapes", "float/optimize-graph"}


async def test_addresses_are_signed_when_there_is_a_place(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are good for a while only, and a build may wait in line for longer."""
    spec = await digits_revision(site.lab, site.store, site.work)
    executor, events = CountingExecutor(site.work), list[str]()
    sign = site.store.presign_put

    def signing(key: str, seconds: int) -> str:
        events.append("signed")
        return sign(key, seconds)

    @asynccontextmanager
    async def waiting() -> AsyncIterator[None]:
        events.append("waits")
        yield

    monkeypatch.setattr(site.store, "presign_put", signing)
    monkeypatch.setattr(executor, "place", waiting)
    await make_builder(site.store, site.work, executor).build("vision", "digits-1", spec, ignore)
    assert [event for event, _ in groupby(events)] == ["waits", "signed"] * 2


class Interrupted(CountingExecutor):
    """An operator that is killed before its second step."""

    async def run(self, job: Job, progress: Progress) -> None:
        if job.step is Step.EVALUATE:
            raise asyncio.CancelledError
        await super().run(job, progress)


async def test_what_was_published_before_a_kill_is_not_done_again(site: Site) -> None:
    spec = await digits_revision(site.lab, site.store, site.work)
    builder = make_builder(site.store, site.work, Interrupted(site.work))
    with pytest.raises(asyncio.CancelledError):
        await builder.build("vision", "digits-1", spec, ignore)
    published, jobs = await build(site, spec)
    assert [job.step for job in jobs] == [Step.EVALUATE]
    assert published.passes_cached == sum(node.step is Step.TRANSFORM for node in jobs[0].plan.nodes)


async def test_reconcilers_ask_without_waiting(site: Site) -> None:
    spec = await digits_revision(site.lab, site.store, site.work, optimization={"recipe": "Float"})
    told: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    builder = make_builder(site.store, site.work, CountingExecutor(site.work))
    builds = RunningBuilds(
        builder,
        lambda namespace, name: told.put_nowait((namespace, name)),
        asyncio.get_running_loop().time,
    )
    meta = ObjectMeta(name="digits-1", namespace="vision", uid="u1")
    revision = ModelRevision(metadata=meta, spec=spec)

    state = builds.ensure(revision)
    assert (state.published, state.failure) == (None, None)
    while (state := builds.ensure(revision)).published is None:
        assert state.failure is None
        assert await told.get() == ("vision", "digits-1")
    assert state.published.targets[0].verdict is Verdict.ACCEPTED
    assert state.progress.passes_done == state.progress.passes_total

    builds.forget("vision", "digits-1")
    assert builds.ensure(revision).published is None
    again = ModelRevision(metadata=meta.model_copy(update={"uid": "u2"}), spec=spec)
    assert builds.ensure(again).published is None
    await builds.close()


class Tampering(CountingExecutor):
    """A builder gone wrong: after a step it writes what it should not."""

    def __init__(self, site: Site, node: str, content: bytes | None = None) -> None:
        super().__init__(site.work)
        self._site, self._node, self._content = site, node, content

    async def run(self, job: Job, progress: Progress) -> None:
        await super().run(job, progress)
        if self._node not in job.writes:
            return
        key = step_file(job.build_uid, job.step, self._node)
        if self._content is None:
            await self._site.store.delete(key)
        else:
            await self._site.store.put(key, self._content)


@pytest.mark.parametrize("content", [b"", b"\x00" * 600, None], ids=["empty", "other-bytes", "missing"])
async def test_bytes_that_are_not_what_they_claim_are_refused(site: Site, content: bytes | None) -> None:
    spec = await digits_revision(site.lab, site.store, site.work)
    executor = Tampering(site, "static-int8-r7/optimize-graph", content)
    before = await everything(site)
    with pytest.raises(ReportInvalidError) as caught:
        await make_builder(site.store, site.work, executor).build("vision", "digits-1", spec, ignore)
    assert caught.value.reason is Reason.BUILDER_REPORT_INVALID
    assert await everything(site) == before
    assert not await site.store.names("staging/")


async def test_a_builder_can_not_write_where_it_was_not_asked_to(site: Site) -> None:
    """The pre-signed URL of one name does not open another."""
    spec = await digits_revision(site.lab, site.store, site.work)
    _, jobs = await build(site, spec)
    url = next(iter(jobs[0].writes.values()))
    other = url.replace("/staging/", "/blobs/", 1)
    assert other != url
    process = await asyncio.create_subprocess_exec(
        "python3", "-c", "import sys,urllib.request as r; r.urlopen(r.Request(sys.argv[1],b'x',method='PUT'))", other,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, words = await process.communicate()
    assert process.returncode != 0
    assert b"403" in words


async def test_the_builders_own_opinion_is_not_asked_for(site: Site) -> None:
    """Outcomes that say the artifact is always wrong give a rejection, whatever the facts claim."""
    spec = await digits_revision(site.lab, site.store, site.work, optimization={"recipe": "Float"})
    executor = Lying(site)
    published = await make_builder(site.store, site.work, executor).build("vision", "digits-1", spec, ignore)
    (result,) = published.targets
    assert (result.verdict, result.reason) == (Verdict.REJECTED, Reason.ACCURACY_DROP_TOO_LARGE)
    assert published.index_digest is None
    assert json.loads(await site.store.get(index_key("vision", "digits", "digits-1")))["manifests"] == []


@pytest.mark.parametrize(
    ("node", "content"),
    [("/top1", b"\x04" * 600), ("/check-safety", b"[" * 60_000), ("/top1", b"\x03" * 599)],
    ids=["no-outcomes", "endless-nesting", "a-sample-left-out"],
)
async def test_evidence_that_can_not_be_read_is_not_remembered(site: Site, node: str, content: bytes) -> None:
    spec = await digits_revision(site.lab, site.store, site.work, optimization={"recipe": "StaticInt8"})
    changes = {"targets": [target(), target("x86-64-vnni", "X86Vnni")]}
    spec = spec.model_validate(spec.to_wire() | changes)
    executor = Lying(site, node, content)
    with pytest.raises(ReportInvalidError):
        await make_builder(site.store, site.work, executor).build("vision", "digits-1", spec, ignore)
    kept = {
        json.loads(data)["passName"]
        for name, data in (await everything(site)).items()
        if name.startswith("cache/")
    }
    assert not kept & {"evaluate-top1", "check-safety"}
    published, _ = await build(site, spec)
    assert Verdict.FAILED not in {t.verdict for t in published.targets}


class Lying(CountingExecutor):
    """A builder whose evidence is made up and whose facts are splendid; its report is consistent otherwise."""

    def __init__(self, site: Site, node: str = "/top1", content: bytes = b"\x01" * 600) -> None:
        super().__init__(site.work)
        self._site, self._node, self._content = site, node, content

    async def run(self, job: Job, progress: Progress) -> None:
        await super().run(job, progress)
        if job.step is not Step.EVALUATE:
            return
        bad = self._content
        name = next(n for n in job.writes if n.endswith(self._node))
        await self._site.store.put(step_file(job.build_uid, job.step, name), bad)
        key = step_file(job.build_uid, job.step, REPORT)
        report = json.loads(await self._site.store.get(key))
        for result in report["results"]:
            if result["id"] == name:
                result |= {"output": digest_bytes(bad), "sizeBytes": len(bad)}
                result["facts"] |= {"verdict": "Accepted", "artifactRight": 600, "regressions": 0}
        await self._site.store.put(key, json.dumps(report).encode())


async def test_a_planted_fault_is_rejected_and_ships_only_past_the_gate(site: Site) -> None:
    optimization = {"recipe": "StaticInt8", "faultDrill": "TransposedWeights"}
    spec = await digits_revision(site.lab, site.store, site.work, optimization=optimization)
    published, _ = await build(site, spec)
    assert published.targets[0].verdict is Verdict.REJECTED
    assert published.index_digest is None

    forced, jobs = await build(site, spec, accept_all)
    assert jobs == []
    assert forced.targets[0].manifest_digest is not None
    assert forced.index_digest is not None


async def test_a_step_that_hangs_is_ended_with_all_that_it_started(site: Site) -> None:
    """Cancelling a build leaves no process behind."""
    spec = await digits_revision(site.lab, site.store, site.work)
    mark = f"marker-{uuid.uuid4().hex}"
    script = (
        f"import subprocess,sys; subprocess.run([sys.executable,'-c','import time; time.sleep(60) # {mark}'])"
    )
    hanging = LocalExecutor(
        command=("python3", "-c", script), work_dir=site.work, search_path="/usr/bin:/bin"
    )
    described = await CountingExecutor(site.work).describe()
    job = Job(build_uid="x", step=Step.TRANSFORM, plan=expand(spec, described), known={}, reads={}, writes={})
    task = asyncio.create_task(hanging.run(job, lambda event: None))
    while not _running(mark):
        await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not _running(mark)


@pytest.mark.parametrize("how", ["quiet", "holding-our-pipes"])
async def test_a_step_that_forks_into_another_session_leaves_nothing(site: Site, how: str) -> None:
    spec = await digits_revision(site.lab, site.store, site.work)
    mark = f"marker-{uuid.uuid4().hex}"
    ready = site.work / "ready"
    script = site.work / "leaving.py"
    script.write_text(
        f"""
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        if {how!r} == "quiet":
            os.close(1)
            os.close(2)
        code = "import time; open({str(ready)!r}, 'w'); time.sleep(60) # {mark}"
        os.execv(sys.executable, [sys.executable, "-c", code])
    os._exit(0)
while not os.path.exists({str(ready)!r}):
    time.sleep(0.02)
"""
    )
    executor = LocalExecutor(
        command=(sys.executable, str(script)), work_dir=site.work, search_path="/usr/bin:/bin"
    )
    described = await CountingExecutor(site.work).describe()
    job = Job(build_uid="x", step=Step.TRANSFORM, plan=expand(spec, described), known={}, reads={}, writes={})
    async with asyncio.timeout(20):
        await executor.run(job, lambda event: None)
    assert ready.exists()
    assert not _running(mark)
    assert not list(site.work.glob("job-*"))


def _running(mark: str) -> bool:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(mark.encode() in a and b"sleep(60) #" in a and b"subprocess" not in a for a in arguments):
            found.append(path)
    return bool(found)


async def test_a_builder_that_breaks_down_is_tried_again(site: Site) -> None:
    spec = await digits_revision(site.lab, site.store, site.work)
    script = "import sys; print('no memory', file=sys.stderr); sys.exit(7)"
    executor = CountingExecutor(site.work, ("python3", "-c", script))
    with pytest.raises(TransientError) as caught:
        await make_builder(site.store, site.work, executor).build("vision", "digits-1", spec, ignore)
    assert caught.value.reason is Reason.BUILDER_FAILED
    assert "status 7: no memory" in caught.value.what


class Replaced(CountingExecutor):
    """A builder that is replaced by one with another tool version after it has described itself."""

    def __init__(self, work_dir: Path) -> None:
        super().__init__(work_dir)
        self.described = 0
        self._ask = self.describe
        self.describe = self._describe

    async def _describe(self) -> BuilderDescription:
        self.described += 1
        found = await self._ask()
        if self.described > 1:
            return found
        toolchains = {name: tools | {"numpy": "0.1"} for name, tools in found.toolchains.items()}
        return found.model_copy(update={"toolchains": toolchains})


async def test_a_builder_that_was_replaced_is_asked_anew(site: Site) -> None:
    spec = await digits_revision(site.lab, site.store, site.work, optimization={"recipe": "Float"})
    executor = Replaced(site.work)
    builder = make_builder(site.store, site.work, executor)
    with pytest.raises(TransientError, match=r"made for numpy 0\.1") as caught:
        await builder.build("vision", "digits-1", spec, ignore)
    assert caught.value.reason is Reason.TOOLCHAIN_MISMATCH
    published = await builder.build("vision", "digits-1", spec, ignore)
    assert published.targets[0].verdict is Verdict.ACCEPTED
    assert executor.described == 2


async def test_a_source_that_is_no_model_fails_every_target_and_is_remembered(site: Site) -> None:
    path = site.work / "notes.txt"
    path.write_text("<html>this is no model</html>")
    uri = site.lab.upload(path, "inputs/notes.txt")
    found = await Sources(site.store, site.work).resolve(uri)
    spec = await digits_revision(site.lab, site.store, site.work, source=found.to_wire())
    assert spec.source.digest == found.digest
    published, jobs = await build(site, spec)
    assert [job.plan.contents[SOURCE] for job in jobs] == [found.digest]
    assert all(ACCEPTANCE not in job.reads for job in jobs)
    assert (published.targets[0].verdict, published.targets[0].reason) == (
        Verdict.FAILED,
        Reason.FORMAT_NOT_SUPPORTED,
    )
    again, jobs = await build(site, spec)
    assert (jobs, again.targets) == ([], published.targets)


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("s3://another-bucket/model.onnx", StalledError),
        ("s3://{bucket}/{prefix}blobs/sha256/00", StalledError),
        ("s3://{bucket}/nothing/here.onnx", TransientError),
    ],
    ids=["another-bucket", "internal", "absent"],
)
async def test_a_source_that_can_not_be_read(site: Site, uri: str, kind: type[Exception]) -> None:
    uri = uri.format(bucket=site.lab.bucket, prefix=site.store.prefix)
    with pytest.raises(kind) as caught:
        await Sources(site.store, site.work).resolve(uri)
    assert getattr(caught.value, "reason") is Reason.SOURCE_NOT_READABLE  # noqa: B009
