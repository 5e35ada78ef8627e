"""``edgewright-lab``: a real control plane, object store, operator and edge nodes on this machine."""

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from edgewright_lab.binaries import binaries
from edgewright_lab.cache import Cache
from edgewright_lab.errors import LabError
from edgewright_lab.instances import Instance
from edgewright_lab.lab import Lab
from edgewright_lab.probes import answers
from edgewright_lab.progress import to_stderr
from edgewright_lab.settings import LabSettings
from edgewright_lab.tools import tools


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0, or 1 with the reason on stderr."""
    args = _parser().parse_args(argv)
    try:
        settings = LabSettings.from_env()
        status: int = args.run(args, settings)
    except LabError as e:
        print(f"edgewright-lab: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgewright-lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    up = commands.add_parser("up", help="start a lab; it lives until Ctrl-C, or until `down` with --detach")
    up.add_argument("--nodes", type=int, default=2, help="how many edge nodes (default: 2)")
    up.add_argument("--no-operator", action="store_true", help="start no operator, and so no nodes")
    up.add_argument("--detach", action="store_true", help="return once it is ready, and let it run")
    up.set_defaults(run=_up)
    status = commands.add_parser("status", help="say which parts of a lab answer; 1 if it is not ready")
    status.set_defaults(run=_status)
    down = commands.add_parser("down", help="end a lab and delete what it wrote")
    down.set_defaults(run=_down)
    for command in (up, status, down):
        command.add_argument("--name", default="default", help="several labs may run under different names")
    build = commands.add_parser(
        "build", help="build and fetch what a lab needs into the cache, and start nothing"
    )
    build.set_defaults(run=_build)
    return parser


def _up(args: argparse.Namespace, settings: LabSettings) -> int:
    instance = Instance.named(settings.cache, args.name)
    if args.detach:
        return _up_detached(args, instance)
    settings = dataclasses.replace(
        settings,
        directory=instance.directory,
        operator=not args.no_operator,
        nodes=0 if args.no_operator else args.nodes,
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with instance.hold(), Lab(settings, report=to_stderr()) as lab:
        lab.processes.remove_at_end(instance.directory)
        facts = _facts(lab)
        instance.publish(facts)
        print("\n".join(_description(instance, facts)), flush=True)
        while True:
            signal.pause()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """End the lab in order; a second signal must not stop that half-way."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _up_detached(args: argparse.Namespace, instance: Instance) -> int:
    """Start a process that holds the lab, show what it prints, and return once it is ready."""
    if instance.runs():
        raise LabError(f"a lab named {instance.name} runs already")
    command = [sys.executable, "-m", "edgewright_lab", "up", "--name", args.name, "--nodes", str(args.nodes)]
    command += ["--no-operator"] * args.no_operator
    instance.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with instance.log.open("w") as log, instance.log.open() as printed:
        holder = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            while instance.facts() is None and holder.poll() is None:
                time.sleep(0.1)
                print(printed.read(), end="", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            holder.terminate()
            holder.wait()
            raise
        if holder.poll() is not None:
            print(printed.read(), end="", file=sys.stderr)
            return 1
    # It is meant to outlive us: without this, Popen's destructor warns.
    holder.returncode = 0
    print("\n".join(_description(instance, instance.facts() or {})))
    return 0


def _status(args: argparse.Namespace, settings: LabSettings) -> int:
    instance = Instance.named(settings.cache, args.name)
    if (facts := instance.facts()) is None:
        print(f"lab {instance.name}: {'starting' if instance.runs() else 'not running'}")
        return 1
    probes = {"kubernetes": _api_answers(facts), "object store": answers(f"{facts['s3']}/status")}
    if url := facts["operator"]:
        probes["operator"] = answers(f"{url}/readyz")
    probes |= {name: answers(f"{node['http']}/v2/health/live") for name, node in facts["nodes"].items()}
    for part, ok in probes.items():
        print(f"{part:<14} {'ready' if ok else 'does not answer'}")
    print("\n".join(_description(instance, facts)))
    return 0 if all(probes.values()) else 1


def _api_answers(facts: dict[str, Any]) -> bool:
    command = [facts["kubectl"], f"--kubeconfig={facts['kubeconfig']}", "get", "--raw=/readyz"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _down(args: argparse.Namespace, settings: LabSettings) -> int:
    instance = Instance.named(settings.cache, args.name)
    print(f"lab {instance.name}: {'ended' if instance.stop() else 'was not running'}")
    return 0


def _build(_args: argparse.Namespace, settings: LabSettings) -> int:
    cache, report = Cache(settings.cache), to_stderr()
    built = binaries(cache, assets=settings.kubebuilder_assets, uv=settings.uv, report=report)
    fetched = tools(cache, uv=settings.uv, report=report)
    for path in (
        built.etcd,
        built.kube_apiserver,
        built.kube_controller_manager,
        fetched.kubectl,
        fetched.helm,
    ):
        print(path)
    return 0


def _facts(lab: Lab) -> dict[str, Any]:
    """Return what other processes may want to know of a lab, as JSON."""
    return {
        "pid": os.getpid(),
        "kubectl": str(lab.kubectl.binary),
        "kubeconfig": str(lab.kubeconfig),
        "s3": lab.store.endpoint,
        "bucket": lab.store.bucket,
        "accessKey": lab.store.access_key,
        "secretKey": lab.store.secret_key,
        "operator": lab.operator.url if lab.settings.operator else None,
        "nodes": {
            name: {"http": node.http_url, "uds": str(node.uds), "root": str(node.root)}
            for name, node in lab.nodes.items()
        },
    }


def _description(instance: Instance, facts: dict[str, Any]) -> list[str]:
    lines = [f"lab {instance.name} (pid {facts['pid']}), data and logs in {instance.directory}"]
    lines.append(f"  export KUBECONFIG={facts['kubeconfig']} PATH={Path(facts['kubectl']).parent}:$PATH")
    lines.append(f"  S3 {facts['s3']} bucket {facts['bucket']}, keys in {instance.home / 'lab.json'}")
    if facts["operator"]:
        lines.append(f"  operator {facts['operator']}/metrics")
    lines += [f"  node {name}: {n['http']} and {n['uds']}" for name, n in facts["nodes"].items()]
    return lines


if __name__ == "__main__":
    sys.exit(main())
