"""What an installation puts into a cluster: CRDs, RBAC, policies, catalogue. Applied from what ships."""

import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from edgewright_lab.errors import LabError
from edgewright_lab.kube import Kubectl

SYSTEM = "edgewright-system"
NODES = "edgewright-nodes"
OPERATOR_ACCOUNT = "edgewright-operator"
NODE_ACCOUNT = "edgewright-node"

# The lab runs these as processes, or has no use for them without kubelets.
_LEFT_OUT = frozenset(
    {"Deployment", "DaemonSet", "Service", "PodDisruptionBudget", "ServiceMonitor", "NetworkPolicy"}
)
_FIRST = ("Namespace", "CustomResourceDefinition")
_POLICY_SECONDS = 20.0


def repository() -> Path:
    """Return the checkout that this package is installed from.

    Raises:
        LabError: it is installed from elsewhere, so ``crds/`` and ``charts/`` are not above it.
    """
    for above in Path(__file__).resolve().parents:
        if (above / "crds").is_dir() and (above / "charts").is_dir():
            return above
    raise LabError("no crds/ and charts/ above this package: give LabSettings.repository")


def install(kubectl: Kubectl, helm: Path, checkout: Path) -> None:
    """Apply ``crds/`` and what the chart renders, and wait until the API server serves the kinds.

    Raises:
        LabError: the chart does not render, or something is refused.
    """
    crds = [
        d for path in sorted((checkout / "crds").glob("*.yaml")) for d in yaml.safe_load_all(path.read_text())
    ]
    kubectl.apply(yaml.safe_dump_all(crds))
    # Not `kubectl wait`: it fails on a kind so new that it has no conditions yet.
    for crd in crds:
        kubectl.wait("crd", crd["metadata"]["name"], until="Established", timeout=30.0)
    rendered = render(helm, checkout / "charts" / "edgewright")
    namespaces, others = split(yaml.safe_load_all(rendered))
    present = {n["metadata"]["name"] for n in namespaces}
    # Helm makes the release's own namespace by a flag, so it is in no chart.
    namespaces += [_namespace(name) for name in (SYSTEM, NODES) if name not in present]
    kubectl.apply(yaml.safe_dump_all(namespaces))
    kubectl.apply(yaml.safe_dump_all(others))
    # The storage of a new kind answers 429 for a moment, which kubectl waits out and a watch does not.
    kubectl("get", ",".join(path.stem for path in (checkout / "crds").glob("*.yaml")), "--all-namespaces")
    _wait_for_policies(kubectl, others)


def render(helm: Path, chart: Path) -> str:
    """Return what Helm makes of the chart, as YAML documents."""
    # The chart insists on these; they shape the Deployment only, which the lab leaves out.
    values = {
        "image": {"repository": "edgewright.invalid/operator"},
        "objectStore": {
            "endpoint": "http://store.invalid",
            "bucket": "edgewright",
            "credentialsSecret": {"name": "lab"},
        },
    }
    command = [str(helm), "template", "edgewright", str(chart), "--namespace", SYSTEM, "--values", "-"]
    done = subprocess.run(command, input=yaml.safe_dump(values), capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def split(documents: Iterable[Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the namespaces and what else the lab applies, without the workloads."""
    kept = [d for d in documents if d and d["kind"] not in _LEFT_OUT]
    return [d for d in kept if d["kind"] == "Namespace"], [d for d in kept if d["kind"] != "Namespace"]


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _wait_for_policies(kubectl: Kubectl, documents: Iterable[dict[str, Any]]) -> None:
    """Wait until the API server has compiled the admission policies: before, they let everything pass."""
    names = [d["metadata"]["name"] for d in documents if d["kind"] == "ValidatingAdmissionPolicyBinding"]
    if not names:
        return
    deadline = time.monotonic() + _POLICY_SECONDS
    while not _is_enforced(kubectl):
        if time.monotonic() > deadline:
            raise LabError(f"the admission policies {', '.join(names)} do not take effect")
        time.sleep(0.2)


def _is_enforced(kubectl: Kubectl) -> bool:
    """Return whether a node's account without a node in its token is refused an EdgeNode."""
    probe = {
        "apiVersion": "edgewright.dev/v1alpha1",
        "kind": "EdgeNode",
        "metadata": {"name": "edgewright-lab-probe"},
        "spec": {},
    }
    impersonated = [f"--as=system:serviceaccount:{SYSTEM}:{NODE_ACCOUNT}", "--dry-run=server", "-f", "-"]
    try:
        kubectl("create", *impersonated, stdin=yaml.safe_dump(probe))
    except LabError as e:
        if "ValidatingAdmissionPolicy" in str(e) or "denied request" in str(e):
            return True
        if "forbidden" in str(e):
            return False
        raise
    return False
