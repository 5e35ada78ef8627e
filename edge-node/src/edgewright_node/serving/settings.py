"""Settings of ``edgewright-node server``, read once from ``EDGEWRIGHT_SERVER_*``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFIX: Final = "EDGEWRIGHT_SERVER_"


class SettingsInvalid(Exception):  # noqa: N818 - the name says what happened
    """A variable is unknown, missing or not what it should be; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Read once, in ``__main__``; every other module is given what it needs."""

    root: Path
    """The node's directory, the same as the agent's."""

    server_id: str
    """Names this server's reports; unique among the servers of one root, and the same after a restart."""

    host: str = ""
    port: int = 0
    """Where to listen for TCP; no host means no TCP, port 0 any free one."""

    uds: Path | None = None
    """Where to listen for local callers."""

    threads: int = 1
    """Threads within one operator of a model."""

    workers: int = 2
    """Inferences of slow models at once; each uses ``threads``."""

    drain_seconds: float = 20.0
    """How long requests in flight may take after SIGTERM; Kubernetes kills after 30."""


def from_env(environment: Mapping[str, str]) -> ServerSettings:
    """Read the settings.

    Raises:
        SettingsInvalid: what is wrong, by variable; a name that no setting has is wrong too.
    """
    given = {k.removeprefix(PREFIX): v for k, v in environment.items() if k.startswith(PREFIX)}
    root = given.pop("ROOT", "")
    server_id = given.pop("ID", "server")
    host, port = _address(given.pop("HTTP", ""))
    uds = given.pop("UDS", "")
    threads = _count("THREADS", given.pop("THREADS", "1"))
    workers = _count("WORKERS", given.pop("WORKERS", "2"))
    drain = _count("DRAIN_SECONDS", given.pop("DRAIN_SECONDS", "20"))
    if given:
        raise SettingsInvalid(f"no such setting: {', '.join(PREFIX + name for name in sorted(given))}")
    if not root:
        raise SettingsInvalid(f"{PREFIX}ROOT is the node's directory and has no default")
    if not host and not uds:
        raise SettingsInvalid(f"set {PREFIX}HTTP to host:port, {PREFIX}UDS to a path, or both")
    if not re.fullmatch(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,127}", server_id):
        raise SettingsInvalid(f"{PREFIX}ID has letters, digits, '-', '_' and '.', not {server_id!r}")
    return ServerSettings(
        root=Path(root),
        server_id=server_id,
        host=host,
        port=port,
        uds=Path(uds) if uds else None,
        threads=threads,
        workers=workers,
        drain_seconds=drain,
    )


def _address(value: str) -> tuple[str, int]:
    if not value:
        return "", 0
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise SettingsInvalid(f"{PREFIX}HTTP is host:port, not {value!r}")
    return host.strip("[]"), int(port)


def _count(name: str, value: str) -> int:
    if not value.isdigit() or not 1 <= int(value) <= 1024:
        raise SettingsInvalid(f"{PREFIX}{name} is a number from 1 to 1024, not {value!r}")
    return int(value)
