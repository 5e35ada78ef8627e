"""What must hold of the charts' own files; no Helm is needed to see it."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
CHARTS: Final = tuple(sorted(path.parent for path in ROOT.glob("charts/*/Chart.yaml")))
IDS: Final = [path.name for path in CHARTS]


def _values(chart: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((chart / "values.yaml").read_text())
    return values


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every value a user may set; an empty mapping or a list is one value."""
    if isinstance(value, dict) and value and path != ("resources",):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path


@pytest.mark.parametrize("chart", CHARTS, ids=IDS)
def test_versions_agree(chart: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert (about["version"], about["appVersion"]) == (project, project)


@pytest.mark.parametrize("chart", CHARTS, ids=IDS)
def test_the_schema_knows_every_value(chart: Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text())
    for path in _leaves(_values(chart)):
        node = schema
        for key in path:
            assert key in node.get("properties", {}), ".".join(path)
            node = node["properties"][key]


@pytest.mark.parametrize("chart", CHARTS, ids=IDS)
def test_the_readme_tells_every_value(chart: Path) -> None:
    """A row may name siblings by their last part: `image.tag`, `.digest`."""
    told = set()
    for line in (chart / "README.md").read_text().splitlines():
        names = re.findall(r"`([^`]*)`", line.split("|")[1]) if line.startswith("| `") else []
        for name in names:
            told.add(names[0].rpartition(".")[0] + name if name.startswith(".") else name)
    assert told == {".".join(path) for path in _leaves(_values(chart))}


@pytest.mark.parametrize("chart", CHARTS, ids=IDS)
def test_a_render_depends_on_nothing_but_values(chart: Path) -> None:
    """GitOps tools render offline and again and again: no look-ups, clocks or random values."""
    impure = re.compile(r"\b(lookup|randAlpha\w*|randNumeric|randBytes|uuidv4|now|genCA|genSelfSignedCert)\b")
    for template in chart.glob("templates/*"):
        actions = re.findall(r"{{.*?}}", template.read_text())
        assert not [a for a in actions if impure.search(re.sub(r'"[^"]*"|/\*.*?\*/', "", a))], template.name
