"""Edgewright's own processes in a lab: the operator, and per node an agent and a server."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgewright_lab.installation import SYSTEM
from edgewright_lab.keeper import Kept
from edgewright_lab.processes import Command
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
class NodeHandle:
    """A running edge node."""

    name: str
    root: Path
    """The directory that agent and server share."""

    http_url: str
    """Of the server: Open Inference Protocol v2."""

    uds: Path
    """The server's Unix socket."""

    metrics_url: str
    """Of the agent."""

    agent: Kept
    server: Kept


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """Where one node's files lie."""

    directory: Path
    socket: Path

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def api_token(self) -> Path:
        return self.directory / "api-token"

    @property
    def gateway_token(self) -> Path:
        return self.directory / "gateway-token"


def operator_command(
    *,
    directory: Path,
    cluster: Cluster,
    token: Path,
    store: Store,
    http_port: int,
    gateway_port: int,
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
    argv = (sys.executable, "-m", "edgewright_operator")
    return Command(name="operator", argv=argv, directory=directory, env=env, grace_seconds=8.0)


def agent_command(
    name: str, files: NodeFiles, *, cluster: Cluster, gateway: str, gateway_ca: Path, metrics_port: int
) -> Command:
    """Return how to start a node's agent."""
    values = {
        "NODE_NAME": name,
        "ROOT": str(files.root),
        "API_SERVER": cluster.url,
        "API_CA": str(cluster.ca),
        "API_TOKEN": str(files.api_token),
        "GATEWAY": gateway,
        "GATEWAY_CA": str(gateway_ca),
        "GATEWAY_TOKEN": str(files.gateway_token),
        "METRICS": f"127.0.0.1:{metrics_port}",
    }
    env = {f"EDGEWRIGHT_AGENT_{name}": value for name, value in values.items()}
    argv = (sys.executable, "-m", "edgewright_node", "agent")
    return Command(name=f"{name}-agent", argv=argv, directory=files.directory, env=env)


def server_command(name: str, files: NodeFiles, *, http_port: int) -> Command:
    """Return how to start a node's server: one thread, since two nodes and more share this machine."""
    values = {
        "ROOT": str(files.root),
        "HTTP": f"127.0.0.1:{http_port}",
        "UDS": str(files.socket),
        "ID": "server-0",
        "THREADS": "1",
    }
    env = {f"EDGEWRIGHT_SERVER_{name}": value for name, value in values.items()}
    argv = (sys.executable, "-m", "edgewright_node", "server")
    return Command(name=f"{name}-server", argv=argv, directory=files.directory, env=env)
