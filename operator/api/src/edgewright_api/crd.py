"""Writes the CustomResourceDefinitions from the models; ``--check`` fails on drift.

Run as ``python -m edgewright_api.crd [--check]`` in the repository's root.
"""

import argparse
import difflib
import json
import sys
from pathlib import Path
from typing import Any, Final

from edgewright_api import GROUP, VERSION
from edgewright_api.base import ApiModel
from edgewright_api.edgedeployment import EdgeDeployment
from edgewright_api.edgemodel import EdgeModel
from edgewright_api.edgenode import EdgeNode
from edgewright_api.edgetarget import EdgeTarget
from edgewright_api.kind import Kind
from edgewright_api.modelrevision import ModelRevision
from edgewright_api.nodeassignment import NodeAssignment

JSON = dict[str, Any]

KINDS: Final[tuple[type[ApiModel], ...]] = (
    EdgeModel,
    ModelRevision,
    EdgeDeployment,
    EdgeTarget,
    EdgeNode,
    NodeAssignment,
)


def structural(node: JSON, defs: JSON) -> JSON:
    """Return pydantic's JSON Schema as a structural schema: no references, unions, titles or null."""
    node = dict(node)
    if ref := node.pop("$ref", None):
        resolved = structural(defs[ref.rpartition("/")[2]], defs)
        return resolved | structural(node, defs)
    if options := node.pop("anyOf", None):
        kept = [o for o in options if o.get("type") != "null"]
        if len(kept) != 1:
            raise TypeError(f"a CRD field has one type, not {len(kept)}: {options}")
        inner = structural(kept[0], defs)
        return inner | structural(node, defs)
    node.pop("title", None)
    if "default" in node:
        node["default"] = _without_nulls(node["default"])
        if node["default"] is None:
            del node["default"]
    if "const" in node:
        node["enum"] = [node.pop("const")]
    node.pop("additionalProperties", None) if node.get("additionalProperties") is False else None
    if "properties" in node:
        node["properties"] = {k: structural(v, defs) for k, v in node["properties"].items()}
    if isinstance(node.get("additionalProperties"), dict):
        node["additionalProperties"] = structural(node["additionalProperties"], defs)
        node.pop("propertyNames", None)
    if "items" in node:
        node["items"] = structural(node["items"], defs)
    if node.get("type") == "integer":
        node["format"] = "int64"
    return node


def _without_nulls(value: Any) -> Any:
    """Return a default with what is null left out at every depth: the API server knows absence only."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return value


def _without_defaults(node: JSON) -> JSON:
    """Status is written whole by one writer: a default there would only hide what was not reported."""
    node = {k: v for k, v in node.items() if k != "default"}
    if "properties" in node:
        node["properties"] = {k: _without_defaults(v) for k, v in node["properties"].items()}
    if "items" in node:
        node["items"] = _without_defaults(node["items"])
    return node


def _status_schema(node: JSON) -> JSON:
    return _without_defaults(node) | {"default": {"observedGeneration": -1}}


def crd(model: type[ApiModel]) -> JSON:
    """Return the CustomResourceDefinition of one kind."""
    info: Kind = model.kind_info  # type: ignore[attr-defined]
    schema = model.model_json_schema(by_alias=True, mode="validation")
    defs = schema.get("$defs", {})
    description = (model.__doc__ or "").strip()
    properties: JSON = {
        "apiVersion": {
            "type": "string",
            "description": "apiVersion names the version of this schema.",
            "maxLength": 64,
        },
        "kind": {"type": "string", "description": f"kind is {info.kind}.", "maxLength": 64},
        "metadata": {"type": "object"},
        "spec": structural(schema["properties"]["spec"], defs) | {"description": "spec is what is asked."},
    }
    properties["spec"].pop("default", None)
    if info.has_status:
        status = structural(schema["properties"]["status"], defs) | {
            "description": "status is what was seen."
        }
        properties["status"] = _status_schema(status)
    root: JSON = {
        "type": "object",
        "description": description,
        "required": ["spec"],
        "properties": properties,
    }
    if info.rules:
        root["x-kubernetes-validations"] = [{"rule": r.rule, "message": r.message} for r in info.rules]
    version: JSON = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": root},
        "additionalPrinterColumns": [
            {"name": c.name, "type": c.type, "jsonPath": c.json_path}
            | ({"priority": c.priority} if c.priority else {})
            for c in info.columns
        ],
    }
    if info.has_status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{info.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if info.namespaced else "Cluster",
            "names": {
                "kind": info.kind,
                "listKind": f"{info.kind}List",
                "plural": info.plural,
                "singular": info.kind.lower(),
                "shortNames": [info.short],
                "categories": ["edgewright"],
            },
            "versions": [version],
        },
    }


def _yaml(value: Any, indent: int = 0) -> str:
    """Return block YAML of JSON values: enough for a CRD, and no dependency in the contract package."""
    pad = "  " * indent
    if isinstance(value, dict):
        if not value:
            return " {}"
        return "".join(f"\n{pad}{_scalar(k)}:{_yaml(v, indent + 1)}" for k, v in value.items())
    if isinstance(value, list):
        if not value:
            return " []"
        return "".join(f"\n{pad}-{_item(v, indent + 1)}" for v in value)
    return f" {_scalar(value)}"


def _item(value: Any, indent: int) -> str:
    if isinstance(value, dict | list) and value:
        return " " + _yaml(value, indent).lstrip()
    return _yaml(value, indent)


_YAML_WORDS: Final = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")


def _scalar(value: Any) -> str:
    if isinstance(value, str) and value.isidentifier() and value.lower() not in _YAML_WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


_HEADER: Final = "# Generated by `make crds` from operator/api. Do not edit.\n"
_KEEP: Final = (
    "\n  annotations:\n    {{- if .Values.keep }}\n    helm.sh/resource-policy: keep\n    {{- end }}"
)


def render(root: Path) -> dict[Path, str]:
    """Return the text of every generated file below the repository's root."""
    files = {}
    for model in KINDS:
        definition = crd(model)
        name = definition["metadata"]["name"]
        text = _HEADER + _yaml(definition).lstrip() + "\n"
        files[root / "crds" / f"{name}.yaml"] = text
        chart = text.replace("{{", '{{ "{{" }}').replace(
            f'metadata:\n  name: "{name}"', f'metadata:\n  name: "{name}"' + _KEEP, 1
        )
        files[root / "charts" / "edgewright-crds" / "templates" / f"{name}.yaml"] = chart
    return files


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edgewright_api.crd", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="print a diff and exit 1 when a file has drifted"
    )
    parser.add_argument("--root", type=Path, default=Path(), help="the repository's root")
    args = parser.parse_args()
    drifted = False
    for path, text in render(args.root).items():
        old = path.read_text() if path.exists() else ""
        if old == text:
            continue
        drifted = True
        if args.check:
            sys.stdout.writelines(
                difflib.unified_diff(
                    old.splitlines(True), text.splitlines(True), str(path), "from the models"
                )
            )
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return 1 if drifted and args.check else 0


if __name__ == "__main__":
    raise SystemExit(main())
