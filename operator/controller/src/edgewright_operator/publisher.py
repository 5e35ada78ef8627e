"""The publisher: the one way from a builder's staging directory to what nodes may run.

It hashes every byte that a builder wrote, decides with its own function from the outcomes, and writes names
that contain digests before the names that point to them. Each of its writes may be repeated: the same build
gives the same bytes, so a publisher that was killed simply starts again.
"""

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from edgewright_api.accepting import Accepted, ReportInvalidError, accept
from edgewright_api.assembly import Assembly, Decide, Package, assemble
from edgewright_api.cachekeys import Walk
from edgewright_api.canonical import canonical_json, digest_bytes
from edgewright_api.decide import decide_target
from edgewright_api.modelrevision import ModelRevisionSpec
from edgewright_api.plan import BuildPlan, PassNode, Step
from edgewright_api.readings import EVIDENCE_OUTPUTS, EvidenceInvalid, require_readable
from edgewright_api.report import BuildReport, CacheRecord, staging_name
from edgewright_operator.store import (
    ObjectNotFoundError,
    ObjectStore,
    StoreUnavailableError,
    blob_key,
    cache_key,
    index_key,
    manifest_key,
    staging_key,
)

REPORT: Final = "report"
_MAX_REPORT_BYTES: Final = 16 << 20


def step_file(uid: str, step: Step, node_id: str) -> str:
    """Return the name in the store where a step of a build writes a node's output, or its ``report``."""
    return staging_key(uid, f"{step.value.lower()}/{staging_name(node_id)}")


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes passes and revisions. ``decide`` is the product's own rule; only a test gives another one."""

    store: ObjectStore
    work_dir: Path
    decide: Decide = decide_target

    async def accept_step(self, plan: BuildPlan, walk: Walk, *, uid: str, step: Step) -> Accepted:
        """Verify what a step wrote, and publish it to the cache: bytes first, then the record.

        Raises:
            ReportInvalidError: something does not fit; nothing was published.
            StoreUnavailableError: the store did not answer; what was published so far stays, and is right.
        """
        accepted = accept(await self._report(uid, step), plan, walk, uid=uid, step=step)
        with tempfile.TemporaryDirectory(dir=self.work_dir, prefix="publish-") as directory:
            files: dict[str, Path] = {}
            for number, (node_id, record) in enumerate(accepted.records.items()):
                if record.output is not None:
                    files[node_id] = Path(directory) / str(number)
                    await self._fetch(step_file(uid, step, node_id), record, files[node_id])
                    _require_readable(plan.node(node_id), files[node_id])
            for node_id, record in accepted.records.items():
                if record.output is not None:
                    # From the file that was hashed: a copy within the store could see bytes changed since.
                    await self.store.upload(files[node_id], blob_key(record.output))
                await self.store.put(cache_key(record.key), canonical_json(record.to_wire()))
        return accepted

    async def publish(
        self, namespace: str, revision: str, spec: ModelRevisionSpec, plan: BuildPlan, walk: Walk
    ) -> Assembly:
        """Decide, and publish what was accepted: files, then manifests, then the index that names them.

        Raises:
            ReportInvalidError: a pass gave bytes that are no evidence.
            StoreUnavailableError: the store did not answer, or lost or damaged a blob.
        """
        evidence = await self._evidence(plan, walk)
        try:
            assembly = assemble(spec, plan, walk, evidence, self.decide)
        except EvidenceInvalid as error:
            raise ReportInvalidError(str(error)) from error
        for package in assembly.packages:
            await self._publish_package(package)
        await self.store.put(index_key(namespace, spec.model, revision), assembly.index)
        return assembly

    async def clear(self, uid: str) -> None:
        """Remove what a build staged."""
        for key, _ in await self.store.names(staging_key(uid, "")):
            await self.store.delete(key)

    async def _report(self, uid: str, step: Step) -> BuildReport:
        key = step_file(uid, step, REPORT)
        info = await self.store.head(key)
        if info is None:
            raise ReportInvalidError(f"there is none of {step}")
        if info.size > _MAX_REPORT_BYTES:
            raise ReportInvalidError(f"it has {info.size} bytes")
        try:
            return BuildReport.model_validate_json(await self.store.get(key))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ReportInvalidError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error

    async def _fetch(self, key: str, record: CacheRecord, path: Path) -> None:
        """Download a staged output and hold it to what the report says of it."""
        try:
            found = await self.store.download(key, path, max_bytes=record.size_bytes)
        except ObjectNotFoundError as error:
            raise ReportInvalidError(f"the output of {record.pass_name} is not in staging") from error
        except ValueError as error:
            raise ReportInvalidError(f"the output of {record.pass_name} is larger than reported") from error
        if (found.digest, found.size) != (record.output, record.size_bytes):
            raise ReportInvalidError(f"the output of {record.pass_name} has not the digest that it claims")

    async def _evidence(self, plan: BuildPlan, walk: Walk) -> Mapping[str, bytes]:
        digests = {
            record.output
            for node in plan.nodes
            if node.output in EVIDENCE_OUTPUTS
            and (record := walk.known.get(node.id)) is not None
            and record.output is not None
        }
        ordered = sorted(digests)
        contents = await asyncio.gather(*(self._blob(digest) for digest in ordered))
        return dict(zip(ordered, contents, strict=True))

    async def _blob(self, digest: str) -> bytes:
        try:
            data = await self.store.get(blob_key(digest))
        except ObjectNotFoundError as error:
            raise StoreUnavailableError(f"the object store has lost {digest}") from error
        if digest_bytes(data) != digest:
            raise StoreUnavailableError(f"the content of {digest} is damaged in the object store")
        return data

    async def _publish_package(self, package: Package) -> None:
        for content in (package.config, package.report):
            await self.store.put(blob_key(digest_bytes(content)), content)
        for digest in (package.model, package.golden):
            if await self.store.head(blob_key(digest)) is None:
                raise StoreUnavailableError(f"the object store has lost {digest}")
        await self.store.put(manifest_key(package.digest), package.manifest)


def _require_readable(node: PassNode, path: Path) -> None:
    """Read evidence before it is remembered: a record of what can't be read would stop the build for ever."""
    if node.output not in EVIDENCE_OUTPUTS:
        return
    try:
        require_readable(node.output, path.read_bytes())
    except EvidenceInvalid as error:
        raise ReportInvalidError(f"{node.id}: {error}") from error
