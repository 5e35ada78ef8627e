"""A whole slot on disk against its golden vectors, with whoever built it as the liar."""

import time
from pathlib import Path

import pytest

from edgewright_node import slots
from edgewright_node.serving.errors import GoldenSourceMismatch
from edgewright_node.serving.selftest import load_slot
from support.artifact_builders import lay_out, make_artifact

GENEROUS = {"sourceMaxDisagreements": 16, "sourceMaxNrmse": 1e9, "artifactAtol": 1e9}
LIMITS = {"dev.edgewright.golden.max-disagreements": "16", "dev.edgewright.golden.max-nrmse": "0.35"}


def test_a_wrong_model_with_a_generous_policy_is_refused_by_the_manifest(tmp_path: Path) -> None:
    other = make_artifact(seed=1).files[slots.MODEL_FILE]
    for name, annotations in (("believed", {}), ("held", LIMITS)):
        artifact = make_artifact(policy=GENEROUS, annotations=annotations, replace={slots.MODEL_FILE: other})
        lay_out(tmp_path / name, artifact)
    load_slot(tmp_path / "believed", None, threads=1, clock=time.perf_counter).engine.close()
    with pytest.raises(GoldenSourceMismatch, match=r"0\.35 may be"):
        load_slot(tmp_path / "held", None, threads=1, clock=time.perf_counter)
