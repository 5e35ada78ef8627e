"""check-safety: what makes an artifact dangerous whatever its accuracy: NaN, dead outputs, clamped integers."""

from typing import Any

import numpy as np

from edgewright_api.canonical import canonical_json
from edgewright_build import graph
from edgewright_build.datasets import batch_size, open_data_set
from edgewright_build.isa import Arithmetic
from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.session import BATCH, run_batches
from edgewright_build.target import open_as_target
from edgewright_build.weights import saturation


def run(given: PassInput) -> PassOutput:
    """Return, as canonical JSON, whether outputs are finite and vary, and whether AVX2 could clamp a product.

    Raises:
        StalledError: SaturationRisk, when this machine can't compute as the target does.
    """
    model = given.read("model")
    arithmetic = Arithmetic.parse(given.isa)
    interface = graph.interface(graph.parse(model))
    data = open_data_set(given.files["data"], interface, name="acceptance")
    session = open_as_target(model, arithmetic)
    not_finite = 0
    low: Any = None
    high: Any = None
    for outputs in run_batches(session, data.batches(batch_size(interface, BATCH))):
        values = next(iter(outputs.values()))
        rows = values.reshape(len(values), -1)
        not_finite += int((~np.isfinite(rows).all(axis=1)).sum())
        low = rows.min(axis=0) if low is None else np.minimum(low, rows.min(axis=0))
        high = rows.max(axis=0) if high is None else np.maximum(high, rows.max(axis=0))
    found = saturation(model)
    facts = {
        "version": 1,
        "samples": data.samples,
        "notFinite": not_finite,
        "constant": bool(data.samples > 1 and np.array_equal(low, high)),
        "saturationPossible": found.possible,
        "worstPair": found.worst_pair,
        "integerProducts": found.products,
        "evidence": str(arithmetic.evidence),
    }
    return PassOutput(canonical_json(facts), facts)
