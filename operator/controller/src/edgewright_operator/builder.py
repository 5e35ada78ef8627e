"""Builds one revision: finds what is known, has the rest run step by step, and publishes after each step.

The cache in the object store is the only memory. An operator that was killed starts again and finds every
pass that was published; when nothing is missing, no builder is started at all.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from edgewright_api.cachekeys import Walk, walk
from edgewright_api.edgemodel import BuildProgress, Interface
from edgewright_api.errors import EdgewrightError, TransientError
from edgewright_api.modelrevision import ModelRevisionSpec
from edgewright_api.plan import ACCEPTANCE, BuildPlan, Step
from edgewright_api.recipes import expand
from edgewright_api.report import BuilderDescription, CacheRecord, Job
from edgewright_operator.cluster.builds import Executor
from edgewright_operator.planning.builds import Published
from edgewright_operator.publisher import REPORT, Publisher, step_file
from edgewright_operator.store import ObjectStore, StoreUnavailableError, blob_key, cache_key

_STEPS: Final = (Step.TRANSFORM, Step.EVALUATE)

Report = Callable[[BuildProgress], None]
"""Told how far the build is, whenever that changed."""


@dataclass(slots=True, kw_only=True)
class Builder:
    """Builds revisions with one executor."""

    store: ObjectStore
    publisher: Publisher
    executor: Executor
    url_seconds: int = 4 * 3600
    """How long a step may read and write; more than the executor's deadline."""

    _description: BuilderDescription | None = field(default=None, init=False)

    async def build(
        self, namespace: str, revision: str, spec: ModelRevisionSpec, report: Report
    ) -> Published:
        """Build and publish a revision.

        Raises:
            TransientError: BuilderFailed, StoreUnavailable, ToolchainMismatch, or the reason of a pass that may not
                fail again.
            StalledError: BuilderReportInvalid, or what the builder refuses for good.
        """
        plan = expand(spec, await self._describe())
        found = await known(self.store, plan)
        cached = len(found.known)
        progress = _Progress(plan, cached, report)
        for step in _STEPS:
            try:
                found = await self._step(plan, found, step, progress)
            except EdgewrightError:
                # The builder may be another one by now, and refuses plans that were made for the one before.
                self._description = None
                raise
        if found.missing:
            raise StoreUnavailableError(f"the object store has lost what was published of {found.missing[0]}")
        assembly = await self.publisher.publish(namespace, revision, spec, plan, found)
        return Published(
            index_digest=assembly.index_digest if assembly.packages else None,
            interface=_interface(found),
            targets=assembly.results,
            passes_run=len(found.known) - cached,
            passes_cached=cached,
        )

    async def _describe(self) -> BuilderDescription:
        if self._description is None:
            self._description = await self.executor.describe()
        return self._description

    async def _step(self, plan: BuildPlan, found: Walk, step: Step, progress: "_Progress") -> Walk:
        """Run the missing nodes of a step, if there are any, and return the walk with their results."""
        missing = set(found.missing)
        wanted = [node.id for node in plan.nodes if node.id in missing and node.step is step]
        if not wanted:
            return found
        uid = secrets.token_hex(16)
        try:
            async with self.executor.place():
                await self.executor.run(self._job(plan, found, step, wanted, uid), progress.event)
            accepted = await self.publisher.accept_step(plan, found, uid=uid, step=step)
        finally:
            # What is left there is collected later; it must not hide why the step failed.
            with contextlib.suppress(StoreUnavailableError):
                await self.publisher.clear(uid)
        for node_id, failure in accepted.transient.items():
            raise TransientError(
                failure.reason,
                f"{node_id} failed: {failure.message}",
                remedy=failure.remedy or "It is tried again",
            )
        # Asked anew: outputs of this step may make keys computable that the cache knows already.
        return await known(self.store, plan)

    def _job(self, plan: BuildPlan, found: Walk, step: Step, wanted: list[str], uid: str) -> Job:
        """Return what the step is given: URLs for what its nodes read and write, and for nothing else."""
        nodes = [plan.node(node_id) for node_id in wanted]
        refs = {ref for node in nodes for ref in node.inputs.values()}
        if step is Step.TRANSFORM and ACCEPTANCE in refs:
            raise ValueError("a plan lets a transform read the acceptance data")
        digests = {plan.contents[ref] for ref in refs if ref in plan.contents}
        digests |= {
            record.output for ref in refs if (record := found.known.get(ref)) and record.output is not None
        }
        return Job(
            build_uid=uid,
            step=step,
            plan=plan,
            known=dict(found.known),
            reads={digest: self.store.presign_get(blob_key(digest), self.url_seconds) for digest in digests},
            writes={
                name: self.store.presign_put(step_file(uid, step, name), self.url_seconds)
                for name in (*wanted, REPORT)
            },
        )


async def known(store: ObjectStore, plan: BuildPlan) -> Walk:
    """Return what the cache knows of ``plan``. A record counts only while the store has the bytes behind it.

    A key can be computed once the outputs before it are known, so the store is asked in as many rounds as the
    graph is deep, each for all its keys at once.
    """
    records: dict[str, CacheRecord | None] = {}
    while True:
        found = walk(plan, records.get)
        unasked = sorted(set(found.keys.values()) - set(records))
        if not unasked:
            return found
        answers = await asyncio.gather(*(_record(store, key) for key in unasked))
        records.update(zip(unasked, answers, strict=True))


async def _record(store: ObjectStore, key: str) -> CacheRecord | None:
    data = await store.find(cache_key(key))
    if data is None:
        return None
    try:
        record = CacheRecord.model_validate_json(data)
    except ValidationError:
        return None  # written by a newer version: the pass runs again
    if record.key != key:
        return None
    if record.output is not None:
        info = await store.head(blob_key(record.output))
        if info is None or info.size != record.size_bytes:
            return None
    return record


def _interface(found: Walk) -> Interface | None:
    record = found.known.get("ingest")
    if record is None or "interface" not in record.facts:
        return None
    try:
        return Interface.model_validate(record.facts["interface"])
    except ValidationError:
        return None


class _Progress:
    """Counts the events of a build's steps."""

    def __init__(self, plan: BuildPlan, cached: int, report: Report) -> None:
        self._ids = {node.id for node in plan.nodes}
        self._done = cached
        self._report = report
        report(BuildProgress(passes_done=cached, passes_total=len(self._ids)))

    def event(self, event: Mapping[str, Any]) -> None:
        """Take what a builder printed; it may print anything."""
        node_id, state = event.get("id"), event.get("state")
        if event.get("event") != "pass" or node_id not in self._ids or state not in _STATES:
            return
        if state != "running":
            self._done = min(self._done + 1, len(self._ids))
        self._report(
            BuildProgress(passes_done=self._done, passes_total=len(self._ids), current=str(node_id)[:128])
        )


_STATES: Final = frozenset({"running", "done", "failed", "skipped"})
