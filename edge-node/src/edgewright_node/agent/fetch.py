"""One artifact: its manifest, then whatever of its files is not here yet. Verified before anything opens it."""

import asyncio
from pathlib import Path
from typing import Final, Protocol

from edgewright_node import slots
from edgewright_node.agent import store
from edgewright_node.agent.errors import RetryLater
from edgewright_node.agent.gateway import Gateway, Job
from edgewright_node.agent.verify import (
    MAX_MANIFEST_BYTES,
    Piece,
    check_space,
    digest_of,
    pieces_of,
)
from edgewright_node.reasons import Reason

_PART: Final = ".part"


class Transfer(Job, Protocol):
    """A job that is also told how much there is."""

    def sized(self, *, done: int, total: int) -> None:
        """Say how many bytes are here and how many there are in all."""


async def fetch_artifact(
    gateway: Gateway, where: slots.Deployment, digest: str, *, reserve: int, job: Transfer
) -> None:
    """Gather everything that ``digest`` names; a complete slot that has it is enough.

    Args:
        reserve: Bytes that must stay free on the disk.

    Raises:
        RetryLater: bytes were not what their digest names, or do not fit.
        Refused: the manifest is not one that this agent accepts.
        Superseded: another digest is wanted by now.
        OSError: the disk refused.
    """
    if store.observe(where).slot_of(digest) is not None:
        return
    target = store.incoming(where, digest)
    pieces = pieces_of(await _manifest(gateway, target, digest, job), digest=digest)
    missing = []
    for piece in pieces:
        here = (target / piece.file).is_file()
        if not here and not await asyncio.to_thread(store.reuse, where, piece, target / piece.file):
            missing.append(piece)
    arrived = {piece.file: _part_size(target, piece) for piece in missing}
    total = sum(piece.size for piece in pieces)
    needed = sum(piece.size - min(piece.size, arrived[piece.file]) for piece in missing)
    job.sized(done=total - needed, total=total)
    check_space(needed=needed, free=store.free_bytes(target), reserve=reserve)
    for piece in missing:
        await _piece(gateway, target, piece, job)


async def _manifest(gateway: Gateway, target: Path, digest: str, job: Job) -> bytes:
    path = target / slots.MANIFEST_FILE
    if path.is_file():
        content = path.read_bytes()
        if digest_of(content) == digest:
            return content
    part = path.with_name(path.name + _PART)
    await gateway.fetch(digest, part, limit=MAX_MANIFEST_BYTES, job=job)
    content = part.read_bytes()
    found = digest_of(content)
    if found != digest:
        part.unlink()
        raise RetryLater(Reason.DIGEST_MISMATCH, f"the manifest {digest} arrived as {found}")
    part.replace(path)
    return content


async def _piece(gateway: Gateway, target: Path, piece: Piece, job: Job) -> None:
    part = target / (piece.file + _PART)
    resumed = _part_size(target, piece) > 0
    if piece.size == 0:
        part.write_bytes(b"")
    else:
        await gateway.fetch(piece.digest, part, limit=piece.size, job=job)
    found = await asyncio.to_thread(store.hash_file, part)
    if found == piece.digest:
        part.replace(target / piece.file)
        return
    part.unlink()
    if not resumed:
        raise RetryLater(Reason.DIGEST_MISMATCH, f"{piece.file} arrived as {found}, not {piece.digest}")
    # What lay here may have been damaged by a power cut: once more, from the first byte.
    await _piece(gateway, target, piece, job)


def _part_size(target: Path, piece: Piece) -> int:
    try:
        return (target / (piece.file + _PART)).stat().st_size
    except FileNotFoundError:
        return 0
