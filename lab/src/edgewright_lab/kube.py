"""What the lab does at the API server as an administrator, by kubectl."""

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgewright_lab.errors import LabError


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl, bound to one cluster."""

    binary: Path
    kubeconfig: Path
    cache: Path
    """Where it keeps what it discovered; not shared, since labs come and go on the same ports."""

    def __call__(self, *args: str, stdin: str | None = None) -> str:
        """Run it and return what it prints.

        Raises:
            LabError: it failed; the message is what it printed to stderr.
        """
        command = [str(self.binary), f"--kubeconfig={self.kubeconfig}", *args]
        command.append(f"--cache-dir={self.cache}")
        env = os.environ | {"KUBERC": "off"}  # the user's own defaults and aliases
        done = subprocess.run(command, input=stdin, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, documents: str) -> None:
        """Apply YAML documents, server-side, as the field manager ``edgewright-lab``."""
        self(
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=edgewright-lab",
            "-f",
            "-",
            stdin=documents,
        )

    def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """Return an object, or None where there is none."""
        where = ["--namespace", namespace] if namespace else []
        found = self("get", kind, name, *where, "--ignore-not-found", "-o", "json")
        return json.loads(found) if found.strip() else None

    def wait(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        until: Callable[[dict[str, Any]], bool] | str,
        timeout: float = 60.0,
    ) -> dict[str, Any]:
        """Return an object once ``until`` holds: a condition's type that must be True, or a predicate.

        Raises:
            LabError: ``timeout`` seconds passed; the message shows the object's status.
        """
        holds = until if callable(until) else lambda o: condition(o, until) == "True"
        deadline = time.monotonic() + timeout
        while True:
            seen = self.get(kind, name, namespace)
            if seen is not None and holds(seen):
                return seen
            if time.monotonic() > deadline:
                status = "absent" if seen is None else json.dumps(seen.get("status"), indent=1)
                raise LabError(f"{kind} {name}: {until} does not hold after {timeout:g} s; status: {status}")
            time.sleep(0.25)

    def token(
        self, account: str, namespace: str, *, audience: str = "", node: Mapping[str, Any] | None = None
    ) -> str:
        """Return a service account token of one hour, bound to the core ``node`` object when given."""
        args = ["create", "token", account, "--namespace", namespace, "--duration=1h"]
        if audience:
            args.append(f"--audience={audience}")
        if node:
            bound = node["metadata"]
            args += ["--bound-object-kind=Node", f"--bound-object-name={bound['name']}"]
            args.append(f"--bound-object-uid={bound['uid']}")
        return self(*args).strip()


def condition(obj: Mapping[str, Any], kind: str) -> str | None:
    """Return the status (True, False, Unknown) of an object's condition, None where it has none."""
    conditions = (obj.get("status") or {}).get("conditions") or []
    return next((c["status"] for c in conditions if c["type"] == kind), None)


def server_of(kubeconfig: Path, directory: Path) -> tuple[str, Path]:
    """Return the URL of a kubeconfig's current cluster and a file with its CA, written to ``directory``."""
    config = yaml.safe_load(kubeconfig.read_text())
    context = next(c for c in config["contexts"] if c["name"] == config["current-context"])["context"]
    cluster = next(c for c in config["clusters"] if c["name"] == context["cluster"])["cluster"]
    ca = directory / "cluster-ca.crt"
    if "certificate-authority-data" in cluster:
        ca.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    elif "certificate-authority" in cluster:
        ca.write_bytes((kubeconfig.parent / cluster["certificate-authority"]).read_bytes())
    else:
        raise LabError(f"{kubeconfig} names no certificate authority")
    return cluster["server"], ca
