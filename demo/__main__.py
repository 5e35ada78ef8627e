"""``make demo``: train, build, prove, roll out, update under load, set back; one screen of figures at the end."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from demo import training
from demo.load import request
from demo.screen import TARGET_COLUMNS, beside, digit, fail, head, say, table, target_rows
from edgewright_lab.errors import LabError
from edgewright_lab.lab import Lab
from edgewright_lab.settings import LabSettings

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMESPACE = "vision"
RATE = 60.0
"""Requests per second and node during update and rollback; the promise is at least 50."""


class DemoError(Exception):
    """Something that the demo promises did not happen."""


def condition(found: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return a condition, or an empty one."""
    listed = found.get("status", {}).get("conditions", [])
    return next((c for c in listed if c["type"] == kind), {})


def visited(found: dict[str, Any]) -> bool:
    """Return whether the status is about the newest generation."""
    return bool(found["status"].get("observedGeneration") == found["metadata"]["generation"])


def settled(found: dict[str, Any]) -> bool:
    """Return whether the object's newest generation is done: Ready or Stalled."""
    ends = (condition(found, "Ready").get("status"), condition(found, "Stalled").get("status"))
    return visited(found) and "True" in ends


def reason(found: dict[str, Any]) -> str:
    """Return the reason of Ready, or that the operator has not been here yet."""
    return str(condition(found, "Ready").get("reason", "waiting")) if visited(found) else "waiting"


def follow(
    lab: Lab, kind: str, name: str, show: Callable[[dict[str, Any]], str], timeout: float
) -> dict[str, Any]:
    """Print what ``show`` says of an object whenever it changes, until the object is settled; return it."""
    deadline, last = time.monotonic() + timeout, ""
    while time.monotonic() < deadline:
        found = lab.kubectl.get(kind, name, NAMESPACE)
        if found:
            line = show(found)
            if line != last:
                say(line)
                last = line
            if settled(found):
                return found
        time.sleep(0.4)
    raise DemoError(f"{kind} {name} did not settle within {timeout:.0f} s; last seen: {last}")


def build_line(found: dict[str, Any]) -> str:
    """Describe a build in one line."""
    status = found["status"]
    progress = status.get("progress") or {}
    line = f"EdgeModel {found['metadata']['name']} {found['spec']['version']}: {reason(found)}"
    if progress.get("passesTotal") and visited(found):
        line += f", {progress.get('passesDone', 0)}/{progress['passesTotal']} passes {progress.get('current', '')}"
    return line.rstrip()


def rollout_line(found: dict[str, Any]) -> str:
    """Describe a rollout in one line."""
    status = found["status"]
    return (
        f"EdgeDeployment {found['metadata']['name']} {found['spec']['model']['version']}: {reason(found)}"
        + (f", {status.get('confirmed') or '0/0'} nodes confirmed" if visited(found) else "")
    )


def built(lab: Lab, name: str) -> dict[str, Any]:
    """Follow a build to its end and print its verdicts."""
    found = follow(lab, "edgemodel", name, build_line, timeout=300)
    table(TARGET_COLUMNS, target_rows(found["status"].get("targets", [])))
    return found


def rolled_out(lab: Lab, version: str) -> None:
    """Follow a rollout until every node has confirmed ``version``."""
    found = follow(lab, "edgedeployment", "digits", rollout_line, timeout=180)
    done = condition(found, "Complete").get("status") == "True" and found["status"].get("version") == version
    if not done:
        raise DemoError(f"rollout of {version} ended as {condition(found, 'Ready')}")


def apply_version(lab: Lab, file: str, version: str) -> None:
    """Apply an example with another version, as a user who edits it would."""
    text = (EXAMPLES / "digits" / file).read_text().replace("1.0.0", version)
    lab.kubectl("apply", "-f", "-", stdin=text)


def ask(url: str, image: np.ndarray) -> dict[str, Any]:
    """Send one image to a node and return the answer."""
    body, headers = request(image)
    call = urllib.request.Request(f"{url}/v2/models/digits/infer", data=body, headers=headers)
    with urllib.request.urlopen(call, timeout=5) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def show_answers(lab: Lab, data: Path) -> int:
    """Send six real digits through every node, print them with the answers; return how many were right."""
    with np.load(data) as arrays:
        images, labels = arrays["image"][:6], arrays["labels"][:6]
    beside([digit(image) for image in images])
    right = 0
    for name, node in lab.nodes.items():
        answers = [ask(node.http_url, image[None]) for image in images]
        read = [int(np.argmax(a["outputs"][0]["data"])) for a in answers]
        right += int((np.array(read) == labels).sum())
        say(
            f"{name} reads {read}, the labels are {labels.tolist()} (version {answers[0].get('model_version')})"
        )
    return right


@contextlib.contextmanager
def load(lab: Lab, data: Path, directory: Path, name: str) -> Iterator[dict[str, dict[str, Any]]]:
    """Keep every node under open-loop load; the yielded mapping holds each node's tally afterwards."""
    tallies: dict[str, dict[str, Any]] = {}
    running = {}
    for node, handle in lab.nodes.items():
        out = directory / f"{name}-{node}.json"
        command = [sys.executable, "-m", "demo.load", handle.http_url, "digits", str(data), f"--rate={RATE}"]
        running[node] = (out, subprocess.Popen([*command, f"--out={out}"], cwd=Path(__file__).parent.parent))
    try:
        time.sleep(2.0)  # load before the change
        yield tallies
        time.sleep(2.0)  # and after it
    finally:
        for _, process in running.values():
            process.send_signal(signal.SIGTERM)
        for _, process in running.values():
            process.wait(30)
    for node, (out, process) in running.items():
        if process.returncode or not out.exists():
            raise DemoError(f"the load on {node} broke off with {process.returncode}")
        tallies[node] = json.loads(out.read_text())


def check_tally(node: str, tally: dict[str, Any], version: str) -> None:
    """Hold a node under load to the promise: every request answered, by the model, on schedule, and the new one too."""
    seen = f"{tally['failed']} failed at {tally['rate']:.0f}/s, {tally['right_share']:.1%} right"
    kept = not tally["failed"] and tally["rate"] >= 50 and version in tally["versions"]
    if not kept or tally["right_share"] < 0.9:  # the network reads about 97 of 100
        raise DemoError(f"{node} under load: {seen}, versions {tally['versions']}: {tally['first_error']}")


def change_under_load(
    lab: Lab, data: Path, directory: Path, version: str
) -> tuple[float, dict[str, dict[str, Any]]]:
    """Set the deployment's version under load; return seconds until all nodes confirmed, and the tallies."""
    with load(lab, data, directory, version) as tallies:
        started = time.monotonic()
        apply_version(lab, "edgedeployment.yaml", version)
        rolled_out(lab, version)
        seconds = time.monotonic() - started
    for node, tally in tallies.items():
        say(
            f"{node}: {tally['sent']} requests at {tally['rate']:.0f}/s, {tally['failed']} failed, "
            f"p50 {tally['p50_ms']:.2f} ms, p99 {tally['p99_ms']:.2f} ms, {tally['right_share']:.0%} right, "
            f"versions {tally['versions']}"
        )
        check_tally(node, tally, version)
    return seconds, tallies


def train(directory: Path, report: Callable[[str], None]) -> None:
    """Train both versions and print how it goes."""
    with training.start(directory) as process:
        for line in process.stdout or ():
            report(f"training {line.rstrip()}")
    if process.returncode:
        raise DemoError("training failed; its output is above")


def tell_the_story(lab: Lab, directory: Path) -> None:
    """Everything between a running lab and the last screen."""
    acceptance = directory / "acceptance.npz"
    head("Upload models and data, apply examples/digits")
    for name in ("calibration", "acceptance"):
        lab.upload(directory / f"{name}.npz", f"data/digits-{name}.npz")
    for version in ("1.0.0", "1.1.0"):
        say("uploaded " + lab.upload(directory / f"digits-{version}.onnx", f"models/digits-{version}.onnx"))
    started = time.monotonic()
    say(lab.kubectl("apply", "-f", str(EXAMPLES / "digits")).strip().replace("\n", "; "))
    first = built(lab, "digits")
    build_seconds = time.monotonic() - started
    if condition(first, "Ready").get("status") != "True":
        raise DemoError(f"build ended as {condition(first, 'Ready')}")
    rolled_out(lab, "1.0.0")

    head("Real digits through both nodes")
    right = show_answers(lab, acceptance)
    if right < 5 * len(lab.nodes):  # of six each; the network reads about 97 of 100
        raise DemoError(f"only {right} of {6 * len(lab.nodes)} digits were read right")

    head("Publish 1.1.0, update under load")
    apply_version(lab, "edgemodel.yaml", "1.1.0")
    built(lab, "digits")
    update_seconds, update = change_under_load(lab, acceptance, directory, "1.1.0")

    head("Set 1.0.0 back under load")
    rollback_seconds, rollback = change_under_load(lab, acceptance, directory, "1.0.0")

    head("A requirement that 600 samples cannot prove: examples/underpowered")
    lab.kubectl("apply", "-f", str(EXAMPLES / "underpowered"))
    strict = built(lab, "digits-strict")
    verdict = strict["status"]["targets"][0]
    say(f"{verdict['verdict']}, {verdict['reason']}: {verdict['message']}")
    if (verdict["verdict"], verdict["reason"]) != ("Rejected", "Underpowered"):
        raise DemoError("the strict model was not rejected as underpowered")

    head("In figures")
    print(lab.kubectl("get", "em,ed", "-n", NAMESPACE), flush=True)
    print(lab.kubectl("get", "en"), flush=True)
    rows = [
        ("first build, apply to verdicts", f"{build_seconds:.1f} s"),
        ("digits read right by both nodes", f"{right} of {6 * len(lab.nodes)}"),
        ("update, apply to all nodes confirmed", f"{update_seconds:.1f} s"),
        ("rollback, apply to all nodes confirmed", f"{rollback_seconds:.1f} s"),
    ]
    for name, tallies in (("update", update), ("rollback", rollback)):
        for node, tally in tallies.items():
            rows.append(
                (
                    f"{name} on {node}",
                    f"{tally['sent']} sent, {tally['failed']} failed, {tally['rate']:.0f}/s",
                )
            )
    table(("what", "figure"), rows)


def leave_running(lab: Lab) -> None:
    """Print what to try next, and wait for Ctrl-C."""
    node = next(iter(lab.nodes.values()))
    head("Still running. Try:")
    print(f"   export KUBECONFIG={lab.kubeconfig}")
    print("   kubectl get em,ed,en,na,mr,et -A")
    print("   kubectl explain edgemodel.spec.requirements")
    print(f"   curl {node.http_url}/v2/models/digits")
    print(f"   curl {node.http_url}/metrics")
    print("   Ctrl-C ends it and removes everything", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    args = parser.parse_args()
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    with tempfile.TemporaryDirectory(prefix="edgewright-demo-") as temporary:
        directory = Path(temporary)
        try:
            head("Train a small convolutional network on scikit-learn's handwritten digits")
            train(directory, say)
            head("Start a control plane, an object store, the operator and two nodes")
            with Lab(LabSettings.from_env(nodes=2), report=say) as lab:
                tell_the_story(lab, directory)
                say("everything that was promised was seen")
                if args.keep:
                    leave_running(lab)
        except (DemoError, LabError) as e:
            fail(str(e))
            return 1
        except KeyboardInterrupt:
            fail("stopped")
            return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
