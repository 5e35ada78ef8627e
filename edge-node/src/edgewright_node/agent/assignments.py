"""What the operator wants of this node, and who works on it: order, serials, features, orphans."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgewright_node import slots
from edgewright_node.agent import journal, report
from edgewright_node.agent.journal import NodeJournal
from edgewright_node.agent.situation import Will
from edgewright_node.agent.wire import AssignmentSpec, AssignmentStatus, Entry, EntryStatus, NodeAssignment
from edgewright_node.agent.worker import Kit, Worker
from edgewright_node.reasons import Reason

FEATURES: Final = frozenset[str]()
"""What ``spec.requires`` may ask for; none is needed by anything that the operator writes today."""

log = logging.getLogger(__name__)

_Key = tuple[str, str]


def select(spec: AssignmentSpec) -> dict[_Key, Entry]:
    """Return the entry of each deployment; of two of the same name, the one that is to run. PURE."""
    chosen: dict[_Key, Entry] = {}
    for entry in spec.assignments:
        key = (entry.deployment.namespace, entry.deployment.name)
        if key not in chosen or report.will_of(entry) is not Will.REMOVE:
            chosen[key] = entry
    return chosen


class Assignments:
    """Keeps one worker per deployment. Absence is never a command: it changes no order."""

    def __init__(self, root: Path, kit: Kit, spawn: Callable[[Worker], asyncio.Task[None]]) -> None:
        self.root = root
        self.kit = kit
        self.current: NodeAssignment | None = None
        """The object as it was seen last; None while there is none."""
        self.seen_serial = (journal.load(journal.node_path(root), NodeJournal) or NodeJournal()).seen_serial
        self.lacking: tuple[str, ...] = ()
        self.behind = False
        self._spawn = spawn
        self._workers: dict[_Key, tuple[Worker, asyncio.Task[None]]] = {}
        for where in slots.deployments(root):
            self._add((where.namespace, where.name), where)

    def _add(self, key: _Key, where: slots.Deployment) -> Worker:
        worker = Worker(where, self.kit)
        self._workers[key] = (worker, self._spawn(worker))
        return worker

    def accept(self, seen: NodeAssignment | None) -> None:
        """Take note of the object as it is now, and act on it if it may be acted on.

        Raises:
            OSError: the serial could not be written down, so nothing was acted on.
        """
        if seen is None:
            self.current = None
            self._orphan(set())
            return
        if self.current is not None and _older(seen, self.current):
            return
        self.current = seen
        self.behind = seen.spec.serial < self.seen_serial
        self.lacking = tuple(sorted(set(seen.spec.requires) - FEATURES))
        if self.behind:
            log.warning("assignment %d ignored: %d was seen", seen.spec.serial, self.seen_serial)
            self.kit.changed()
            return
        if seen.spec.serial > self.seen_serial:
            journal.save(journal.node_path(self.root), NodeJournal(seen_serial=seen.spec.serial))
            self.seen_serial = seen.spec.serial
        if not self.lacking:
            self._order(select(seen.spec))
        self.kit.changed()

    def _order(self, entries: dict[_Key, Entry]) -> None:
        for key, entry in entries.items():
            known = self._workers.get(key)
            if known is not None:
                known[0].order(entry)
                continue
            try:
                where = slots.deployment(self.root, *key)
            except ValueError:
                log.exception("an entry that cannot be on disk")
                continue
            self._add(key, where).order(entry)
        self._orphan(set(entries))

    def _orphan(self, named: set[_Key]) -> None:
        for key, (worker, task) in list(self._workers.items()):
            if key in named:
                continue
            if worker.gone:
                task.cancel()
                del self._workers[key]
            elif not worker.orphaned:
                worker.orphaned = True
                self.kit.changed()

    def entries(self) -> list[EntryStatus]:
        """Return what is to be said of each deployment."""
        snapshots = {
            key: snapshot
            for key, (worker, _) in self._workers.items()
            if (snapshot := worker.snapshot()) is not None
        }
        if not self.lacking or self.current is None:
            return [report.entry_status(snapshot) for snapshot in snapshots.values()]
        asked = select(self.current.spec)
        told = [report.too_old_status(e, snapshots.get(key), self.lacking) for key, e in asked.items()]
        return told + [report.entry_status(s) for key, s in snapshots.items() if key not in asked]

    def status(self, *, now: str) -> AssignmentStatus | None:
        """Return the status that the object should have; None while there is no object."""
        if self.current is None:
            return None
        ignored = Reason.SERIAL_BEHIND if self.behind else Reason.AGENT_TOO_OLD if self.lacking else None
        return report.assignment_status(
            self.current, self.entries(), seen_serial=self.seen_serial, ignored=ignored, now=now
        )


def _older(one: NodeAssignment, other: NodeAssignment) -> bool:
    """Tell whether ``one`` is a late echo; versions of one object are ordered where they are numbers."""
    a, b = one.metadata.resource_version, other.metadata.resource_version
    same = one.metadata.generation <= other.metadata.generation
    return same and a.isdigit() and b.isdigit() and int(a) < int(b)
