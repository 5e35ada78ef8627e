"""What the product writes: nothing at rest, and nothing of Kopf's at any time."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from edgewright_lab.kube import condition
from edgewright_lab.lab import Lab
from edgewright_lab.progress import to_stderr
from edgewright_lab.settings import LabSettings
from support.lab_models import DigitsInLab
from support.watching import Watched, watching

OURS = ("edgemodels", "modelrevisions", "edgedeployments", "edgetargets", "edgenodes", "nodeassignments")
OTHERS = ("namespaces", "customresourcedefinitions", "leases", "configmaps")
WRITES = re.compile(r'^apiserver_request_total\{(?=.*verb="(POST|PUT|PATCH|APPLY|DELETE)").*\} (\S+)$', re.M)
REST_SECONDS = 60.0
NAMESPACE = "rest"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab of this test's own: nothing that others left behind is due in its minute of rest."""
    env = {"EDGEWRIGHT_OPERATOR_REMOVAL_DELAY_SECONDS": "1"}
    with Lab(LabSettings.from_env(nodes=2, operator_env=env), report=to_stderr()) as lab:
        yield lab


@pytest.fixture(scope="module")
def lived(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """All that was seen of a build, a rollout, an update and a removal; watched until the last test's end."""
    directory = tmp_path_factory.mktemp("rest")
    with watching(lab.kubectl, (*OURS, *OTHERS), directory) as watched:
        lab.kubectl("create", "namespace", NAMESPACE)
        digits = DigitsInLab(lab, NAMESPACE, directory)
        digits.upload()
        float_only = {"recipe": "Float"}
        digits.apply(digits.model(optimization=float_only), digits.deployment())
        assert condition(digits.settle("edgedeployment"), "Complete") == "True"
        digits.apply(digits.model(version="1.1.0", optimization=float_only), digits.deployment("1.1.0"))
        assert condition(digits.settle("edgedeployment"), "Complete") == "True"

        digits.apply(digits.model("passing", optimization=float_only), digits.deployment(model="passing"))
        built = digits.settle("edgemodel", "passing")
        assert condition(digits.settle("edgedeployment", "passing"), "Complete") == "True"
        # The revision by name, too: the garbage collector would get to it in the minute of rest.
        removed = (
            "edgedeployment/passing",
            "edgemodel/passing",
            f"modelrevision/{built['status']['revision']}",
        )
        lab.kubectl("delete", *removed, "--namespace", NAMESPACE)
        for name in lab.nodes:
            lab.wait("nodeassignment", name, until=lambda seen: len(seen["spec"]["assignments"]) == 1)
        yield watched


def writes(lab: Lab) -> Counter[str]:
    """Return how many write requests the API server has answered, by resource of ours and for ``leases``."""
    found: Counter[str] = Counter()
    for line in WRITES.finditer(lab.kubectl("get", "--raw", "/metrics")):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', line.group()))
        if labels["group"] == "edgewright.dev" or labels["resource"] == "leases":
            found[labels["resource"]] += int(float(line.group(2)))
    return found


def ours(lab: Lab) -> dict[tuple[str, str], str]:
    """Return the resourceVersion of every object of our kinds."""
    listed = json.loads(lab.kubectl("get", ",".join(OURS), "--all-namespaces", "--output=json"))
    return {(o["kind"], o["metadata"]["name"]): o["metadata"]["resourceVersion"] for o in listed["items"]}


def settle(lab: Lab, seconds: float = 5.0) -> None:
    """Wait until nothing of ours was written for a while, a minute at most."""
    deadline, before = time.monotonic() + 60, writes(lab)
    while True:
        time.sleep(seconds)
        now = writes(lab)
        if all(now[kind] == before[kind] for kind in OURS):
            return
        assert time.monotonic() < deadline, now - before
        before = now


@pytest.mark.slow
def test_nothing_is_written_at_rest(lab: Lab, lived: Watched) -> None:
    settle(lab)
    written, versions, events = writes(lab), ours(lab), len(of_ours(lived))
    assert {kind for kind, _ in versions} >= {
        "EdgeModel",
        "ModelRevision",
        "EdgeDeployment",
        "NodeAssignment",
    }
    time.sleep(REST_SECONDS)
    more = writes(lab) - written
    print(f"written in {REST_SECONDS:.0f} s: {dict(more)}; before: {dict(written)}; {events} events of ours")
    assert {kind: more[kind] for kind in OURS} == dict.fromkeys(OURS, 0)
    assert more["leases"] > 0  # what is counted is counted: the heartbeats go on
    assert ours(lab) == versions
    assert len(of_ours(lived)) == events


def of_ours(watched: Watched) -> list[dict[str, Any]]:
    return [e for e in watched.events() if e["object"]["apiVersion"] == "edgewright.dev/v1alpha1"]


def test_no_object_ever_carries_a_finalizer_or_a_mark_of_kopf(lived: Watched) -> None:
    events = lived.events()
    seen = {event["object"]["kind"] for event in events}
    assert seen >= {
        "EdgeModel",
        "ModelRevision",
        "EdgeDeployment",
        "EdgeTarget",
        "EdgeNode",
        "NodeAssignment",
    }
    assert seen >= {"Namespace", "CustomResourceDefinition", "Lease", "ConfigMap"}
    assert "DELETED" in {event["type"] for event in events}
    assert not [
        e["object"]["metadata"]["name"] for e in of_ours(lived) if e["object"]["metadata"].get("finalizers")
    ]
    assert not [e["object"]["metadata"]["name"] for e in events if "kopf" in json.dumps(e).lower()]
    managers = {f["manager"] for e in of_ours(lived) for f in e["object"]["metadata"]["managedFields"]}
    assert managers == {"edgewright-lab", "edgewright-operator", "edgewright-agent"}
    print(f"{len(events)} events")
