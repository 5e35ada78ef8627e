"""How a lab runs the operator: under the ServiceAccount and the roles that the chart ships."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright_lab.installation import SYSTEM
from edgewright_lab.keeper import Kept
from edgewright_lab.processes import Command, Process
from edgewright_lab.store import REGION, Store


@dataclass(frozen=True, slots=True)
class Cluster:
    """The API server, as operator and agents reach it: no administrator's credentials."""

    url: str
    ca: Path


@dataclass(frozen=True, slots=True)
class OperatorHandle:
    """A running operator."""

    kept: Kept
    url: str
    """Of /healthz, /readyz and /metrics."""

    gateway_url: str


@dataclass(frozen=True, slots=True)
class LaunchedOperator:
    """An operator that is not ready yet."""

    process: Process
    url: str
    gateway_url: str


def operator_command(
    *,
    directory: Path,
    cluster: Cluster,
    token: Path,
    store: Store,
    http_port: int,
    gateway_port: int,
    argv: Sequence[str],
    extra: Mapping[str, str],
) -> Command:
    """Return how to start the operator; ``extra`` variables win."""
    values = {
        "API_SERVER": cluster.url,
        "API_CA": str(cluster.ca),
        "API_TOKEN": str(token),
        "NAMESPACE": SYSTEM,
        "S3_ENDPOINT": store.endpoint,
        "S3_BUCKET": store.bucket,
        "S3_ACCESS_KEY": store.access_key,
        "S3_SECRET_KEY": store.secret_key,
        "S3_REGION": REGION,
        "HTTP": f"127.0.0.1:{http_port}",
        "GATEWAY_BIND": f"127.0.0.1:{gateway_port}",
        "GATEWAY_URL": f"https://127.0.0.1:{gateway_port}",
        "WORK_DIR": str(directory / "work"),
    }
    env = {f"EDGEWRIGHT_OPERATOR_{name}": value for name, value in values.items()} | dict(extra)
    return Command(name="operator", argv=argv, directory=directory, env=env, grace_seconds=8.0)
