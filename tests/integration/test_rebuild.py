"""What is built again: nothing of what is known, and of a changed build exactly what depends on the change."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright_lab.cache import Cache
from edgewright_lab.kube import condition
from edgewright_lab.lab import Lab
from edgewright_lab.progress import to_stderr
from edgewright_lab.settings import LabSettings
from edgewright_lab.wheels import Wheel, unpack
from support.lab_models import DigitsInLab
from support.model_builders import digits

OTHER_NUMPY = Wheel("numpy", "2.4.5", ("07ce7e74da92d7c71b5df157b9758bcdd53d7fea10602154de3afd2b3ddc34dd",))
NAMESPACE = "rebuild"


@dataclass(frozen=True, slots=True)
class Site:
    """A lab without nodes whose builder can be exchanged, and tells which passes it runs."""

    digits: DigitsInLab
    builder: Path
    """The script that the operator starts as its builder."""
    events: Path
    """What all builders printed."""

    def use(self, *variables: str) -> None:
        """Have builders started with these variables set, by an operator that asks anew what they are."""
        given = " ".join(f"'{variable}'" for variable in variables)
        command = f"env {given} '{sys.executable}' -m edgewright_build \"$@\""
        self.builder.write_text(f"set -o pipefail\n{command} | tee -a '{self.events}'\n")

    def build(self, model: dict[str, Any]) -> set[str]:
        """Have ``model`` built and return the passes that ran, as the builders and the operator tell alike."""
        self.events.write_text("")
        self.digits.apply(model)
        seen = self.digits.settle("edgemodel", model["metadata"]["name"])
        assert condition(seen, "Ready") == "True", seen["status"]
        events = [json.loads(line) for line in self.events.read_text().splitlines()]
        ran = [event["id"] for event in events if event.get("state") == "running"]
        assert len(ran) == len(set(ran)) == self.digits.revision(seen)["status"]["passesRun"]
        return set(ran)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The lab, its bucket empty."""
    directory = tmp_path_factory.mktemp("rebuild")
    builder = directory / "builder.sh"
    env = {"EDGEWRIGHT_OPERATOR_BUILD_COMMAND": f"bash {builder}"}
    with Lab(LabSettings.from_env(nodes=0, operator_env=env), report=to_stderr()) as lab:
        lab.kubectl("create", "namespace", NAMESPACE)
        site = Site(DigitsInLab(lab, NAMESPACE, directory), builder, directory / "events")
        site.use()
        site.digits.upload()
        yield site


@pytest.fixture(scope="module")
def passes(site: Site) -> set[str]:
    """Every pass of the digits' build, all candidates for both targets; it has run once."""
    ran = site.build(site.digits.model())
    assert len(ran) > 30
    return ran


def static(passes: set[str]) -> set[str]:
    return {node for node in passes if node.startswith("static-int8")}


def test_a_new_process_with_an_empty_disk_builds_nothing_that_the_bucket_has(
    site: Site, passes: set[str]
) -> None:
    lab = site.digits.lab
    pid = lab.operator.kept.pid
    lab.operator.kept.hold()
    work = lab.directory / "operator" / "work"
    assert work.is_dir()
    shutil.rmtree(work)
    lab.kubectl("delete", "edgemodels,modelrevisions", "--all", "--namespace", NAMESPACE)
    lab.operator.kept.release()

    assert site.build(site.digits.model()) == set()
    assert lab.operator.kept.pid != pid


def test_one_calibration_sample_runs_again_what_depends_on_it(site: Site, passes: set[str]) -> None:
    images = digits()[1].images.copy()
    images[0] *= np.float32(2)
    site.digits.upload_calibration(images, "one-sample")
    ran = site.build(site.digits.model("one-sample", calibration="one-sample"))
    # Golden vectors are chosen among the samples. The baseline's pass holds both sets against each other, and
    # every Top1 is a comparison with the baseline.
    shared = {node for node in passes if node.endswith(("/golden", "/top1"))}
    assert ran == {"calibrate", "baseline/predict"} | shared | static(passes)


def test_one_option_runs_again_what_depends_on_it(site: Site, passes: set[str]) -> None:
    ran = site.build(site.digits.model("one-option", optimization={"calibration": {"method": "Percentile"}}))
    assert ran == {"calibrate"} | static(passes)


def test_one_tool_of_another_version_runs_everything_again(site: Site, passes: set[str]) -> None:
    lab = site.digits.lab
    other = Cache(lab.settings.cache).make(
        "tools",
        f"numpy-{OTHER_NUMPY.version}-py{sys.version_info.major}{sys.version_info.minor}",
        lambda scratch: unpack(OTHER_NUMPY, scratch, uv=lab.settings.uv),
        to_stderr(),
    )
    site.use(f"PYTHONPATH={other}")
    lab.operator.kept.restart()
    try:
        assert site.build(site.digits.model("one-tool")) == passes  # each of them runs on this tool
    finally:
        site.use()
        lab.operator.kept.restart()
    assert site.build(site.digits.model("tool-back")) == set()
