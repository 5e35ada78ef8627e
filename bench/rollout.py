"""Seconds from ``kubectl apply`` of a new version to all nodes confirmed, and the operator's memory.

    python -m bench.rollout [--changes 6]

A lab with a real control plane and two nodes at rest; both versions are built before anything is timed.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import digits
from bench.results_format import Figure, publish
from edgewright_lab.lab import Lab
from edgewright_lab.settings import LabSettings

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"


def apply(lab: Lab, file: str, version: str) -> None:
    """Apply a file of the example with another version."""
    text = (EXAMPLE / file).read_text().replace("1.0.0", version)
    lab.kubectl("apply", "-f", "-", stdin=text)


def confirmed(version: str) -> Any:
    """Return the predicate: the deployment is Complete at this version and generation."""

    def holds(found: dict[str, Any]) -> bool:
        status = found["status"]
        complete = any(
            c["type"] == "Complete" and c["status"] == "True" for c in status.get("conditions", [])
        )
        current = status.get("observedGeneration") == found["metadata"]["generation"]
        return bool(complete and current and status.get("version") == version)

    return holds


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} tells no VmRSS")


def measure(lab: Lab, work: Path, changes: int) -> list[Figure]:
    """Build both versions, then change between them and time each change."""
    for name in ("calibration", "acceptance"):
        lab.upload(work / f"{name}.npz", f"data/digits-{name}.npz")
    for version in ("1.0.0", "1.1.0"):
        lab.upload(work / f"digits-{version}.onnx", f"models/digits-{version}.onnx")
    lab.apply(EXAMPLE)
    lab.wait("edgedeployment", "digits", "vision", until=confirmed("1.0.0"), timeout=300)
    apply(lab, "edgemodel.yaml", "1.1.0")
    lab.wait("edgemodel", "digits", "vision", until="Complete", timeout=300)
    first: list[float] = []
    later: list[float] = []
    for change in range(changes):
        version = ("1.1.0", "1.0.0")[change % 2]
        started = time.perf_counter()
        apply(lab, "edgedeployment.yaml", version)
        lab.wait("edgedeployment", "digits", "vision", until=confirmed(version), timeout=120)
        (later if change else first).append(time.perf_counter() - started)
    return [
        Figure(name="apply to all confirmed, with download", value=first[0], unit="s"),
        Figure(
            name="apply to all confirmed, version kept on the node", value=statistics.median(later), unit="s"
        ),
        Figure(name="operator memory", value=rss_mib(lab.operator.kept.pid), unit="MiB"),
        *(
            Figure(name=f"{part} memory, model loaded, {name}", value=rss_mib(kept.pid), unit="MiB")
            for name, node in lab.nodes.items()
            for part, kept in (("agent", node.agent), ("server", node.server))
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--changes", type=int, default=6)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        digits.make(work)
        with Lab(LabSettings.from_env(nodes=2)) as lab:
            figures = measure(lab, work, args.changes)
    publish("rollout", figures, conditions=f"2 nodes, maxUnavailable 1, {args.changes} changes, medians")


if __name__ == "__main__":
    main()
