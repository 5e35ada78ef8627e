"""Make what is loaded follow want.json: watch, decide, act, report. Loading never runs on the loop's thread."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, assert_never

from edgewright_node import slots
from edgewright_node.serving import selftest
from edgewright_node.serving.codec import Codec
from edgewright_node.serving.dataplane import DataPlane, ServedModel
from edgewright_node.serving.errors import ArtifactRefused, LoadFailed, TrialTimeout
from edgewright_node.serving.lifecycle import Action, Held, Load, Step, Try, decide
from edgewright_node.serving.metrics import ModelInfo, ModelStats
from edgewright_node.serving.selftest import LoadedSlot
from edgewright_node.slots import ActiveReport, ActiveState, TrialReport, TrialState

LOG = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.1
"""How often want.json is looked at: one stat per deployment, and no limit of watches to run into."""

RETRY_SECONDS: Final = 30.0
"""How long an active slot that was refused rests: memory may come back, bytes on a bad disk may not."""

_REPORT_AFTER: Final = timedelta(seconds=slots.REWRITE_SECONDS - 2)


@dataclass(slots=True, eq=False)
class Tenant:
    """What this server knows and holds of one deployment."""

    where: slots.Deployment
    want: slots.Want | None = None
    mark: tuple[int, int, int] | None = None
    model: ServedModel | None = None
    loaded: LoadedSlot | None = None
    """What ``model`` was made of: its vectors prove it again."""
    trial: LoadedSlot | None = None
    held: Held = field(default_factory=Held)
    active_report: ActiveReport | None = None
    trial_report: TrialReport | None = None
    stats: ModelStats = field(default_factory=ModelStats)
    task: "asyncio.Task[None] | None" = None
    reported_at: datetime | None = None

    @property
    def key(self) -> str:
        return f"{self.where.namespace}/{self.where.name}"


@dataclass(slots=True, eq=False)
class Loader:
    """Owns all tenants. ``run`` until cancelled; then ``stop``."""

    root: Path
    server_id: str
    pid: int
    threads: int
    plane: DataPlane
    now: Callable[[], datetime]
    tenants: dict[Path, Tenant] = field(default_factory=dict)
    scanned: bool = False
    _loading: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, "loading"))
    """One slot at a time: two large models would not fit in memory three times."""
    _writing: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, "reports"))
    """Reports stay fresh while a model loads, and no sync of a slow disk stops an answer."""

    def ready(self) -> bool:
        """Tell whether everything that the node wants served has a model that answers."""
        wanted = (t for t in self.tenants.values() if _runs(t.want))
        return self.scanned and all(tenant.model is not None for tenant in wanted)

    async def run(self) -> None:
        """Follow the directory for ever."""
        while True:
            self._scan()
            for tenant in self.tenants.values():
                if tenant.task is not None and tenant.task.done() and (bug := tenant.task.exception()):
                    LOG.error("%s: a step failed and is tried again", tenant.key, exc_info=bug)
                if tenant.task is None or tenant.task.done():
                    tenant.task = self._next(tenant)
            await asyncio.sleep(POLL_SECONDS)

    async def stop(self) -> None:
        """Withdraw all reports: this server has gone on purpose and is not to be waited for."""
        tasks = [t.task for t in self.tenants.values() if t.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        loop = asyncio.get_running_loop()
        for tenant in self.tenants.values():
            await loop.run_in_executor(
                self._writing, slots.remove_server_report, tenant.where, self.server_id
            )

    def _scan(self) -> None:
        for where in slots.deployments(self.root):
            tenant = self.tenants.setdefault(where.path, Tenant(where))
            mark = slots.change_mark(where.path / slots.WANT_FILE)
            if mark is None or mark == tenant.mark:
                continue
            tenant.mark = mark
            want = slots.read_want(where)
            if isinstance(want, slots.Want):
                tenant.want = want
                tenant.held = replace(tenant.held, retry_at=None)
            elif want is not None:
                # Absence and damage are no commands: what was wanted last goes on.
                LOG.warning("%s %s", want.path, want.message)
        gone = [t for t in self.tenants.values() if t.model is None and not t.where.path.is_dir()]
        for tenant in gone:
            del self.tenants[tenant.where.path]
        wants = (tenant.want for tenant in self.tenants.values())
        self.plane.awaited = frozenset(want.served_name for want in wants if want and _runs(want))
        self.scanned = True

    def _next(self, tenant: Tenant) -> "asyncio.Task[None] | None":
        if tenant.want is None:
            return None
        now = self.now()
        action = decide(tenant.want, tenant.held, now=now)
        due = tenant.reported_at is None or not timedelta() <= now - tenant.reported_at < _REPORT_AFTER
        if action is None and not due:
            return None
        return asyncio.create_task(self._settle(tenant))

    async def _settle(self, tenant: Tenant) -> None:
        """Act until nothing is left to do, then report."""
        while tenant.want is not None and (action := decide(tenant.want, tenant.held, now=self.now())):
            await self._act(tenant, tenant.want, action)
        await self._report(tenant)

    async def _act(self, tenant: Tenant, want: slots.Want, action: Action) -> None:
        match action:
            case Load(slot):
                await self._load(tenant, want, slot)
            case Try(trial):
                await self._try(tenant, trial)
            case Step.PROMOTE:
                promoted, tenant.trial = tenant.trial, None
                tenant.held = replace(tenant.held, trial=None)
                assert promoted is not None
                self._serve(tenant, want, promoted)
            case Step.PROVE:
                await self._prove(tenant)
            case Step.EXPIRE_TRIAL:
                self._drop_trial(tenant)
                assert want.trial is not None
                self._end_trial(tenant, want.trial, TrialTimeout("the deadline of the trial has passed"))
            case Step.DROP_TRIAL:
                self._drop_trial(tenant)
            case Step.UNSERVE:
                self._unserve(tenant)
            case other:
                assert_never(other)

    async def _load(self, tenant: Tenant, want: slots.Want, ref: slots.SlotRef) -> None:
        tenant.active_report = ActiveReport(
            manifest_digest=ref.manifest_digest, state=ActiveState.LOADING, reason=None
        )
        await self._report(tenant)
        loaded = await self._open(tenant, ref)
        if isinstance(loaded, LoadedSlot):
            self._serve(tenant, want, loaded)
        else:
            self._refuse(tenant, ref.manifest_digest, loaded)

    async def _try(self, tenant: Tenant, ref: slots.TrialRef) -> None:
        self._drop_trial(tenant)
        tenant.trial_report = TrialReport(
            attempt=ref.attempt, manifest_digest=ref.manifest_digest, state=TrialState.LOADING
        )
        await self._report(tenant)
        outcome = await self._open(tenant, ref)
        if isinstance(outcome, LoadedSlot):
            tenant.trial = outcome
        self._end_trial(tenant, ref, outcome)

    async def _open(
        self, tenant: Tenant, ref: slots.SlotRef | slots.TrialRef
    ) -> LoadedSlot | ArtifactRefused:
        def load() -> LoadedSlot:
            path = tenant.where.slot(ref.slot)
            return selftest.load_slot(path, ref.manifest_digest, threads=self.threads, clock=self.plane.clock)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._loading, load)
        except ArtifactRefused as e:
            LOG.warning("%s %s refused, %s: %s", tenant.key, ref.slot, e.reason, e.message)
            return e
        except Exception as e:  # whatever a hostile file makes a parser do must not end the server
            LOG.exception("%s %s could not be opened", tenant.key, ref.slot)
            return LoadFailed(f"{type(e).__name__}: {e}"[:256])

    def _serve(self, tenant: Tenant, want: slots.Want, loaded: LoadedSlot) -> None:
        opened, engine = loaded.opened, loaded.engine
        digest = opened.manifest_digest
        info = ModelInfo(want.served_name, opened.version, tenant.key, digest, opened.model_digest)
        codec = Codec(want.served_name, opened.version, engine.inputs, engine.outputs)
        model = ServedModel(info, engine, codec, tenant.stats, loaded.row_seconds)
        try:
            self.plane.put(model)
        except ArtifactRefused as e:
            engine.close()
            self._refuse(tenant, digest, e)
            return
        before = tenant.model
        if before is not None and before.info.model != info.model:
            self.plane.remove(before)
        LOG.info("%s serves %s %s as %s", tenant.key, opened.version, digest, info.model)
        tenant.model, tenant.loaded = model, loaded
        tenant.held = replace(
            tenant.held, served_name=want.served_name, serving=digest, proven=False, refused=None
        )
        tenant.active_report = ActiveReport(
            manifest_digest=digest, model_digest=opened.model_digest, state=ActiveState.LOADING
        )

    async def _prove(self, tenant: Tenant) -> None:
        model, loaded = tenant.model, tenant.loaded
        assert model is not None
        assert loaded is not None
        report = ActiveReport(
            manifest_digest=model.info.manifest_digest,
            model_digest=model.info.model_digest,
            state=ActiveState.SERVING,
            proven_by="golden",
            proven_at=self.now(),
        )
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._loading, selftest.prove, model.engine, loaded.vectors, loaded.batches
            )
        except ArtifactRefused as e:
            LOG.error("%s serves and is wrong, %s: %s", tenant.key, e.reason, e.message)
            report = ActiveReport(
                manifest_digest=model.info.manifest_digest,
                model_digest=model.info.model_digest,
                state=ActiveState.FAILED,
                reason=e.reason,
                message=e.message,
            )
        tenant.active_report = report
        tenant.held = replace(tenant.held, proven=True)

    def _refuse(self, tenant: Tenant, digest: str, why: ArtifactRefused) -> None:
        """Report that a slot cannot be made active; what answered before goes on answering."""
        retry_at = self.now() + timedelta(seconds=RETRY_SECONDS)
        tenant.held = replace(tenant.held, refused=digest, retry_at=retry_at)
        tenant.active_report = ActiveReport(
            manifest_digest=digest, state=ActiveState.FAILED, reason=why.reason, message=why.message
        )

    def _end_trial(self, tenant: Tenant, ref: slots.TrialRef, outcome: LoadedSlot | ArtifactRefused) -> None:
        passed = isinstance(outcome, LoadedSlot)
        tenant.held = replace(tenant.held, attempt=ref.attempt, trial=ref.manifest_digest if passed else None)
        tenant.trial_report = TrialReport(
            attempt=ref.attempt,
            manifest_digest=ref.manifest_digest,
            state=TrialState.PASSED if passed else TrialState.FAILED,
            reason=None if isinstance(outcome, LoadedSlot) else outcome.reason,
            message=None if isinstance(outcome, LoadedSlot) else outcome.message,
            max_abs_error=outcome.deviation.max_abs_error if isinstance(outcome, LoadedSlot) else None,
        )

    def _drop_trial(self, tenant: Tenant) -> None:
        if tenant.trial is not None:
            self._loading.submit(tenant.trial.engine.close)
        tenant.trial = None
        tenant.held = replace(tenant.held, trial=None)

    def _unserve(self, tenant: Tenant) -> None:
        self._drop_trial(tenant)
        if tenant.model is not None:
            LOG.info("%s is served no more", tenant.key)
            self.plane.remove(tenant.model)
        tenant.model = tenant.loaded = None
        tenant.active_report = tenant.trial_report = None
        tenant.held = Held()

    async def _report(self, tenant: Tenant) -> None:
        """Write servers/<id>.json. A disk that refuses is logged and tried again; serving goes on."""
        now = self.now()
        if tenant.want is None:
            return
        report = slots.ServerReport(
            server_id=self.server_id,
            pid=self.pid,
            written_at=now,
            served_name=tenant.want.served_name,
            active=tenant.active_report,
            trial=tenant.trial_report,
            counters=slots.Counters(requests=tenant.stats.requests, failures=tenant.stats.failures),
        )
        tenant.reported_at = now
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._writing, slots.write_server_report, tenant.where, report
            )
        except OSError as e:
            if tenant.where.path.is_dir():
                LOG.warning("the report on %s cannot be written: %s", tenant.key, e)


def _runs(want: slots.Want | None) -> bool:
    return want is not None and want.state is slots.WantState.RUN and want.active is not None
