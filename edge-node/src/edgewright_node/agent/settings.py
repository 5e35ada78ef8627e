"""The agent's settings: read once, in ``__main__``; every other module is given what it needs."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Final

PREFIX: Final = "EDGEWRIGHT_AGENT_"


class SettingsError(ValueError):
    """A variable is missing, unknown or has no value that it may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Each field is the variable of its name in capitals after ``EDGEWRIGHT_AGENT_``."""

    node_name: str
    """The name of the EdgeNode, the NodeAssignment and the Lease that this agent answers for."""

    root: Path
    """Where deployments and journals lie; servers see the same directory."""

    api_server: str
    """The API server, e.g. https://10.0.0.1:6443."""

    api_ca: Path | None = None
    """The file of its CA; none for plain HTTP."""

    api_token: Path
    """The file of the node's token for it; read again for each request, since tokens rotate."""

    gateway: str
    """The artifacts gateway, e.g. https://edgewright-gateway:8443."""

    gateway_ca: Path | None = None
    """The file of its CA; none for plain HTTP."""

    gateway_token: Path
    """The file of the node's token for it (audience edgewright); read again for each request."""

    metrics: str = ""
    """host:port of the Prometheus endpoint; empty for none."""

    reserve_bytes: int = 64 << 20
    """What a download leaves free on the disk, in bytes."""

    trial_seconds: float = 120.0
    """How long servers may take to load and test a model beside the active one."""

    confirm_seconds: float = 60.0
    """How long they may take to prove it after the switch, before the node goes back."""


def from_env(env: Mapping[str, str]) -> AgentSettings:
    """Read the settings.

    Raises:
        SettingsError: names each variable that is missing or unknown, or has a value of the wrong kind.
    """
    given = {name.removeprefix(PREFIX): value for name, value in env.items() if name.startswith(PREFIX)}
    known = {field.name.upper(): field for field in fields(AgentSettings)}
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise SettingsError(f"unknown: {', '.join(PREFIX + name for name in unknown)}")
    missing = [name for name, field in known.items() if field.default is MISSING and not given.get(name)]
    if missing:
        raise SettingsError(f"missing: {', '.join(PREFIX + name for name in missing)}")
    values: dict[str, Any] = {}
    for name, text in given.items():
        if text == "" and known[name].default is not MISSING:
            continue
        try:
            values[name.lower()] = _PARSERS[known[name].type](text)
        except ValueError as e:
            raise SettingsError(f"{PREFIX}{name}: {text!r} cannot be used: {e}") from e
    return AgentSettings(**values)


_PARSERS: Final[Mapping[object, Callable[[str], Any]]] = {
    str: str,
    Path: Path,
    Path | None: Path,
    int: int,
    float: float,
}
