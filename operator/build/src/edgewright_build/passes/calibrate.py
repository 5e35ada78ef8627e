"""calibrate: the range of every float value of the model, seen once over the calibration data.

Memory is a few numbers (MinMax) or one histogram (Percentile) per value, however many samples there are.
"""

from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from edgewright_api.canonical import canonical_json
from edgewright_api.edgemodel import CalibrationMethod
from edgewright_build import graph
from edgewright_build.datasets import DataSet, batch_size, open_data_set
from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.session import BATCH, Level, open_session, run_batches

_BINS: Final = 2048
_PERCENTILE: Final = 99.99
_LEAST_TOP: Final = float(_BINS * np.finfo(np.float32).tiny)
"""Below it a bin would be narrower than the step between two float32."""


class Extremes:
    """The least and the largest value seen."""

    def __init__(self) -> None:
        self.low = np.inf
        self.high = -np.inf

    def see(self, values: NDArray[np.float32]) -> None:
        """Widen the range by some values."""
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))

    def range(self) -> tuple[float, float]:
        """Return the whole range."""
        return self.low, self.high


class Histogram:
    """Magnitudes in 2,048 equal bins; when a larger one comes, neighbouring bins merge until it fits."""

    def __init__(self) -> None:
        self.extremes = Extremes()
        self.top = 0.0
        self.counts = np.zeros(_BINS, np.int64)

    def see(self, values: NDArray[np.float32]) -> None:
        """Count some values."""
        self.extremes.see(values)
        magnitudes = np.abs(values).ravel()
        largest = float(magnitudes.max())
        if largest == 0.0 and self.top == 0.0:
            return
        if self.top == 0.0:
            self.top = max(largest, _LEAST_TOP)
        while largest > self.top:
            self.counts = np.concatenate(
                [self.counts.reshape(-1, 2).sum(axis=1), np.zeros(_BINS // 2, np.int64)]
            )
            self.top *= 2
        self.counts += np.histogram(magnitudes, _BINS, (0.0, self.top))[0]

    def range(self) -> tuple[float, float]:
        """Return the range clipped at the magnitude below which 99.99 % of the values lie."""
        low, high = self.extremes.range()
        total = int(self.counts.sum())
        if total == 0:
            return low, high
        bins = int(np.searchsorted(np.cumsum(self.counts), total * _PERCENTILE / 100)) + 1
        clip = self.top * min(bins, _BINS) / _BINS
        return max(low, -clip), min(high, clip)


def run(given: PassInput) -> PassOutput:
    """Return ``{"version": 1, "ranges": {value: [low, high]}}`` as canonical JSON.

    Raises:
        StalledError: DataSetInvalid, when the data does not fit the model.
    """
    model = graph.parse(given.read("model"))
    found = graph.interface(model)
    data = open_data_set(given.files["data"], found, name="calibration")
    method = CalibrationMethod(given.options["method"])
    limit = min(int(given.options["maxSamples"]), data.samples)
    ranges = collect(model, data, method, limit)
    document = {
        "version": 1,
        "method": str(method),
        "samples": limit,
        "ranges": {name: list(seen) for name, seen in sorted(ranges.items())},
    }
    facts = {"method": str(method), "samples": limit, "values": len(ranges)}
    return PassOutput(canonical_json(document), facts)


def collect(
    model: Any, data: DataSet, method: CalibrationMethod, limit: int
) -> dict[str, tuple[float, float]]:
    """Return the range of each float value, inputs included, over the first ``limit`` samples."""
    exposed = _expose(model)
    observers: dict[str, Extremes | Histogram] = {}
    session = open_session(graph.dump(exposed), level=Level.OFF)
    size = batch_size(data.interface, BATCH)
    for batch in data.batches(size, limit=limit):
        outputs = next(run_batches(session, iter([batch])))
        for name, values in (batch | outputs).items():
            if values.dtype == np.float32 and values.size:
                fresh = Extremes if method is CalibrationMethod.MIN_MAX else Histogram
                observers.setdefault(name, fresh()).see(values)
    return {name: observer.range() for name, observer in observers.items()}


def _expose(model: Any) -> Any:
    """Return a copy of the model that gives every inner float value as an output."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    given = {o.name for o in exposed.graph.output}
    known = {v.name: v for v in exposed.graph.value_info}
    for node in model.graph.node:
        for name in node.output:
            value = known.get(name)
            if name in given or value is None:
                continue
            if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
                exposed.graph.output.append(value)
    return exposed
