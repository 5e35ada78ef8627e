"""check-safety: what makes an artifact dangerous whatever its accuracy: NaN, dead outputs, clamped integers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright_api.canonical import canonical_json
from edgewright_build import graph
from edgewright_build.datasets import batch_size, open_data_set
from edgewright_build.isa import Arithmetic
from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.session import BATCH, open_session, run_batches
from edgewright_build.target import open_as_target
from edgewright_build.weights import saturation

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of all outputs over the whole data."""

    not_finite: int
    """Samples with a NaN or an infinity in any output."""
    constant: frozenset[str]
    """Outputs that were the same for every sample."""


def run(given: PassInput) -> PassOutput:
    """Return, as canonical JSON, whether all outputs are finite and vary, and whether AVX2 could clamp a product.

    An output may be constant when it is so in the source model as well, unless it is the first: that one decides.

    Raises:
        StalledError: SaturationRisk, when this machine can't compute as the target does.
    """
    model = given.read("model")
    arithmetic = Arithmetic.parse(given.isa)
    interface = graph.interface(graph.parse(model))
    data = open_data_set(given.files["data"], interface, name="acceptance")
    size = batch_size(interface, BATCH)
    seen = look(run_batches(open_as_target(model, arithmetic), data.batches(size)))
    first = interface.outputs[0].name
    dead = set(seen.constant) if data.samples > 1 else set()
    if dead - {first}:
        source = open_session(given.read("baseline"))
        dead -= look(run_batches(source, data.batches(size))).constant - {first}
    found = saturation(model)
    facts = {
        "version": 1,
        "samples": data.samples,
        "notFinite": seen.not_finite,
        "constant": bool(dead),
        "constantOutputs": sorted(dead),
        "saturationPossible": found.possible,
        "worstPair": found.worst_pair,
        "integerProducts": found.products,
        "evidence": str(arithmetic.evidence),
    }
    return PassOutput(canonical_json(facts), facts)


def look(batches: Iterator[dict[str, Array]]) -> Seen:
    """Return what is to be seen of outputs ``[samples, …]`` by name, a batch after the other.

    The first output gives the number of samples. One of another length, as of detectors that list what they found,
    has to be finite and can't be constant.
    """
    not_finite = 0
    low: dict[str, Array] = {}
    high: dict[str, Array] = {}
    for outputs in batches:
        samples = len(next(iter(outputs.values())))
        finite = np.ones(samples, np.bool_)
        for name, values in outputs.items():
            if values.dtype.kind not in "biuf":
                continue
            if values.ndim == 0 or len(values) != samples or values.size == 0:
                finite &= bool(np.isfinite(values).all())
                continue
            rows = values.reshape(samples, -1)
            finite &= np.isfinite(rows).all(axis=1)
            low[name] = np.minimum(low.get(name, rows[0]), rows.min(axis=0))
            high[name] = np.maximum(high.get(name, rows[0]), rows.max(axis=0))
        not_finite += int((~finite).sum())
    return Seen(not_finite, frozenset(name for name in low if np.array_equal(low[name], high[name])))
