"""Paired outcomes: for each sample one byte, bit 0 when the source model is right, bit 1 when the artifact is."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright_build import graph
from edgewright_build.datasets import DataSet, batch_size, open_data_set
from edgewright_build.isa import Arithmetic
from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.session import BATCH, decisions
from edgewright_build.target import open_as_target

Decisions = NDArray[np.int32]


def decide(given: PassInput) -> tuple[DataSet, Decisions, Decisions]:
    """Return the acceptance data, what the source model decided and what the artifact decides, as its target would.

    Raises:
        StalledError: SaturationRisk, when this machine can't compute as the target does.
    """
    model = given.read("model")
    interface = graph.interface(graph.parse(model))
    data = open_data_set(given.files["data"], interface, name="acceptance")
    session = open_as_target(model, Arithmetic.parse(given.isa))
    artifact = decisions(session, data.batches(batch_size(interface, BATCH)))
    baseline = np.frombuffer(given.read("baseline"), "<i4").astype(np.int32)
    if len(baseline) != len(artifact):
        raise AssertionError(f"{len(baseline)} decisions of the source model for {len(artifact)} samples")
    return data, baseline, artifact


def pack(given: PassInput, baseline: NDArray[np.bool_], artifact: NDArray[np.bool_]) -> PassOutput:
    """Return the bytes, with the counts and the level of evidence as facts."""
    data = (baseline.astype(np.uint8) | (artifact.astype(np.uint8) << 1)).tobytes()
    facts: dict[str, Any] = {
        "samples": len(data),
        "baselineRight": int(baseline.sum()),
        "artifactRight": int(artifact.sum()),
        "regressions": int((baseline & ~artifact).sum()),
        "improvements": int((~baseline & artifact).sum()),
        "evidence": str(Arithmetic.parse(given.isa).evidence),
    }
    return PassOutput(data, facts)
