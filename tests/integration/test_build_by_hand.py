"""``edgewright build`` from a file to artifacts, with real steps as processes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright_api.canonical import digest_bytes
from edgewright_api.errors import EdgewrightError, StalledError, TransientError
from edgewright_api.plan import ACCEPTANCE, CALIBRATION, BuildPlan, Step
from edgewright_api.recipes import expand
from edgewright_api.report import Job
from edgewright_build.pipeline import describe_host, require_fit
from edgewright_cli.building import build, default_builder, describe
from edgewright_cli.cache import Cache
from edgewright_cli.catalogue import TARGETS
from edgewright_cli.inputs import gather, read, resolve
from support.model_builders import digits, digits_model, write_data_set

Change = Callable[[dict[str, Any]], None]
CHART = Path(__file__).parents[2] / "charts/edgewright/templates/catalogue.yaml"


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the tests of this file share: what one built, the next one knows."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    _, calibration, acceptance = digits()
    write_data_set(tmp_path / "calibration.npz", calibration.images)
    write_data_set(tmp_path / "acceptance.npz", acceptance.images, acceptance.labels)
    (tmp_path / "digits.onnx").write_bytes(digits_model())
    return tmp_path


def model_file(work: Path, change: Change | None = None) -> Path:
    document: dict[str, Any] = {
        "apiVersion": "edgewright.dev/v1alpha1",
        "kind": "EdgeModel",
        "metadata": {"name": "digits", "namespace": "vision"},
        "spec": {
            "version": "1.0.0",
            "source": {"uri": "digits.onnx"},
            "data": {"calibration": {"uri": "calibration.npz"}, "acceptance": {"uri": "acceptance.npz"}},
            "metrics": [{"name": "top1", "evaluator": "Top1"}, {"name": "same", "evaluator": "Agreement"}],
            "requirements": {"accuracy": [{"metric": "top1", "maxDropPercentagePoints": "2.0"}]},
            "targets": [{"name": "x86-64-avx2"}, {"name": "x86-64-vnni"}],
        },
    }
    if change is not None:
        change(document["spec"])
    path = work / "edgemodel.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def edgewright(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgewright_cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def by_hand(work: Path, known: Path, change: Change | None = None) -> subprocess.CompletedProcess[str]:
    return edgewright("build", "-f", model_file(work, change), "-o", work / "out", "--cache", known)


def results(work: Path) -> dict[str, dict[str, Any]]:
    return {t["name"]: t for t in json.loads((work / "out/result.json").read_text())["targets"]}


def passes(done: subprocess.CompletedProcess[str]) -> set[str]:
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("  ")]
    return {words[0] for words in lines}


def test_both_targets_get_an_artifact_and_a_second_build_runs_nothing(work: Path, known: Path) -> None:
    first = by_hand(work, known)
    assert first.returncode == 0, first.stdout + first.stderr
    found = results(work)
    host = describe(default_builder()).machine.isa
    for name, result in found.items():
        place = work / "out" / name
        manifest = (place / "manifest.json").read_bytes()
        assert digest_bytes(manifest) == result["manifestDigest"]
        parsed = json.loads(manifest)
        for layer in [*parsed["layers"], parsed["config"]]:
            path = place / layer.get("annotations", {}).get("org.cncf.model.filepath", "config.json")
            assert digest_bytes(path.read_bytes()) == layer["digest"]
        on_host = TARGETS[name].isa is host
        assert ("latency" in result) is on_host, "a level that is not the host's is never timed"
        assert result["accuracy"][0]["evidence"] == ("SameISA" if on_host else "Emulated")
    second = by_hand(work, known)
    assert second.returncode == 0
    assert passes(second) == set()
    assert "0 passes ran" in second.stdout
    assert results(work) == found


def plan_of(work: Path) -> BuildPlan:
    asked = read(work / "edgemodel.yaml", {})
    return expand(resolve(asked, gather(asked.places, work)), describe(default_builder()))


def behind(plan: BuildPlan, *starts: str) -> set[str]:
    """Return the passes that depend on any of ``starts``, those among them included."""
    found = set(starts)
    for node in plan.nodes:
        if found & set(node.inputs.values()):
            found.add(node.id)
    return found & {node.id for node in plan.nodes}


def test_one_calibration_sample_runs_exactly_its_dependents(work: Path, known: Path) -> None:
    by_hand(work, known)
    images = digits()[1].images.copy()
    images[0] = 3.0  # outside of what the others reach, so the ranges change too
    write_data_set(work / "calibration.npz", images)
    ran = passes(by_hand(work, known))
    assert ran == behind(plan_of(work), CALIBRATION)
    assert "calibrate" in ran
    assert "ingest" not in ran


def test_one_option_runs_exactly_its_dependents(work: Path, known: Path) -> None:
    by_hand(work, known)

    def percentile(spec: dict[str, Any]) -> None:
        spec["optimization"] = {"calibration": {"method": "Percentile"}}

    ran = passes(by_hand(work, known, percentile))
    assert ran == behind(plan_of(work), "calibrate")
    assert "float/optimize-graph" not in ran


def test_another_tool_version_runs_everything(work: Path, known: Path) -> None:
    by_hand(work, known)
    asked = read(model_file(work), {})
    files = gather(asked.places, work)
    spec = resolve(asked, files)
    builder = describe(default_builder())
    pins = builder.toolchains["onnxruntime"] | {"numpy": "0.0.1"}
    plan = expand(spec, builder.model_copy(update={"toolchains": {"onnxruntime": pins}}))
    before = expand(spec, builder)
    assert {n.toolchain for n in plan.nodes}.isdisjoint({n.toolchain for n in before.nodes})
    job = Job(build_uid="b", step=Step.TRANSFORM, plan=plan, known={}, reads={}, writes={})
    with pytest.raises(Exception, match=r"numpy 0.0.1, installed is"):
        require_fit(job, builder.machine)


@pytest.mark.parametrize("drill", ["WrongZeroPoint", "TransposedWeights", "DroppedBias"])
def test_planted_faults_are_rejected(work: Path, known: Path, drill: str) -> None:
    def plant(spec: dict[str, Any]) -> None:
        spec["optimization"] = {"faultDrill": drill}

    done = by_hand(work, known, plant)
    assert done.returncode == 1
    for result in results(work).values():
        assert result["verdict"] == "Rejected"
        assert result["reason"] == "AccuracyDropTooLarge"
        assert not (work / "out" / result["name"]).exists()


def test_too_few_samples_are_an_answer_of_their_own(work: Path, known: Path) -> None:
    def strict(spec: dict[str, Any]) -> None:
        spec["requirements"]["accuracy"][0]["maxDropPercentagePoints"] = "0.3"
        spec["optimization"] = {"recipe": "Float"}

    done = by_hand(work, known, strict)
    assert done.returncode == 1
    assert "need n ≥" in done.stdout
    assert {r["reason"] for r in results(work).values()} == {"Underpowered"}


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("digits.onnx", b"\x80\x04pickle", "FormatNotSupported"),
        ("calibration.npz", b"no zip", "DataSetInvalid"),
        ("acceptance.npz", b"no zip", "DataSetInvalid"),
    ],
)
def test_bad_input_fails_with_its_reason_and_is_known_next_time(
    work: Path, known: Path, file: str, content: bytes, reason: str
) -> None:
    (work / file).write_bytes(content)
    first = by_hand(work, known)
    assert first.returncode == 1
    assert reason in first.stdout
    assert reason in {r["reason"] for r in results(work).values()} | {
        c["reason"] for r in results(work).values() for c in r["candidates"]
    }
    assert "0 passes ran" in by_hand(work, known).stdout


def test_the_transform_step_is_not_handed_the_acceptance_data(work: Path, tmp_path: Path) -> None:
    asked = read(model_file(work), {})
    files = gather(asked.places, work)
    plan = expand(resolve(asked, files), describe(default_builder()))
    reads = {plan.contents[ACCEPTANCE]: str(files[ACCEPTANCE])}
    job = Job(build_uid="b", step=Step.TRANSFORM, plan=plan, known={}, reads=reads, writes={})
    with pytest.raises(Exception, match="acceptance data"):
        require_fit(job, describe_host(Path("/proc/cpuinfo").read_text()))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    build(resolve(asked, files), files, Cache(tmp_path / "own"), scratch, lambda _: None)
    job = Job.model_validate_json((scratch / "job-transform.json").read_bytes())
    assert plan.contents[ACCEPTANCE] not in job.reads


def failing_builder(work: Path, script: str) -> list[str]:
    """Return a builder that describes itself well and runs ``script`` as every step."""
    path = work / "builder.py"
    path.write_text(
        "import os, sys\n"
        "if sys.argv[1] == 'describe':\n"
        f"    os.execv({sys.executable!r}, [{sys.executable!r}, '-m', 'edgewright_build', 'describe'])\n"
        f"{script}\n"
    )
    return [sys.executable, str(path)]


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        pytest.param(
            "for i in range(30_000): print(f'line {i} of its complaint', file=sys.stderr)\nos.abort()",
            TransientError,
            ["ended with status -6", "line 29980 of", "line 29999 of"],
            id="crash",
        ),
        pytest.param("sys.exit(1)", TransientError, ["status 1", "without a word"], id="silent"),
        pytest.param(
            """print('{"event": "refused", "reason": "ToolchainMismatch", "message": "old"}'); sys.exit(1)""",
            StalledError,
            ["old"],
            id="refused",
        ),
        pytest.param(
            """print('{"event": "refused", "reason": "StoreUnavailable", "message": "gone"}'); sys.exit(3)""",
            TransientError,
            ["gone"],
            id="refused-for-now",
        ),
    ],
)
def test_a_failed_step_shows_its_last_words_and_stalls_only_when_it_refused(
    work: Path, tmp_path: Path, script: str, kind: type[EdgewrightError], words: list[str]
) -> None:
    asked = read(model_file(work), {})
    files = gather(asked.places, tmp_path)
    with pytest.raises(kind) as caught:
        build(
            resolve(asked, files),
            files,
            Cache(tmp_path / "cache"),
            tmp_path,
            lambda event: None,
            failing_builder(work, script),
        )
    assert all(each in str(caught.value) for each in words), str(caught.value)
    assert "line 29979 of" not in str(caught.value)


def test_wrong_usage_is_told_apart(work: Path, known: Path) -> None:
    def unknown(spec: dict[str, Any]) -> None:
        spec["targets"] = [{"name": "abacus"}]

    missing = edgewright("build", "-f", work / "none.yaml", "-o", work / "out", "--cache", known)
    target = by_hand(work, known, unknown)
    assert (missing.returncode, target.returncode) == (2, 2)
    assert "TargetNotFound" in target.stderr
    assert edgewright("version").stdout.strip()


def test_catalogue_is_the_charts() -> None:
    text = "".join(line for line in CHART.read_text().splitlines(keepends=True) if "{{" not in line)
    rows = {
        d["metadata"]["name"]: d["spec"]
        for d in yaml.safe_load_all(text.replace("labels:\n", "labels: {}\n"))
    }
    assert {name: spec.to_wire() for name, spec in TARGETS.items()} == rows
