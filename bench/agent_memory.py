"""Resident memory of the agent without a model, connected to a real API server over TLS.

    python -m bench.agent_memory [--seconds 20]

The agent has registered its node, renewed its Lease and holds its watch; it runs nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bench.results_format import Figure, publish
from edgewright_lab.lab import Lab
from edgewright_lab.progress import to_stderr
from edgewright_lab.settings import LabSettings

GOAL_MIB = 80.0
NODE = "bench-memory"


def environment(lab: Lab, directory: Path) -> Mapping[str, str]:
    """Return the agent's settings, its token bound to a Node of the lab."""
    lab.kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}))
    token = directory / "token"
    node = lab.kubectl.get("node", NODE)
    token.write_text(lab.kubectl.token("edgewright-node", "edgewright-system", node=node))
    spec = {"term": 1, "serial": 1, "heartbeatSeconds": 5, "assignments": []}
    assignment = {"apiVersion": "edgewright.dev/v1alpha1", "kind": "NodeAssignment", "spec": spec}
    lab.kubectl.apply(json.dumps(assignment | {"metadata": {"name": NODE}}))
    values = {
        "NODE_NAME": NODE,
        "ROOT": str(directory / "node"),
        "API_SERVER": lab.cluster.url,
        "API_CA": str(lab.cluster.ca),
        "API_TOKEN": str(token),
        "GATEWAY": "https://127.0.0.1:1",
        "GATEWAY_CA": str(lab.cluster.ca),
        "GATEWAY_TOKEN": str(token),
        "METRICS": "",
    }
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("EDGEWRIGHT_")}
    return inherited | {f"EDGEWRIGHT_AGENT_{name}": value for name, value in values.items()}


def memory_mib(pid: int, line: str, file: str = "status") -> float:
    """Return one line of /proc/<pid>/<file> in MiB."""
    for found in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if found.startswith(f"{line}:"):
            return int(found.split()[1]) / 1024
    raise RuntimeError(f"process {pid} tells no {line}")


def acted(lab: Lab) -> bool:
    """Tell whether the agent has registered its node and reported on its assignment."""
    node = lab.kubectl.get("edgenode", NODE) or {}
    assignment = lab.kubectl.get("nodeassignment", NODE) or {}
    return "inventory" in node.get("status", {}) and bool(assignment.get("status", {}).get("conditions"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="at rest before measuring")
    seconds = parser.parse_args().seconds
    settings = LabSettings.from_env(nodes=0, operator=False, store=False)
    with Lab(settings, report=to_stderr()) as lab, tempfile.TemporaryDirectory() as work:
        env = environment(lab, Path(work))
        command = [sys.executable, "-m", "edgewright_node", "agent"]
        with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as agent:
            try:
                deadline = time.monotonic() + 30
                while not acted(lab):
                    if time.monotonic() > deadline or agent.poll() is not None:
                        raise RuntimeError("the agent did not register its node")
                    time.sleep(0.2)
                time.sleep(seconds)
                figures = [
                    Figure(name="rss", value=memory_mib(agent.pid, "VmRSS"), unit="MiB", goal=GOAL_MIB),
                    Figure(name="rss peak", value=memory_mib(agent.pid, "VmHWM"), unit="MiB", goal=GOAL_MIB),
                    Figure(name="pss", value=memory_mib(agent.pid, "Pss", "smaps_rollup"), unit="MiB"),
                ]
            finally:
                agent.terminate()
    publish("agent_memory", figures, conditions=f"no model, TLS watch and Lease, {seconds:g} s at rest")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
