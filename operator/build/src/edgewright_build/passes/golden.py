"""golden: the vectors by which a node proves, offline and in milliseconds, that it runs the right model rightly."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgewright_api.canonical import canonical_json
from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason
from edgewright_build import graph
from edgewright_build.archive import npz_bytes
from edgewright_build.datasets import DataSet, batch_size, open_data_set
from edgewright_build.isa import Arithmetic
from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.session import BATCH, open_session, run_batches
from edgewright_build.target import open_as_target

Array = NDArray[Any]

_SEARCHED: Final = 2048
"""How many calibration samples are looked at; more would not make the choice better."""
_INTEGER_TOLERANCE: Final = 0.01
"""Of the range of the outputs: two or three steps of 8 bits, for kernels that round a tie the other way."""
_FLOAT_TOLERANCE: Final = 1e-4
"""Of the range of the outputs: what another order of additions changes."""


def run(given: PassInput) -> PassOutput:
    """Return ``golden.npz``: inputs, the source model's outputs, the artifact's own outputs, and the policy.

    Raises:
        StalledError: DataSetInvalid, when there are fewer calibration samples than vectors.
    """
    baseline = given.read("baseline")
    artifact = given.read("model")
    interface = graph.interface(graph.parse(baseline))
    data = open_data_set(given.files["data"], interface, name="calibration")
    wanted = int(given.options["samples"])
    if data.samples < wanted:
        raise StalledError(
            Reason.DATA_SET_INVALID,
            f"data set calibration has {data.samples} samples, the golden vectors need {wanted}",
            remedy="Give more calibration samples",
        )
    source = open_session(baseline)
    size = batch_size(interface, BATCH)
    chosen = choose(margins(source, data, size), wanted)
    inputs = _pick(data, chosen, size)
    expected = _run(source, inputs, size)
    own = _run(open_as_target(artifact, Arithmetic.parse(given.isa)), inputs, size)
    output = interface.outputs[0].name
    policy = policy_of(
        own[output],
        samples=wanted,
        output=output,
        max_disagreements=int(given.options["maxDisagreements"]),
        max_nrmse=float(given.options["maxNrmse"]),
        integers=_has_integers(artifact),
    )
    arrays = (
        {f"input:{name}": values for name, values in inputs.items()}
        | {f"source:{name}": values for name, values in expected.items()}
        | {f"artifact:{name}": values for name, values in own.items()}
        | {"policy": np.array(canonical_json(policy))}
    )
    disagreements, nrmse = distance(own[output], expected[output])
    facts = {
        "samples": wanted,
        "policy": policy,
        "disagreements": disagreements,
        "nrmse": round(nrmse, 6) if math.isfinite(nrmse) else "NaN",
        "withinPolicy": disagreements <= policy["sourceMaxDisagreements"]
        and nrmse <= policy["sourceMaxNrmse"],
    }
    return PassOutput(npz_bytes(arrays), facts)


def margins(session: Any, data: DataSet, size: int) -> NDArray[np.float64]:
    """Return ``[N]``, by how much the first output's largest entry exceeds its second, as far as we look."""
    name = session.get_outputs()[0].name
    parts = []
    for outputs in run_batches(session, data.batches(size, limit=_SEARCHED)):
        values = np.sort(outputs[name].reshape(outputs[name].shape[0], -1).astype(np.float64), axis=1)
        parts.append(values[:, -1] - values[:, -2] if values.shape[1] > 1 else np.ones(len(values)))
    return np.concatenate(parts)


def choose(margin: NDArray[np.float64], wanted: int) -> list[int]:
    """Return ``wanted`` places, one from each equal stretch of the data: the first there with a clear margin.

    Clear is what at least half of all samples reach, so that no vector stands on the edge of a decision.
    """
    clear = float(np.median(margin))
    chosen = []
    for stretch in np.array_split(np.arange(len(margin)), wanted):
        good = stretch[margin[stretch] >= clear]
        chosen.append(int(good[0]) if len(good) else int(stretch[np.argmax(margin[stretch])]))
    return chosen


def policy_of(
    own: Array, *, samples: int, output: str, max_disagreements: int, max_nrmse: float, integers: bool
) -> dict[str, Any]:
    """Return what a node may accept.

    Args:
        own: The artifact's outputs ``[N, …]`` on the vectors.
        samples: How many vectors there are.
        output: The output that is compared with the source model's.
        max_disagreements: How many vectors may decide otherwise, as the plan says.
        max_nrmse: How far the outputs may be apart, as the plan says.
        integers: Whether the artifact computes with 8-bit integers.
    """
    finite = own[np.isfinite(own)]
    spread = float(finite.max() - finite.min()) if finite.size else 0.0
    tolerance = _INTEGER_TOLERANCE if integers else _FLOAT_TOLERANCE
    return {
        "version": 1,
        "samples": samples,
        "output": output,
        "sourceMaxDisagreements": max_disagreements,
        "sourceMaxNrmse": max_nrmse,
        "artifactAtol": float(f"{max(tolerance * spread, 1e-6):.6g}"),
        "artifactRtol": tolerance,
    }


def distance(own: Array, expected: Array) -> tuple[int, float]:
    """Return how many decisions differ, and the root mean square difference over the deviation of ``expected``."""
    differ = int((own.argmax(axis=-1) != expected.argmax(axis=-1)).sum())
    deviation = float(expected.std())
    rms = float(np.sqrt(np.mean((own.astype(np.float64) - expected.astype(np.float64)) ** 2)))
    return differ, rms / deviation if deviation > 0 else (0.0 if rms == 0 else math.inf)


def _pick(data: DataSet, places: list[int], size: int) -> dict[str, Array]:
    found: dict[str, list[Array]] = {t.name: [] for t in data.interface.inputs}
    start = 0
    for batch in data.batches(size, limit=max(places) + 1):
        count = len(next(iter(batch.values())))
        for place in places:
            if start <= place < start + count:
                for name, values in batch.items():
                    found[name].append(values[place - start])
        start += count
    return {name: np.stack(rows) for name, rows in found.items()}


def _run(session: Any, inputs: dict[str, Array], size: int) -> dict[str, Array]:
    count = len(next(iter(inputs.values())))
    batches = ({n: v[at : at + size] for n, v in inputs.items()} for at in range(0, count, size))
    parts = list(run_batches(session, batches))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _has_integers(model: bytes) -> bool:
    return any("Quantize" in name or "Integer" in name for name in graph.operators(graph.parse(model)))
