"""The directory of one deployment on a node: the whole contract between agent and servers.

::

    <root>/deployments/<namespace>.<name>/
        slot-a/ slot-b/   manifest.json model.onnx golden.npz report.json config.json, then `complete`
        active            link to the slot that serves; replaced by rename
        want.json         agent → servers (Want)
        servers/<id>.json server → agent (ServerReport), fresh for FRESH_SECONDS
        journal/          the agent's alone

Every file has one writer and is replaced whole: write beside, sync, rename, sync the directory. Either
side may be killed at any instruction and finds the old file or the new one. Readers ignore fields they
do not know and never raise for what another process wrote: a file that cannot be used is a ``Malformed``
value, a file that is not there is ``None``.

The order of a switch: the agent writes ``want.trial``; servers answer in ``trial``; the agent calls
``activate`` and then writes ``want.active``; servers switch and answer in ``active``. What serves is
``want.active``; in the instant between the two steps the link is ahead of it, and both slots are good.
"""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import msgspec

VERSION: Final = 1
"""The version of want.json and of server reports. Fields are only ever added within a version."""

SLOT_A: Final = "slot-a"
SLOT_B: Final = "slot-b"
SLOTS: Final = (SLOT_A, SLOT_B)
SlotName = Literal["slot-a", "slot-b"]

MANIFEST_FILE: Final = "manifest.json"
MODEL_FILE: Final = "model.onnx"
GOLDEN_FILE: Final = "golden.npz"
REPORT_FILE: Final = "report.json"
CONFIG_FILE: Final = "config.json"
COMPLETE_FILE: Final = "complete"
WANT_FILE: Final = "want.json"
ACTIVE_LINK: Final = "active"
SERVERS_DIRECTORY: Final = "servers"
JOURNAL_DIRECTORY: Final = "journal"

FRESH_SECONDS: Final = 30.0
"""A server that has not rewritten its report for this long does not count as alive."""

REWRITE_SECONDS: Final = 10.0
"""A server rewrites its report at least this often, so that two lost writes do not declare it dead."""

MAX_BYTES: Final = 1 << 20
"""A contract file larger than this is malformed; real ones have less than 4 KiB."""

Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_SERVER_ID: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,127}")


class WantState(StrEnum):
    """What the agent asks of every server for this deployment."""

    RUN = "Run"
    REMOVE = "Remove"


class ActiveState(StrEnum):
    """How far a server is with ``want.active``."""

    LOADING = "Loading"
    SERVING = "Serving"
    FAILED = "Failed"


class TrialState(StrEnum):
    """How far a server is with ``want.trial``."""

    LOADING = "Loading"
    PASSED = "Passed"
    FAILED = "Failed"


class SlotRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A slot and the digest of the manifest that it must hold."""

    slot: SlotName
    manifest_digest: Digest


class TrialRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A slot to load beside the active one and to test; ``attempt`` tells one try from the next."""

    slot: SlotName
    manifest_digest: Digest
    attempt: str
    deadline: Instant


class Want(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """want.json: what the agent wants of every server."""

    version: int = VERSION
    served_name: str
    active: SlotRef | None = None
    trial: TrialRef | None = None
    state: WantState = WantState.RUN


class ActiveReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a server serves: digest of the loaded file, and proof by an inference on that session."""

    manifest_digest: Digest
    model_digest: Digest | None = None
    state: ActiveState
    proven_by: str | None = None
    proven_at: Instant | None = None
    reason: str | None = None
    message: str | None = None


class TrialReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The outcome of one attempt; ``max_abs_error`` is against the artifact's own outputs."""

    attempt: str
    manifest_digest: Digest
    state: TrialState
    reason: str | None = None
    message: str | None = None
    max_abs_error: float | None = None


class Counters(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Inference requests since the server started; ``failures`` are those that were the server's fault."""

    requests: int = 0
    failures: int = 0


class ServerReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """servers/<id>.json: what one server has to say about this deployment."""

    version: int = VERSION
    server_id: str
    pid: int
    written_at: Instant
    served_name: str
    active: ActiveReport | None = None
    trial: TrialReport | None = None
    counters: Counters = Counters()


@dataclass(frozen=True, slots=True)
class Malformed:
    """A contract file that is there and cannot be used, and why."""

    path: Path
    message: str


@dataclass(frozen=True, slots=True, order=True)
class Deployment:
    """One deployment's directory on this node."""

    namespace: str
    name: str
    path: Path

    def slot(self, slot: str) -> Path:
        """Return the directory of ``slot``, which need not exist."""
        return self.path / _known(slot)


_Contract = TypeVar("_Contract", Want, ServerReport)


def deployment(root: Path, namespace: str, name: str) -> Deployment:
    """Name the directory of a deployment; nothing is created.

    Raises:
        ValueError: a name that Kubernetes would not allow, so that none can point outside ``root``.
    """
    if not _LABEL.fullmatch(namespace):
        raise ValueError(f"a namespace is a DNS label, not {namespace!r}")
    if not _NAME.fullmatch(name) or ".." in name:
        raise ValueError(f"a deployment's name is a DNS name, not {name!r}")
    return Deployment(namespace, name, root / "deployments" / f"{namespace}.{name}")


def deployments(root: Path) -> tuple[Deployment, ...]:
    """List the deployments under ``root``, by name; what is no deployment's directory is passed over."""
    found = []
    try:
        entries = sorted(path.name for path in (root / "deployments").iterdir())
    except OSError:
        return ()
    for entry in entries:
        namespace, _, name = entry.partition(".")
        try:
            candidate = deployment(root, namespace, name)
        except ValueError:
            continue
        if candidate.path.is_dir():
            found.append(candidate)
    return tuple(found)


def create(where: Deployment) -> None:
    """Make the directories that agent and servers write to. Doing it twice changes nothing."""
    for directory in (where.path / SERVERS_DIRECTORY, where.path / JOURNAL_DIRECTORY):
        directory.mkdir(parents=True, exist_ok=True)
    fsync_directory(where.path)
    fsync_directory(where.path.parent)


# want.json and servers/<id>.json


def read_want(where: Deployment) -> Want | Malformed | None:
    """Read want.json; ``None`` when there is none."""
    return _read(where.path / WANT_FILE, Want)


def write_want(where: Deployment, want: Want) -> None:
    """Replace want.json.

    Raises:
        OSError: the disk refused; the old file is still whole.
    """
    write_atomically(where.path / WANT_FILE, msgspec.json.encode(want))


def read_server_reports(where: Deployment) -> Mapping[str, ServerReport | Malformed]:
    """Read what every server wrote, fresh or not, by server id."""
    directory = where.path / SERVERS_DIRECTORY
    try:
        names = sorted(path.name for path in directory.iterdir())
    except OSError:
        return {}
    found: dict[str, ServerReport | Malformed] = {}
    for name in names:
        server_id = name.removesuffix(".json")
        if name == server_id or not _SERVER_ID.fullmatch(server_id):
            continue
        report = _read(directory / name, ServerReport)
        if report is not None:
            found[server_id] = report
    return found


def write_server_report(where: Deployment, report: ServerReport) -> None:
    """Replace this server's report.

    Raises:
        OSError: the disk refused; the old report is still whole.
        ValueError: the server's id cannot be a file name.
    """
    if not _SERVER_ID.fullmatch(report.server_id):
        raise ValueError(f"a server's id has letters, digits, '-', '_' and '.', not {report.server_id!r}")
    directory = where.path / SERVERS_DIRECTORY
    directory.mkdir(exist_ok=True)
    write_atomically(directory / f"{report.server_id}.json", msgspec.json.encode(report))


def remove_server_report(where: Deployment, server_id: str) -> None:
    """Withdraw a server's report: it has stopped on purpose, or serves this deployment no more."""
    directory = where.path / SERVERS_DIRECTORY
    try:
        (directory / f"{server_id}.json").unlink(missing_ok=True)
        fsync_directory(directory)
    except (FileNotFoundError, NotADirectoryError):
        return


def is_fresh(report: ServerReport, *, now: datetime) -> bool:
    """Tell whether the server counts as alive; one from the future (a clock set back) does not."""
    age = now - report.written_at
    return timedelta(seconds=-FRESH_SECONDS) < age < timedelta(seconds=FRESH_SECONDS)


# Slots


def is_complete(slot: Path) -> bool:
    """Tell whether every file of the slot was written; such a slot never changes again."""
    return (slot / COMPLETE_FILE).is_file()


def mark_complete(slot: Path) -> None:
    """Seal a slot whose files are all written and synced. Nothing may be written to it afterwards."""
    fsync_directory(slot)
    write_atomically(slot / COMPLETE_FILE, b"")
    fsync_directory(slot.parent)


def clear_slot(slot: Path) -> None:
    """Empty a slot: first the seal, then the files, so that no instant shows half a slot as whole.

    A server that still maps the old files keeps them: they are unlinked, never overwritten.
    """
    seal = slot / COMPLETE_FILE
    if seal.exists():
        seal.unlink()
        fsync_directory(slot)
    if slot.exists():
        shutil.rmtree(slot)
    slot.mkdir(parents=True)
    fsync_directory(slot.parent)


def active_slot(where: Deployment) -> SlotName | None:
    """Return the slot that ``active`` names; ``None`` without a link or with one that names no slot."""
    try:
        target = (where.path / ACTIVE_LINK).readlink()
    except OSError:
        return None
    return _as_slot(str(target))


def activate(where: Deployment, slot: str) -> None:
    """Point ``active`` at ``slot``; a power cut leaves the old link or the new one, never none.

    Raises:
        ValueError: ``slot`` is not a slot's name.
        OSError: the disk refused; the old link stands.
    """
    new = where.path / f"{ACTIVE_LINK}.new"
    new.unlink(missing_ok=True)
    new.symlink_to(_known(slot))
    new.replace(where.path / ACTIVE_LINK)
    fsync_directory(where.path)


def other_slot(slot: str | None) -> SlotName:
    """Return the slot to write next to ``slot``; slot-a when nothing is active."""
    return SLOT_B if slot == SLOT_A else SLOT_A


# Files


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``: after a power cut it holds the old bytes or the new ones.

    Raises:
        OSError: the disk refused; ``path`` is unchanged.
    """
    beside = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    beside.replace(path)
    fsync_directory(path.parent)


def fsync_directory(directory: Path) -> None:
    """Make the names in ``directory`` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def change_mark(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when ``path`` is replaced: inode, time, size. ``None`` when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path, kind: type[_Contract]) -> _Contract | Malformed | None:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        return Malformed(path, f"cannot be read: {e.strerror}")
    if len(content) > MAX_BYTES:
        return Malformed(path, f"is larger than {MAX_BYTES} bytes")
    try:
        value = msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        return Malformed(path, str(e) or type(e).__name__)
    if value.version != VERSION:
        return Malformed(path, f"has version {value.version}, this program reads version {VERSION}")
    return value


def _known(slot: str) -> SlotName:
    known = _as_slot(slot)
    if known is None:
        raise ValueError(f"a slot is one of {SLOTS}, not {slot!r}")
    return known


def _as_slot(name: str) -> SlotName | None:
    for slot in SLOTS:
        if slot == name:
            return slot
    return None
