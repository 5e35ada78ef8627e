"""One deployment's worker: look, decide, do one step, write it down. Its order may change at any time."""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from edgewright_node import slots
from edgewright_node.agent import journal as journals
from edgewright_node.agent import plan, store, trial
from edgewright_node.agent.blame import failed
from edgewright_node.agent.errors import AgentError, Superseded
from edgewright_node.agent.fetch import fetch_artifact
from edgewright_node.agent.gateway import Gateway
from edgewright_node.agent.journal import Journal, Outcome
from edgewright_node.agent.metrics import Counters
from edgewright_node.agent.report import Progress, Snapshot, will_of
from edgewright_node.agent.situation import (
    Action,
    Conclude,
    Erase,
    Fetch,
    Limits,
    OfferTrial,
    Order,
    Recheck,
    Rest,
    RunTrial,
    Seal,
    Situation,
    Switch,
    Will,
    WriteWant,
)
from edgewright_node.agent.wire import Entry
from edgewright_node.reasons import Reason
from edgewright_node.states import Event, State

_DISK_PAUSE_SECONDS: Final = 5.0
_BUG_PAUSE_SECONDS: Final = 30.0
_NEWS_SECONDS: Final = 0.5
"""Byte counts are news no more often than this."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kit:
    """What every worker of the agent is given."""

    root: Path
    gateway: Gateway
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    changed: Callable[[], None]
    """Called when there may be something to report."""

    trial_command: Sequence[str]
    trial_environment: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    reserve: int = 64 << 20
    counters: Counters = field(default_factory=Counters)
    fault: Callable[[str], None] = lambda point: None
    """Called at each point where the power may go; tests raise there."""


class Worker:
    """Drives one deployment; ``order`` may be called at any time, ``run`` runs until it is cancelled."""

    def __init__(self, where: slots.Deployment, kit: Kit) -> None:
        self.where = where
        self.kit = kit
        loaded = journals.load(journals.deployment_path(where), Journal)
        self.journal = journals.advance(loaded, Outcome(event=Event.RESTARTED)) if loaded else Journal()
        self.orphaned = False
        self._progress = Progress()
        self._wake = asyncio.Event()
        self._entered = kit.monotonic()
        self._stood = self._entered
        self._told = 0.0
        self._resumed = loaded is not None

    @property
    def gone(self) -> bool:
        """Tell whether there is nothing left to look after."""
        return self.journal.state is State.REMOVED

    def order(self, entry: Entry) -> None:
        """Take a new order; the same again changes nothing."""
        self.orphaned = False
        if entry == self.journal.entry:
            return
        self.journal = replace(self.journal, entry=entry)
        self._save()
        self._wake.set()
        self.kit.changed()

    def snapshot(self) -> Snapshot | None:
        """Return what there is to report; None before the first order."""
        if self.journal.entry is None:
            return None
        disk = store.observe(self.where)
        kept = disk.complete.get(slots.other_slot(disk.active)) if disk.active else None
        previous = kept if kept in self.journal.proven and kept != self.journal.running else None
        return Snapshot(self.journal.entry, self.journal, previous, self._progress, self.orphaned)

    async def run(self) -> None:
        """Do step after step. A disk that fails and a bug of ours cost a pause, never another deployment."""
        while True:
            try:
                if self._resumed:
                    self._save()  # a restart is counted before anything is tried again
                    self._resumed = False
                await self.step()
            except Superseded:
                continue
            except OSError as e:
                self._progress = Progress(Reason.DISK_ERROR, f"{e.strerror}: {e.filename}")
                log.warning("%s: %s", self.where.path.name, e)
                self.kit.changed()
                await self.pause(_DISK_PAUSE_SECONDS)
            except Exception:
                log.exception("%s in %s", self.where.path.name, self.journal.state)
                await self.pause(_BUG_PAUSE_SECONDS)

    async def step(self) -> None:
        """Do the one next thing."""
        now = self._situation()
        if now is None:
            await self.pause(plan.REST_SECONDS)
            return
        action = plan.decide(now)
        if isinstance(action, Rest):
            await self.pause(action.seconds)
            return
        name = type(action).__name__
        self.kit.fault(f"before {name}")
        outcome = await self._perform(action, now)
        self.kit.fault(f"after {name}")
        if outcome is not None:
            self._commit(outcome)

    def _situation(self) -> Situation | None:
        entry = self.journal.entry
        if entry is None:
            return None
        now = self.kit.now()
        reports = slots.read_server_reports(self.where).values()
        seen = Situation(
            order=Order(will_of(entry), entry.manifest_digest, entry.served_name),
            journal=self.journal,
            disk=store.observe(self.where),
            servers=tuple(
                r for r in reports if isinstance(r, slots.ServerReport) and slots.is_fresh(r, now=now)
            ),
            elapsed=self.kit.monotonic() - self._entered,
            limits=self.kit.limits,
        )
        if self.journal.state is not State.CONFIRMED or plan.stands(seen):
            self._stood = self.kit.monotonic()
        return dataclasses.replace(seen, astray=self.kit.monotonic() - self._stood)

    async def _perform(self, action: Action, now: Situation) -> Outcome | None:
        match action:
            case Conclude(outcome):
                return outcome
            case Fetch(digest):
                slots.create(self.where)
                fetching = fetch_artifact(
                    self.kit.gateway, self.where, digest, reserve=self.kit.reserve, job=self
                )
                return await self._attempt(fetching)
            case Seal(digest):
                return await self._attempt(asyncio.to_thread(store.seal, self.where, digest))
            case Recheck(slot, digest):
                return await self._attempt(asyncio.to_thread(store.recheck, self.where, slot, digest))
            case RunTrial(slot):
                return await self._run_trial(slot, now)
            case Erase():
                await asyncio.to_thread(store.erase, self.kit.root, self.where)
                return Outcome(event=Event.OK)
            case _:
                self._tell_servers(action, now)
                return None

    def _tell_servers(self, action: OfferTrial | Switch | WriteWant | Rest, now: Situation) -> None:
        match action:
            case OfferTrial(slot, digest, attempt):
                deadline = datetime.fromtimestamp(
                    self.kit.now().timestamp() + self.kit.limits.trial_seconds, tz=self.kit.now().tzinfo
                )
                offer = slots.TrialRef(slot=slot, manifest_digest=digest, attempt=attempt, deadline=deadline)
                active = now.disk.want.active if now.disk.want else None
                want = slots.Want(served_name=now.order.served_name, active=active, trial=offer)
                slots.write_want(self.where, want)
            case Switch(slot, want):
                slots.activate(self.where, slot)
                self.kit.fault("linked")
                slots.write_want(self.where, want)
            case WriteWant(want):
                slots.write_want(self.where, want)
            case Rest():
                return

    async def _attempt(self, work: Awaitable[None]) -> Outcome:
        try:
            await work
        except AgentError as e:
            return failed(self.journal, e.reason, e.message)
        return Outcome(event=Event.OK)

    async def _run_trial(self, slot: slots.SlotName, now: Situation) -> Outcome:
        result = await trial.run(
            self.kit.trial_command,
            self.where.slot(slot),
            seconds=self.kit.limits.trial_seconds,
            at=stamp(self.kit.now()),
            environment=self.kit.trial_environment,
        )
        return plan.judge_process(now, result)

    def _commit(self, outcome: Outcome) -> None:
        before = self.journal.state
        self.journal = journals.advance(self.journal, outcome)
        self._entered = self.kit.monotonic()
        if self.journal.state is not State.VERIFYING:
            self._progress = replace_reason(self._progress, "", "")
        if self.journal.state is State.FETCHING:
            self._progress = Progress()
        self._save()
        self.kit.fault(f"journalled {self.journal.state}")
        log.info(
            "%s: %s → %s %s %s",
            self.where.path.name,
            before,
            self.journal.state,
            self.journal.reason,
            self.journal.message,
        )
        self.kit.changed()

    def _save(self) -> None:
        """Write the journal; what has no directory gets none for being removed."""
        entry = self.journal.entry
        removal = entry is not None and will_of(entry) is Will.REMOVE
        if removal and not self.where.path.is_dir():
            return
        slots.create(self.where)
        journals.save(journals.deployment_path(self.where), self.journal)

    # What a transfer needs (gateway.Job, fetch.Transfer)

    def check(self) -> None:
        """Raise ``Superseded`` when the order no longer wants what is being fetched."""
        self.kit.fault("chunk")
        entry = self.journal.entry
        if entry is None or will_of(entry) is not Will.RUN or entry.manifest_digest != self.journal.wanted:
            raise Superseded

    def note(self, reason: Reason | None, message: str) -> None:
        """Keep why the transfer stands still."""
        text = str(reason or "")
        if text != self._progress.reason:
            self._progress = replace_reason(self._progress, text, message)
            if text:
                log.info("%s: %s: %s", self.where.path.name, text, message)
            self.kit.changed()

    def moved(self, count: int) -> None:
        """Count bytes."""
        self.kit.counters.downloaded_bytes += count
        p = self._progress
        self._progress = Progress(p.reason, p.message, min(p.done + count, p.total), p.total)
        if self.kit.monotonic() - self._told >= _NEWS_SECONDS:
            self._told = self.kit.monotonic()
            self.kit.changed()

    def sized(self, *, done: int, total: int) -> None:
        """Keep how much there is."""
        self._progress = Progress(self._progress.reason, self._progress.message, done, total)
        self.kit.changed()

    async def pause(self, seconds: float) -> None:
        """Wait, until the order changes at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()


def replace_reason(progress: Progress, reason: str, message: str) -> Progress:
    """Return ``progress`` with another reason."""
    return Progress(reason, message, progress.done, progress.total)


def stamp(moment: datetime) -> str:
    """Return RFC 3339 in UTC, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
