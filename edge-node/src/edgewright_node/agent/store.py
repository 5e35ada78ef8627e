"""The agent's hands on a deployment's directory. Each function may be cut off anywhere and done again.

What arrives lies under ``journal/incoming/<hex>/``: both slots stay whole until every digest was checked,
so a failing download costs neither the active model nor the kept one.
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Final

from edgewright_node import slots
from edgewright_node.agent.errors import RetryLater
from edgewright_node.agent.situation import Disk
from edgewright_node.agent.verify import Piece, digest_of, pieces_of
from edgewright_node.reasons import Reason

_INCOMING: Final = "incoming"
_TRASH: Final = "trash"
_SLOTS: Final[tuple[slots.SlotName, ...]] = ("slot-a", "slot-b")


def observe(where: slots.Deployment) -> Disk:
    """Return what lies in the directory; a want.json that cannot be read counts as none."""
    complete: dict[slots.SlotName, str] = {}
    for slot in _SLOTS:
        directory = where.slot(slot)
        if slots.is_complete(directory):
            try:
                complete[slot] = digest_of((directory / slots.MANIFEST_FILE).read_bytes())
            except OSError:
                continue
    want = slots.read_want(where)
    known = want if isinstance(want, slots.Want) else None
    return Disk(where.path.is_dir(), complete, slots.active_slot(where), known)


def incoming(where: slots.Deployment, digest: str) -> Path:
    """Return the directory where ``digest`` is gathered, and drop what was gathered for others."""
    base = where.path / slots.JOURNAL_DIRECTORY / _INCOMING
    mine = base / digest.removeprefix("sha256:")
    mine.mkdir(parents=True, exist_ok=True)
    for other in base.iterdir():
        if other != mine:
            shutil.rmtree(other, ignore_errors=True)
    return mine


def hash_file(path: Path) -> str:
    """Return the digest of a file; blocks for as long as reading it takes."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def reuse(where: slots.Deployment, piece: Piece, target: Path) -> bool:
    """Take over a file that a complete slot has already, after checking its digest; blocks while hashing."""
    for slot in slots.SLOTS:
        candidate = where.slot(slot) / piece.file
        if not slots.is_complete(candidate.parent) or not candidate.is_file():
            continue
        if candidate.stat().st_size != piece.size or hash_file(candidate) != piece.digest:
            continue
        beside = target.with_suffix(".reused")
        beside.unlink(missing_ok=True)
        try:
            os.link(candidate, beside)
        except OSError:  # a file system without hard links
            shutil.copyfile(candidate, beside)
            sync_file(beside)
        beside.replace(target)
        return True
    return False


def free_bytes(path: Path) -> int:
    """Return what this process may still write to the file system of ``path``."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def sync_file(path: Path) -> None:
    """Make the content of ``path`` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_files(directory: Path, digest: str) -> None:
    """Check the manifest and every file that it names; blocks while hashing.

    Raises:
        RetryLater: a file is missing or is not what its digest names.
        Refused: the manifest is not one that this agent accepts.
    """
    try:
        content = (directory / slots.MANIFEST_FILE).read_bytes()
        for piece in pieces_of(content, digest=digest):
            found = hash_file(directory / piece.file)
            if found != piece.digest:
                raise RetryLater(Reason.DIGEST_MISMATCH, f"{piece.file} is {found}, not {piece.digest}")
    except FileNotFoundError as e:
        raise RetryLater(Reason.DIGEST_MISMATCH, f"a file of {digest} is missing: {e.filename}") from e


def seal(where: slots.Deployment, digest: str) -> None:
    """Turn what was gathered for ``digest`` into the inactive slot, every digest checked; blocks.

    Raises:
        RetryLater, Refused: as ``check_files``; what was damaged is dropped, so that it is fetched again.
    """
    disk = observe(where)
    done = disk.slot_of(digest)
    if done is not None:
        recheck(where, done, digest)
        return
    gathered = incoming(where, digest)
    try:
        check_files(gathered, digest)
    except RetryLater:
        shutil.rmtree(gathered, ignore_errors=True)
        raise
    target = slots.other_slot(disk.active)
    _withdraw(where, disk, target)
    slots.clear_slot(where.slot(target))
    slots.fsync_directory(gathered)
    gathered.rename(where.slot(target))  # over the empty directory
    slots.mark_complete(where.slot(target))


def recheck(where: slots.Deployment, slot: slots.SlotName, digest: str) -> None:
    """Check a kept slot; blocks. A damaged one is emptied, unless it serves.

    The files of the active slot are not hashed: servers hold them open, and it is their self-test on
    this very slot that follows and decides.
    """
    if slots.active_slot(where) == slot:
        return
    try:
        check_files(where.slot(slot), digest)
    except RetryLater:
        _withdraw(where, observe(where), slot)
        slots.clear_slot(where.slot(slot))
        raise


def _withdraw(where: slots.Deployment, disk: Disk, slot: slots.SlotName) -> None:
    """Make sure that no server is told to load ``slot`` before it is emptied."""
    want = disk.want
    if want is None:
        return
    if want.active is not None and want.active.slot == slot:
        raise RetryLater(Reason.DISK_ERROR, f"{slot} still serves and cannot be emptied")
    if want.trial is not None:
        kept = slots.Want(served_name=want.served_name, active=want.active, state=want.state)
        slots.write_want(where, kept)


def erase(root: Path, where: slots.Deployment) -> None:
    """Delete a deployment: out of sight by one rename, then file by file."""
    trash = root / slots.JOURNAL_DIRECTORY / _TRASH
    trash.mkdir(parents=True, exist_ok=True)
    gone = trash / where.path.name
    shutil.rmtree(gone, ignore_errors=True)
    where.path.rename(gone)
    slots.fsync_directory(where.path.parent)
    shutil.rmtree(gone, ignore_errors=True)


def sweep(root: Path) -> None:
    """Delete what an interrupted removal left."""
    shutil.rmtree(root / slots.JOURNAL_DIRECTORY / _TRASH, ignore_errors=True)
