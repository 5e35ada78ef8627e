"""The operator's settings: read once, in ``__main__``; every other module is given what it needs."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

from edgewright_operator.cluster.client import Connection

PREFIX: Final = "EDGEWRIGHT_OPERATOR_"
SECRETS: Final = (PREFIX + "S3_ACCESS_KEY", PREFIX + "S3_SECRET_KEY")
"""Variables that are taken out of the environment once they were read."""


class SettingsError(Exception):
    """A variable is missing, unknown or not of its form; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Each field is the variable ``EDGEWRIGHT_OPERATOR_<FIELD>``."""

    s3_endpoint: str
    """Address of the object store, e.g. ``http://seaweedfs:8333``."""
    s3_bucket: str
    """The installation's bucket. Sources and data sets lie in it, too."""
    s3_access_key: str
    s3_secret_key: str
    s3_region: str = "us-east-1"
    s3_prefix: str = ""
    """What every name of this installation begins with; empty is the whole bucket."""

    s3_public_endpoint: str = ""
    """The store as nodes reach it, for the pre-signed URLs of ``Redirect``; empty is ``s3_endpoint``."""

    gateway_url: str
    """How nodes reach the gateway, e.g. ``https://edgewright-gateway.edgewright-system.svc:8443``."""
    gateway_bind: str = "0.0.0.0:8443"
    """Where the gateway listens, ``host:port``."""
    gateway_mode: str = "Proxy"
    """``Proxy`` streams content itself, ``Redirect`` hands out pre-signed URLs of the store."""

    api_server: str = ""
    """Address of the API server; empty is the cluster that the operator runs in."""
    api_ca: Path = Path()
    """The CA (PEM) of the API server; read when ``api_server`` is given."""
    api_token: Path = Path()
    """A bearer token; read again whenever the file changed."""

    namespace: str = "edgewright-system"
    """Where the operator keeps what is its own."""
    http: str = "0.0.0.0:8080"
    """Where health and metrics are served, ``host:port``."""
    work_dir: Path = Path("/var/lib/edgewright")
    """Where files are kept while they are read; made if it is missing."""

    build_command: str = ""
    """The builder's command; empty is this Python with ``-m edgewright_build``."""
    build_concurrency: int = 1
    """How many build steps run at once."""

    removal_delay_seconds: int = 600
    """How long an entry outlives its deployment before nodes are told to remove it."""
    progress_deadline_seconds: int = 600
    """How long a missing reference counts as work in hand."""
    resync_seconds: int = 600
    """How often everything is listed anew."""
    workers: int = 4
    """How many objects are visited at once."""
    log_level: str = "INFO"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the variables.

        Raises:
            SettingsError: one is missing, unknown, or no number where a number is asked.
        """
        known = {PREFIX + f.name.upper(): f for f in fields(cls)}
        unknown = sorted(name for name in env if name.startswith(PREFIX) and name not in known)
        if unknown:
            raise SettingsError(f"not known: {', '.join(unknown)}. Known: {', '.join(sorted(known))}")
        missing = sorted(n for n, f in known.items() if f.default is MISSING and n not in env)
        if missing:
            raise SettingsError(f"not set: {', '.join(missing)}")
        values: dict[str, Any] = {}
        for name, field in known.items():
            if name in env:
                values[field.name] = _typed(name, env[name], field.type)
        return cls(**values)

    def connection(self, env: Mapping[str, str]) -> Connection:
        """Return where the API server is; in a cluster the kubelet says so in ``env``.

        Raises:
            SettingsError: no address is given and this is no Pod.
        """
        if self.api_server:
            return Connection(self.api_server, self.api_ca, self.api_token)
        host, port = env.get("KUBERNETES_SERVICE_HOST"), env.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise SettingsError(f"outside of a cluster {PREFIX}API_SERVER, _API_CA and _API_TOKEN are needed")
        return Connection.in_cluster(host, port)


def host_port(text: str) -> tuple[str, int]:
    """Split ``host:port``; an IPv6 address may stand in brackets.

    Raises:
        SettingsError: it has no port.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal():
        raise SettingsError(f"{text!r} is not host:port")
    return host.strip("[]"), int(port)


def _typed(name: str, text: str, kind: Any) -> Any:
    if kind is Path:
        return Path(text)
    if kind is not int:
        return text
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"{name} is a number of at least 1, not {text!r}")
    return int(text)
