"""A real Kubernetes control plane on loopback: etcd, kube-apiserver (TLS, RBAC), kube-controller-manager."""

import datetime
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright_lab import pki
from edgewright_lab.binaries import Binaries
from edgewright_lab.errors import LabError
from edgewright_lab.ports import free_ports
from edgewright_lab.probes import answers
from edgewright_lab.processes import Command, Process, Processes
from edgewright_lab.progress import Report

_ATTEMPTS = 3
_READY_SECONDS = 60.0
_ISSUER = "https://kubernetes.default.svc"
_CONTROLLERS = ("garbagecollector", "namespace", "serviceaccount", "serviceaccount-token")


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A running control plane."""

    url: str
    ca: Path
    kubeconfig: Path
    """Of an administrator (group system:masters)."""

    processes: Sequence[Process]
    """In the order they were started: etcd, kube-apiserver, kube-controller-manager."""

    def stop(self) -> None:
        """End it, the last started first."""
        for process in reversed(self.processes):
            process.stop()


def start(directory: Path, binaries: Binaries, processes: Processes, report: Report) -> ControlPlane:
    """Start a control plane whose data and keys lie in ``directory``, and wait until it answers.

    Raises:
        LabError: it did not get ready; the message shows the log's tail.
    """
    certificates = pki.create(directory / "pki", now=datetime.datetime.now(datetime.UTC))
    for attempt in range(1, _ATTEMPTS + 1):
        data = directory / f"etcd-{attempt}"
        try:
            return _start_once(directory, data, certificates, binaries, processes)
        except LabError as e:
            # Another lab may have taken a port between our probe and the bind.
            if "address already in use" not in str(e) or attempt == _ATTEMPTS:
                raise
            report("a port was taken meanwhile: starting the control plane again on others")
    raise AssertionError("unreachable")


def _start_once(
    directory: Path, data: Path, certificates: pki.Pki, binaries: Binaries, processes: Processes
) -> ControlPlane:
    client_port, peer_port, api_port = free_ports(3)
    url = f"https://127.0.0.1:{api_port}"
    started: list[Process] = []
    try:
        started.append(processes.start(_etcd(binaries.etcd, data, client_port, peer_port)))
        # kube-apiserver waits for etcd by itself.
        api_server = processes.start(
            _api_server(
                binaries.kube_apiserver, directory, certificates, etcd_port=client_port, port=api_port
            )
        )
        started.append(api_server)
        context = ssl.create_default_context(cafile=certificates.ca)
        context.load_cert_chain(certificates.admin.certificate, certificates.admin.key)
        api_server.wait_ready(
            lambda: started[0].returncode() is not None or answers(f"{url}/readyz", context=context),
            timeout=_READY_SECONDS,
        )
        if started[0].returncode() is not None:
            raise LabError(f"etcd ended:\n{started[0].log_tail()}")
        manager = processes.start(
            _controller_manager(binaries.kube_controller_manager, directory, certificates, url)
        )
        started.append(manager)
        account = f"{url}/api/v1/namespaces/default/serviceaccounts/default"
        manager.wait_ready(lambda: answers(account, context=context), timeout=_READY_SECONDS)
    except BaseException:
        for process in reversed(started):
            process.kill()
        raise
    admin = pki.kubeconfig(
        directory / "kubeconfig", server=url, ca=certificates.ca, client=certificates.admin
    )
    return ControlPlane(url, certificates.ca, admin, tuple(started))


def _etcd(binary: Path, data: Path, client_port: int, peer_port: int) -> Command:
    client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    argv = [str(binary), "--name=lab", f"--data-dir={data}", "--unsafe-no-fsync", "--log-level=warn"]
    argv += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
    argv += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
    argv += [f"--initial-cluster=lab={peer}"]
    return Command(name="etcd", argv=argv, directory=data.parent, env={}, grace_seconds=0)


def _api_server(
    binary: Path, directory: Path, certificates: pki.Pki, *, etcd_port: int, port: int
) -> Command:
    keys = certificates.service_accounts
    argv = [
        str(binary),
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        # A loopback address is no valid endpoint of the Service `kubernetes`, which nothing here uses.
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.43.0.0/16",
        f"--cert-dir={directory / 'apiserver'}",
        f"--tls-cert-file={certificates.apiserver.certificate}",
        f"--tls-private-key-file={certificates.apiserver.key}",
        f"--client-ca-file={certificates.ca}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        # The audience `edgewright` is not among these: a gateway token opens nothing at the API server.
        f"--api-audiences={_ISSUER}",
        f"--service-account-issuer={_ISSUER}",
        f"--service-account-key-file={keys}",
        f"--service-account-signing-key-file={keys}",
    ]
    return Command(name="kube-apiserver", argv=argv, directory=directory, env={}, grace_seconds=0)


def _controller_manager(binary: Path, directory: Path, certificates: pki.Pki, url: str) -> Command:
    config = directory / "controller-manager.kubeconfig"
    pki.kubeconfig(config, server=url, ca=certificates.ca, client=certificates.controller_manager)
    argv = [
        str(binary),
        f"--kubeconfig={config}",
        f"--controllers={','.join(_CONTROLLERS)}",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={certificates.service_accounts}",
        f"--root-ca-file={certificates.ca}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]
    return Command(name="kube-controller-manager", argv=argv, directory=directory, env={}, grace_seconds=0)
