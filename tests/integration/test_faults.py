"""Planted faults: the gate refuses them, and with the gate taken out, every node does so by itself."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgewright_api.edgemodel import FaultDrill
from edgewright_lab.kube import condition
from edgewright_lab.lab import Lab
from edgewright_lab.progress import to_stderr
from edgewright_lab.settings import LabSettings
from support import ungated_operator
from support.lab_models import DigitsInLab

DRILLS = [drill.value for drill in FaultDrill]


def static(drill: str | None = None) -> dict[str, str]:
    """Return how to make an int8 artifact, with a fault if ``drill`` is given."""
    return {"recipe": "StaticInt8"} | ({"faultDrill": drill} if drill else {})


def test_every_planted_fault_is_refused_by_the_product(
    lab: Lab, fresh_namespace: Callable[[Lab], str], tmp_path: Path
) -> None:
    digits = DigitsInLab(lab, fresh_namespace(lab), tmp_path)
    digits.upload()
    names = {drill: drill.lower() for drill in DRILLS}
    sound = digits.model("sound", optimization=static())
    faulty = [digits.model(names[drill], optimization=static(drill)) for drill in DRILLS]
    digits.apply(sound, *faulty)
    seen = digits.settle("edgemodel", "sound")
    assert condition(seen, "Ready") == "True", seen["status"]
    for drill in DRILLS:
        seen = digits.settle("edgemodel", names[drill])
        assert condition(seen, "Stalled") == "True"
        verdicts = {(t["verdict"], t["reason"]) for t in seen["status"]["targets"]}
        assert verdicts == {("Rejected", "AccuracyDropTooLarge")}, seen["status"]["targets"]
        assert not seen["status"].get("readyRevision")
        assert not digits.revision(seen)["status"].get("indexDigest")


@pytest.fixture(scope="module")
def ungated() -> Iterator[Lab]:
    """A lab of one node whose operator publishes whatever was built."""
    argv = (sys.executable, ungated_operator.__file__)
    with Lab(LabSettings.from_env(nodes=1, operator_argv=argv), report=to_stderr()) as lab:
        yield lab


def test_a_node_refuses_what_the_gate_let_through_and_serves_on(
    ungated: Lab, fresh_namespace: Callable[[Lab], str], tmp_path: Path
) -> None:
    digits = DigitsInLab(ungated, fresh_namespace(ungated), tmp_path)
    digits.upload()
    digits.apply(digits.model(optimization={"recipe": "Float"}), digits.deployment())
    digits.settle("edgemodel")
    assert condition(digits.settle("edgedeployment"), "Complete") == "True"
    (served,) = digits.entries().values()

    with digits.load() as tallies:
        for number, drill in enumerate(DRILLS, start=1):
            version = f"1.0.{number}"
            digits.apply(digits.model(version=version, optimization=static(drill)))
            built = digits.settle("edgemodel")
            assert condition(built, "Ready") == "True"  # wrongly so
            digits.apply(digits.deployment(version))
            told = digits.settle("edgedeployment")

            assert condition(told, "Stalled") == "True"
            assert [p["reason"] for p in told["status"]["problems"]] == ["GoldenSourceMismatch"]
            (entry,) = digits.entries().values()
            published = {t["manifestDigest"] for t in built["status"]["targets"]}
            assert entry["wantedDigest"] in published
            assert (entry["state"], entry["reason"]) == ("Failed", "GoldenSourceMismatch")
            assert entry["runningDigest"] == served["runningDigest"]

    (tally,) = tallies
    assert tally["failed"] == 0, tally["first_error"]
    assert tally["versions"] == {"1.0.0": tally["sent"]}
    assert tally["right"] > 0.9 * tally["sent"]
    print(f"{tally['sent']} requests at {tally['rate']:.0f}/s meanwhile, {tally['failed']} failed")
