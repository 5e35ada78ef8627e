"""Every CEL rule of the CRDs accepts what it should and refuses what it should, on a real API server."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright_lab.errors import LabError
from edgewright_lab.lab import Lab
from support.manifests import manifest

CRDS = Path(__file__).resolve().parents[2] / "crds"
MODEL, REVISION, DEPLOYMENT = "EdgeModel", "ModelRevision", "EdgeDeployment"
TARGET, ASSIGNMENT = "EdgeTarget", "NodeAssignment"
NAMESPACED = {MODEL, REVISION, DEPLOYMENT}
FITS = "metadata.name has at most 52 characters"


@dataclass(frozen=True)
class Pair:
    """What a rule accepts and what it refuses; a rule about changes starts from ``before``."""

    kind: str
    message: str
    accepted: dict[str, Any]
    refused: dict[str, Any]
    before: dict[str, Any] | None = None
    name: str = "case"
    refused_name: str = "case"


PAIRS = (
    Pair(MODEL, FITS, {}, {}, name="a" * 52, refused_name="a" * 53),
    Pair(DEPLOYMENT, FITS, {}, {}, name="b" * 52, refused_name="b" * 53),
    Pair(TARGET, FITS, {}, {}, name="c" * 52, refused_name="c" * 53),
    Pair(
        MODEL,
        "each requirements.accuracy entry names a metric of spec.metrics",
        {"requirements": {"accuracy": [{"metric": "top1", "maxDropPercentagePoints": "1"}]}},
        {"requirements": {"accuracy": [{"metric": "top5", "maxDropPercentagePoints": "1"}]}},
    ),
    Pair(
        DEPLOYMENT,
        "give exactly one of version and revision",
        {"model": {"name": "digits", "version": "1.0.0"}},
        {"model": {"name": "digits", "version": "1.0.0", "revision": "digits-0123456789"}},
    ),
    Pair(REVISION, "a revision never changes", {}, {"version": "1.0.1"}, before={}),
    Pair(
        ASSIGNMENT,
        "a deposed leader may not write: its term is smaller",
        {"term": 2, "serial": 2},
        {"term": 0, "serial": 3},
        before={"term": 1},
    ),
)


def rules(node: Any) -> Iterator[str]:
    """Yield the message of every rule below a piece of a schema."""
    if isinstance(node, dict):
        yield from (r["message"] for r in node.get("x-kubernetes-validations", ()))
        for child in node.values():
            yield from rules(child)
    elif isinstance(node, list):
        for child in node:
            yield from rules(child)


def test_every_rule_has_a_pair() -> None:
    found: Counter[tuple[str, str]] = Counter()
    for path in sorted(CRDS.glob("*.yaml")):
        crd = yaml.safe_load(path.read_text())
        found.update((crd["spec"]["names"]["kind"], message) for message in rules(crd["spec"]["versions"]))
    assert found == Counter((pair.kind, pair.message) for pair in PAIRS)
    assert sum(found.values()) >= 7


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p.kind}-{p.message[:30].replace(' ', '-')}")
def test_rule(pair: Pair, control_plane: Lab, fresh_namespace: Callable[[Lab], str]) -> None:
    namespace = fresh_namespace(control_plane) if pair.kind in NAMESPACED else None

    def send(verb: str, name: str, spec: dict[str, Any]) -> None:
        body = json.dumps(manifest(pair.kind, name, namespace, **spec))
        control_plane.kubectl(verb, "-f", "-", stdin=body)

    verb = "create"
    if pair.before is not None:
        send("create", pair.name, pair.before)
        verb = "replace"
    try:
        with pytest.raises(LabError, match=pair.message.split(":")[0]):
            send(verb, pair.refused_name, pair.refused)
        send(verb, pair.name, pair.accepted)
    finally:
        if namespace is None:
            control_plane.kubectl("delete", pair.kind, pair.name, "--ignore-not-found")


def test_a_fresh_object_is_in_progress_before_the_first_visit(
    control_plane: Lab, fresh_namespace: Callable[[Lab], str]
) -> None:
    namespace = fresh_namespace(control_plane)
    control_plane.kubectl("create", "-f", "-", stdin=json.dumps(manifest(MODEL, "fresh", namespace)))
    seen = control_plane.kubectl.get("edgemodel", "fresh", namespace)
    assert seen is not None
    assert seen["status"] == {"observedGeneration": -1}


def test_an_unknown_field_is_refused_by_strict_validation(
    control_plane: Lab, fresh_namespace: Callable[[Lab], str]
) -> None:
    body = manifest(MODEL, "typo", fresh_namespace(control_plane), objektives=["Size"])
    with pytest.raises(LabError, match="unknown field"):
        control_plane.kubectl("create", "--validate=strict", "-f", "-", stdin=json.dumps(body))
