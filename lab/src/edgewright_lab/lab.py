"""A lab: control plane, object store, installation, operator and nodes, as one object."""

import contextlib
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import yaml

from edgewright_lab import control_plane, installation, store
from edgewright_lab.binaries import binaries
from edgewright_lab.cache import Cache
from edgewright_lab.errors import LabError
from edgewright_lab.files import replace
from edgewright_lab.keeper import Keeper
from edgewright_lab.kube import Kubectl, server_of
from edgewright_lab.nodes import (
    LaunchedServer,
    NodeFiles,
    NodeHandle,
    agent_command,
    node_object,
    server_command,
    write_tokens,
)
from edgewright_lab.operators import Cluster, LaunchedOperator, OperatorHandle, operator_command
from edgewright_lab.ports import free_ports
from edgewright_lab.probes import answers
from edgewright_lab.processes import Processes
from edgewright_lab.progress import Report, silent
from edgewright_lab.settings import LabSettings
from edgewright_lab.tools import Tools, tools

_TOKEN_REFRESH_SECONDS = 20 * 60.0  # of the hour that a token lives
_CA_REFRESH_SECONDS = 30.0
_READY_SECONDS = 60.0

T = TypeVar("T")


class Lab:
    """Everything that ``settings`` asks for, from ``start`` (or ``with``) until ``stop``.

    What is not asked for is absent: reading ``store``, ``operator`` or ``kubectl`` of a lab without one raises
    LabError, and ``nodes`` is empty.
    """

    def __init__(self, settings: LabSettings | None = None, *, report: Report = silent) -> None:
        self.settings = settings or LabSettings.from_env()
        self.nodes: dict[str, NodeHandle] = {}
        self.keeper = Keeper(report)
        self._report = report
        self._cleanup = contextlib.ExitStack()
        self._processes: Processes | None = None
        self._kubectl: Kubectl | None = None
        self._cluster: Cluster | None = None
        self._store: store.Store | None = None
        self._operator: OperatorHandle | None = None

    # -- what it holds ---------------------------------------------------------------------------------

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as an administrator: ``lab.kubectl("get", "pods", stdin=None) -> str``."""
        return _present(self._kubectl, "cluster")

    @property
    def kubeconfig(self) -> Path:
        """Of an administrator."""
        return self.kubectl.kubeconfig

    @property
    def cluster(self) -> Cluster:
        """URL and CA of the API server."""
        return _present(self._cluster, "cluster")

    @property
    def store(self) -> store.Store:
        """The object store: ``endpoint``, ``bucket``, keys, ``client()`` and ``upload(path, key)``."""
        return _present(self._store, "object store")

    @property
    def operator(self) -> OperatorHandle:
        """The operator."""
        return _present(self._operator, "operator")

    @property
    def processes(self) -> Processes:
        """What starts this lab's processes, for further ones of a test's own."""
        return _present(self._processes, "processes: it is not started")

    # -- life ------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything, each part once what it needs is ready.

        Raises:
            LabError: a part did not get ready; what had started is stopped again.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything, in order, and remove the directory if it is a temporary one."""
        self.keeper.stop()  # else it would start again what is being stopped
        self._cleanup.close()

    def _start(self) -> None:
        settings = self.settings
        cache = Cache(settings.cache)
        self.directory = settings.directory or Path(tempfile.mkdtemp(prefix="edgewright-lab-"))
        logs = self.directory / "logs"
        logs.mkdir(parents=True)
        (self.directory / "run").mkdir()
        self._processes = Processes(logs)
        self._cleanup.callback(self._processes.close)
        if settings.directory is None:
            self._processes.remove_at_end(self.directory)
        # The store needs seconds and hardly any CPU to find itself; meanwhile the rest starts.
        with ThreadPoolExecutor(1) as beside:
            store_ready = beside.submit(self._start_store) if settings.store else None
            if settings.cluster:
                self._start_cluster_and_install(cache)
            if store_ready:
                store_ready.result()
        self.keeper.start()
        # Interpreters start side by side; only the agents need the operator, for its gateway.
        operator = self._launch_operator() if settings.operator else None
        servers = [self._launch_server(f"edge-{number}") for number in range(1, settings.nodes + 1)]
        if operator:
            self._wait_for_operator(operator)
        for server in servers:
            self._launch_agent(server)
        self._wait_for_nodes()

    def _start_cluster_and_install(self, cache: Cache) -> None:
        settings = self.settings
        found = tools(cache, uv=settings.uv, report=self._report)
        self._start_cluster(cache, found)
        if settings.install:
            checkout = settings.repository or installation.repository()
            installation.install(self.kubectl, found.helm, checkout)
            self._report("CRDs, roles, policies and target catalogue applied")

    def _start_cluster(self, cache: Cache, found: Tools) -> None:
        settings = self.settings
        if settings.kubeconfig:
            kubeconfig = settings.kubeconfig
            self._cluster = Cluster(*server_of(kubeconfig, self.directory))
        else:
            built = binaries(cache, assets=settings.kubebuilder_assets, uv=settings.uv, report=self._report)
            running = control_plane.start(self.directory / "cluster", built, self.processes, self._report)
            self._cleanup.callback(running.stop)
            kubeconfig = running.kubeconfig
            self._cluster = Cluster(running.url, running.ca)
            self._report(f"Kubernetes API at {running.url}")
        self._kubectl = Kubectl(found.kubectl, kubeconfig, self.directory / "kubectl-cache")

    def _start_store(self) -> None:
        if self.settings.external_store:
            self._store = store.external(self.settings.external_store)
        else:
            self._store = store.start(self.directory / "store", self.processes, self._report)
            self._cleanup.callback(self._store.stop)
        self._report(f"object store at {self._store.endpoint}")

    def _launch_operator(self) -> LaunchedOperator:
        directory = self.directory / "operator"
        directory.mkdir(mode=0o700)
        token = directory / "token"

        def refresh() -> None:
            account = installation.OPERATOR_ACCOUNT
            replace(token, self.kubectl.token(account, installation.SYSTEM))

        refresh()
        self.keeper.every(_TOKEN_REFRESH_SECONDS, refresh)
        http_port, gateway_port = free_ports(2)
        process = self.processes.start(
            operator_command(
                directory=directory,
                cluster=self.cluster,
                token=token,
                store=self.store,
                http_port=http_port,
                gateway_port=gateway_port,
                argv=self.settings.operator_argv,
                extra=self.settings.operator_env,
            )
        )
        self._cleanup.callback(process.stop)
        return LaunchedOperator(process, f"http://127.0.0.1:{http_port}", f"https://127.0.0.1:{gateway_port}")

    def _wait_for_operator(self, launched: LaunchedOperator) -> None:
        launched.process.wait_ready(partial(answers, f"{launched.url}/readyz"), timeout=_READY_SECONDS)
        kept = self.keeper.keep(launched.process)
        self._operator = OperatorHandle(kept, launched.url, launched.gateway_url)
        self._refresh_gateway_ca()
        self.keeper.every(_CA_REFRESH_SECONDS, self._refresh_gateway_ca)
        self._report(f"operator at {launched.url}, gateway at {launched.gateway_url}")

    @property
    def _gateway_ca(self) -> Path:
        return self.directory / "gateway-ca.crt"

    def _refresh_gateway_ca(self) -> None:
        """Copy the gateway's CA to where agents read it; the operator rotates it."""
        found = self.kubectl.wait(
            "configmap",
            "edgewright-gateway-ca",
            installation.SYSTEM,
            until=lambda o: bool(o.get("data", {}).get("ca.crt")),
        )
        replace(self._gateway_ca, found["data"]["ca.crt"])

    def _launch_server(self, name: str) -> LaunchedServer:
        """Register the core Node, mint its tokens and start its server, which needs neither."""
        files = NodeFiles.create(self.directory, name)
        if self.settings.kubeconfig:  # a cluster of our own ends anyway
            self._cleanup.callback(
                self.kubectl, "delete", f"node/{name}", f"edgenode/{name}", "--ignore-not-found"
            )
        self.kubectl.apply(yaml.safe_dump(node_object(name)))
        refresh = partial(write_tokens, self.kubectl, name, files)
        refresh()
        self.keeper.every(_TOKEN_REFRESH_SECONDS, refresh)
        (port,) = free_ports(1)
        process = self.processes.start(server_command(name, files, http_port=port))
        self._cleanup.callback(process.stop)
        return LaunchedServer(name, files, port, process)

    def _launch_agent(self, server: LaunchedServer) -> None:
        (metrics_port,) = free_ports(1)
        process = self.processes.start(
            agent_command(
                server.name,
                server.files,
                cluster=self.cluster,
                gateway=self.operator.gateway_url,
                gateway_ca=self._gateway_ca,
                metrics_port=metrics_port,
            )
        )
        self._cleanup.callback(process.stop)
        self.nodes[server.name] = NodeHandle(
            name=server.name,
            root=server.files.root,
            http_url=f"http://127.0.0.1:{server.port}",
            uds=server.files.socket,
            metrics_url=f"http://127.0.0.1:{metrics_port}/metrics",
            agent=self.keeper.keep(process),
            server=self.keeper.keep(server.process),
        )

    def _wait_for_nodes(self) -> None:
        """Wait until each server answers and each agent has registered its EdgeNode."""
        for node in self.nodes.values():
            node.server.process.wait_ready(
                partial(answers, f"{node.http_url}/v2/health/live"), timeout=_READY_SECONDS
            )
            node.agent.process.wait_ready(partial(self._is_registered, node.name), timeout=_READY_SECONDS)
            self._report(f"node {node.name} at {node.http_url}")

    def _is_registered(self, name: str) -> bool:
        return self.kubectl.get("edgenode", name) is not None

    # -- conveniences ----------------------------------------------------------------------------------

    def apply(self, path: Path) -> None:
        """Apply a YAML file, or a directory of them."""
        self.kubectl("apply", "--server-side", "-f", str(path))

    def upload(self, path: Path, key: str) -> str:
        """Upload a file to the lab's bucket and return its ``s3://`` address."""
        return self.store.upload(path, key)

    def wait(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        until: Callable[[dict[str, Any]], bool] | str,
        timeout: float = 60.0,
    ) -> dict[str, Any]:
        """Return an object once a condition's type is True or a predicate holds; see ``Kubectl.wait``."""
        return self.kubectl.wait(kind, name, namespace, until=until, timeout=timeout)


def _present(part: T | None, what: str) -> T:
    if part is None:
        raise LabError(f"this lab has no {what}")
    return part
