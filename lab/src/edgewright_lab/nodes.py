"""How a lab runs an edge node: a directory, an agent and a server, and tokens bound to a Node object."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from edgewright_lab.errors import LabError
from edgewright_lab.files import replace
from edgewright_lab.installation import NODE_ACCOUNT, SYSTEM
from edgewright_lab.keeper import Kept
from edgewright_lab.kube import Kubectl
from edgewright_lab.operators import Cluster
from edgewright_lab.processes import Command, Process

_GATEWAY_AUDIENCE = "edgewright"
_UNIX_SOCKET_BYTES = 100  # the kernel's limit is 108


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

    @classmethod
    def create(cls, lab: Path, name: str) -> Self:
        """Make the directories of a node in those of a lab.

        Raises:
            LabError: the path of its socket is longer than the kernel takes.
        """
        files = cls(lab / "nodes" / name, lab / "run" / f"{name}.sock")
        if len(str(files.socket).encode()) > _UNIX_SOCKET_BYTES:
            raise LabError(f"{files.socket} is too long for a Unix socket: choose a shorter directory")
        files.directory.mkdir(parents=True, mode=0o700)
        files.root.mkdir()
        return files

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def api_token(self) -> Path:
        return self.directory / "api-token"

    @property
    def gateway_token(self) -> Path:
        return self.directory / "gateway-token"


@dataclass(frozen=True, slots=True)
class LaunchedServer:
    """A node of which only the server runs yet."""

    name: str
    files: NodeFiles
    port: int
    process: Process


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


def node_object(name: str) -> dict[str, Any]:
    """Return the core Node that tokens are bound to. It runs no kubelet, so no pod may be scheduled to it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"unschedulable": True},
    }


def write_tokens(kubectl: Kubectl, name: str, files: NodeFiles) -> None:
    """Write a node's two tokens, bound to its Node object: for the API server and for the gateway.

    Raises:
        LabError: the Node object is gone.
    """
    node = kubectl.get("node", name)
    if node is None:
        raise LabError(f"Node {name} is gone, so its tokens cannot be renewed")
    replace(files.api_token, kubectl.token(NODE_ACCOUNT, SYSTEM, node=node))
    replace(files.gateway_token, kubectl.token(NODE_ACCOUNT, SYSTEM, node=node, audience=_GATEWAY_AUDIENCE))
