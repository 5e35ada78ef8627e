"""The digits network in a whole lab: its files uploaded, EdgeModels and EdgeDeployments of it, load on its nodes."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgewright_lab.kube import condition
from edgewright_lab.lab import Lab
from support.model_builders import Floats, digits, digits_model, write_data_set

REPOSITORY = Path(__file__).resolve().parents[2]
Object = dict[str, Any]


def settled(seen: Object) -> bool:
    """Return whether the newest generation is done, well or not."""
    current = seen["status"]["observedGeneration"] == seen["metadata"]["generation"]
    return current and "True" in (condition(seen, "Complete"), condition(seen, "Stalled"))


@dataclass(frozen=True, slots=True)
class DigitsInLab:
    """One namespace of a lab, and the files that its models name."""

    lab: Lab
    namespace: str
    directory: Path
    """Where files lie before they are uploaded."""

    def upload(self) -> None:
        """Put the network and both data sets into the bucket."""
        _, calibration, acceptance = digits()
        source = self.directory / "digits.onnx"
        source.write_bytes(digits_model())
        self.lab.upload(source, f"{self.namespace}/digits.onnx")
        self.upload_calibration(calibration.images)
        write_data_set(self.acceptance, acceptance.images, acceptance.labels)
        self.lab.upload(self.acceptance, f"{self.namespace}/acceptance.npz")

    @property
    def acceptance(self) -> Path:
        """The labelled images."""
        return self.directory / "acceptance.npz"

    def upload_calibration(self, images: Floats, name: str = "calibration") -> None:
        """Put ``images`` where models may have their calibration data."""
        path = write_data_set(self.directory / f"{name}.npz", images)
        self.lab.upload(path, f"{self.namespace}/{name}.npz")

    def model(
        self,
        name: str = "digits",
        version: str = "1.0.0",
        *,
        calibration: str = "calibration",
        optimization: Object | None = None,
    ) -> Object:
        """Return an EdgeModel for both levels of x86."""
        address = f"s3://{self.lab.store.bucket}/{self.namespace}"
        spec = {
            "version": version,
            "source": {"uri": f"{address}/digits.onnx"},
            "data": {
                "calibration": {"uri": f"{address}/{calibration}.npz"},
                "acceptance": {"uri": f"{address}/acceptance.npz"},
            },
            "metrics": [{"name": "top1", "evaluator": "Top1"}],
            "requirements": {
                "accuracy": [{"metric": "top1", "maxDropPercentagePoints": "3.0"}],
                "noSlowerThanBaseline": False,  # so small a network may well be
            },
            "targets": [{"name": "x86-64-avx2"}, {"name": "x86-64-vnni"}],
            "optimization": optimization or {},
        }
        return self._object("EdgeModel", name, spec)

    def deployment(self, version: str = "1.0.0", *, model: str = "digits") -> Object:
        """Return an EdgeDeployment of ``model`` to every node, under the model's name."""
        spec = {
            "model": {"name": model, "version": version},
            "nodeSelector": {"matchLabels": {"inventory.edgewright.dev/architecture": "amd64"}},
            "serving": {"modelName": model},
        }
        return self._object("EdgeDeployment", model, spec)

    def _object(self, kind: str, name: str, spec: Object) -> Object:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "edgewright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}

    def apply(self, *objects: Object) -> None:
        self.lab.kubectl.apply(yaml.safe_dump_all(objects))

    def settle(self, kind: str, name: str = "digits", timeout: float = 120) -> Object:
        """Return an object once its newest generation is done, well or not."""
        return self.lab.wait(kind, name, self.namespace, until=settled, timeout=timeout)

    def revision(self, model: Object) -> Object:
        """Return the ModelRevision that an EdgeModel tells of."""
        found = self.lab.kubectl.get("modelrevision", model["status"]["revision"], self.namespace)
        assert found is not None
        return found

    def entries(self) -> dict[str, Object]:
        """Return what each node says of the deployment here."""
        found = {}
        for name in self.lab.nodes:
            assignment = self.lab.kubectl.get("nodeassignment", name) or {"status": {}}
            for entry in assignment["status"].get("assignments", []):
                if entry["deployment"]["namespace"] == self.namespace:
                    found[name] = entry
        return found

    @contextmanager
    def load(self, rate: float = 50.0) -> Iterator[list[Object]]:
        """Keep every node under open-loop load without retries; the yielded list holds the tallies afterwards."""
        tallies: list[Object] = []
        outs = [self.directory / f"load-{name}.json" for name in self.lab.nodes]
        senders = [
            self._sender([node.http_url, "digits", str(self.acceptance), f"--rate={rate}", f"--out={out}"])
            for node, out in zip(self.lab.nodes.values(), outs, strict=True)
        ]
        try:
            time.sleep(1.0)  # load before the change
            yield tallies
        finally:
            for sender in senders:
                sender.send_signal(signal.SIGTERM)
            statuses = [sender.wait(30) for sender in senders]
        assert not any(statuses)
        tallies += [json.loads(out.read_text()) for out in outs]

    def _sender(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "demo.load", *arguments], cwd=REPOSITORY)
