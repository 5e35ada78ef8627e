"""Kubernetes API conventions, held over the generated schemas."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from edgewright_api.base import ApiModel
from edgewright_api.crd import KINDS, crd

Node = dict[str, Any]


def definition(model: type[ApiModel]) -> Node:
    """Return the CRD as it reaches the API server: plain JSON."""
    plain: Node = json.loads(json.dumps(crd(model)))
    return plain


def schema(model: type[ApiModel]) -> Node:
    root: Node = definition(model)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


def nodes(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    """Yield (path, schema) of every field, items and map values included."""
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield f"{path}[]", node[key]
            yield from nodes(node[key], f"{path}[]")


FIELDS = [
    pytest.param(path, node, id=path)
    for model in KINDS
    for part in ("spec", "status")
    for path, node in nodes({"properties": {part: schema(model)["properties"].get(part, {})}}, model.__name__)
]


@pytest.mark.parametrize(("path", "node"), FIELDS)
def test_field(path: str, node: Node) -> None:
    name = path.rpartition(".")[2]
    if not name.endswith("[]"):
        assert name != "phase"
        assert re.match(rf"{name}\b", node.get("description", name)), f"the description begins with {name!r}"
    kind = node.get("type")
    assert kind != "number", "floats do not survive every client"
    if kind == "array":
        assert "maxItems" in node, "a list has a maximum"
        assert node.get("x-kubernetes-list-type") in ("atomic", "map", "set")
    if kind == "string":
        assert {"maxLength", "pattern", "enum"} & set(node), "a string has a bound"
    if kind is None and node:
        assert node.get("x-kubernetes-int-or-string"), "a field has a type"


@pytest.mark.parametrize("model", KINDS)
def test_kind(model: type[ApiModel]) -> None:
    whole = definition(model)
    assert len(json.dumps(whole)) < 100_000, "client-side apply keeps a copy in an annotation"
    version = whole["spec"]["versions"][0]
    known = {path.removeprefix(model.__name__) for path, _ in nodes(schema(model), model.__name__)}
    for column in version["additionalPrinterColumns"]:
        path = re.sub(r"\[\?.*?\]", "[]", column["jsonPath"])
        assert path in known or path.startswith(".metadata."), (
            f"{column['name']} shows a field that is not there"
        )


@pytest.mark.parametrize("model", [m for m in KINDS if m.__name__ != "EdgeTarget"])
def test_status_is_in_progress_before_the_first_visit(model: type[ApiModel]) -> None:
    assert schema(model)["properties"]["status"]["default"] == {"observedGeneration": -1}
