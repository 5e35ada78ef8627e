"""A control plane of its own with both charts installed by Helm, for tests of the charts."""

import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgewright_lab import control_plane
from edgewright_lab.binaries import binaries
from edgewright_lab.cache import Cache
from edgewright_lab.processes import Processes
from edgewright_lab.progress import silent
from edgewright_lab.settings import LabSettings
from edgewright_lab.tools import Tools, tools
from support.api_client import JSON, ApiClient, admin

CHARTS: Final = Path(__file__).resolve().parents[2] / "charts"
SYSTEM: Final = "edgewright-system"
VALUES: Final[Mapping[str, str]] = {
    "image.repository": "edgewright/operator",
    "objectStore.endpoint": "http://store.example:8333",
    "objectStore.bucket": "models",
    "objectStore.credentialsSecret.name": "edgewright-store",
}
"""The least that an installation must say."""


def commands() -> Tools:
    """Return Helm and kubectl out of the lab's cache."""
    settings = LabSettings.from_env()
    return tools(Cache(settings.cache), uv=settings.uv, report=silent)


def settings_of(values: Mapping[str, str]) -> list[str]:
    """Return Helm's arguments for ``values``."""
    return [argument for name, value in values.items() for argument in ("--set", f"{name}={value}")]


@dataclass(frozen=True, slots=True)
class ChartCluster:
    """A real API server, whom to ask as, and the commands that know it."""

    admin: ApiClient
    tools: Tools
    kubeconfig: Path
    _bare: ssl.SSLContext

    def helm(self, *arguments: str) -> str:
        """Run Helm and return what it printed; a failure fails the test."""
        return self._run(str(self.tools.helm), "--kubeconfig", str(self.kubeconfig), *arguments)

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl and return what it printed on either stream; a failure fails the test."""
        return self._run(str(self.tools.kubectl), "--kubeconfig", str(self.kubeconfig), *arguments)

    def account(self, name: str, *, node: JSON | None = None, audience: str = "") -> ApiClient:
        """Return a client with a token of a ServiceAccount in the operator's namespace.

        Args:
            name: The ServiceAccount.
            node: The Node object that the token is bound to, as the API server returned it.
            audience: Whom the token is for; empty is the API server.
        """
        spec: dict[str, Any] = {"expirationSeconds": 3600}
        if audience:
            spec["audiences"] = [audience]
        if node is not None:
            metadata = node["metadata"]
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Node"} | {
                key: metadata[key] for key in ("name", "uid")
            }
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/{name}/token"
        return self.admin.with_token(self.admin.must("POST", path, body)["status"]["token"], self._bare)

    @staticmethod
    def _run(*argv: str) -> str:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"{' '.join(argv)}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr


@contextmanager
def chart_cluster(directory: Path) -> Iterator[ChartCluster]:
    """Start a control plane in ``directory``, install both charts, and end it all at the end."""
    settings = LabSettings.from_env()
    cache = Cache(settings.cache)
    built = binaries(cache, assets=settings.kubebuilder_assets, uv=settings.uv, report=silent)
    processes = Processes(directory)
    try:
        plane = control_plane.start(directory, built, processes, silent)
        client, bare = admin(plane.kubeconfig, directory)
        cluster = ChartCluster(client, commands(), plane.kubeconfig, bare)
        kinds, operator = str(CHARTS / "edgewright-crds"), str(CHARTS / "edgewright")
        cluster.helm("install", "edgewright-crds", kinds, "-n", SYSTEM, "--create-namespace", "--wait")
        cluster.helm("install", "edgewright", operator, "-n", SYSTEM, *settings_of(VALUES))
        yield cluster
        plane.stop()
    finally:
        processes.close()
