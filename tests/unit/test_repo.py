"""The repository's own rules."""

import operator as stdlib_operator
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from edgewright_api.reasons import Reason

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = ("operator/api", "operator/build", "operator/controller", "edge-node", "cli", "lab")


def test_operator_is_the_standard_library() -> None:
    assert stdlib_operator.add(1, 1) == 2
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not (ROOT / "edge-node" / "__init__.py").exists()


def test_versions_agree() -> None:
    versions = {
        m: tomllib.loads((ROOT / m / "pyproject.toml").read_text())["project"]["version"] for m in MEMBERS
    }
    for chart in ("edgewright", "edgewright-crds"):
        versions[chart] = yaml.safe_load((ROOT / "charts" / chart / "Chart.yaml").read_text())["appVersion"]
    head = re.search(r"^## ([0-9.]+)", (ROOT / "docs/changelog.md").read_text(), re.MULTILINE)
    assert head
    assert set(versions.values()) == {head[1]}, versions


def test_every_reason_has_a_heading() -> None:
    headings = set(re.findall(r"^### `?(\w+)`?$", (ROOT / "docs/errors.md").read_text(), re.MULTILINE))
    assert {r.value for r in Reason} - headings == set()


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("edgewright_node.agent", "onnxruntime"),
        ("edgewright_node.agent", "pydantic"),
        ("edgewright_operator", "onnx"),
        ("edgewright_cli", "onnxruntime"),
    ],
)
def test_imports_stay_lean(module: str, banned: str) -> None:
    code = f"import sys, {module}; sys.exit({banned!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_address_of_a_registry_in_the_constraints() -> None:
    assert "://" not in (ROOT / "constraints.txt").read_text()


def test_the_readme_names_every_top_level_folder() -> None:
    readme = (ROOT / "README.md").read_text()
    folders = {m.split("/")[0] for m in MEMBERS} | {
        "crds",
        "charts",
        "examples",
        "bench",
        "tests",
        "docs",
        "demo",
    }
    assert {f for f in folders if f"{f}/" not in readme} == set()
