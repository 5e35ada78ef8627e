"""Where a model multiplies by constant weights, through whatever stands between a weight and its product."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from edgewright_build import graph
from edgewright_build.passes.canonicalize import rewrite
from edgewright_build.saturation import can_saturate, worst_pair
from edgewright_build.session import Level

PRODUCTS: Final = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "ConvInteger", "MatMulInteger")
"""Operators that multiply input 0 by the weights on input 1, in a file before a node rewrites it."""
_INTEGER_PRODUCTS: Final = {
    "QLinearConv": 3,
    "QLinearMatMul": 3,
    "QGemm": 3,
    "ConvInteger": 1,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
}
"""Operators with integer products once a node has loaded a file → which input holds the weights."""
_TRANSPARENT: Final = frozenset({"DequantizeLinear", "Reshape", "Transpose"})


@dataclass(frozen=True, slots=True)
class Saturation:
    """What can be proven of a model's integer products on a processor without VNNI."""

    possible: bool
    worst_pair: int
    """The largest magnitude that two neighbouring products can reach; above 32,767 it may be clamped."""
    products: int
    where: str = ""


def constant_behind(model: Any, name: str) -> Any | None:
    """Return the initializer that gives a value, looking through dequantization and reshapes, or None."""
    constants = {t.name: t for t in model.graph.initializer}
    producers = {o: node for node in model.graph.node for o in node.output}
    while name not in constants:
        node = producers.get(name)
        if node is None or node.op_type not in _TRANSPARENT:
            return None
        name = node.input[0]
    return constants[name]


def saturation(model: bytes) -> Saturation:
    """Return whether AVX2 can clamp a product of this model, judged on the graph that a node would run."""
    running = graph.parse(rewrite(model, Level.EXTENDED))
    constants = {t.name: t for t in running.graph.initializer}
    worst, products, where = 0, 0, ""
    for node in running.graph.node:
        port = _INTEGER_PRODUCTS.get(node.op_type)
        if port is None:
            continue
        products += 1
        tensor = constants.get(node.input[port])
        if tensor is None:
            return Saturation(True, worst, products, f"{node.op_type} {node.name!r} has no constant weights")
        values: NDArray[Any] = numpy_helper.to_array(tensor)
        if values.dtype != np.int8:
            continue  # unsigned by unsigned bytes are widened first, which is exact everywhere
        if worst_pair(values) > worst:
            worst = worst_pair(values)
        if can_saturate(values) and not where:
            where = f"{node.op_type} {node.name!r}"
    return Saturation(bool(where), worst, products, where)
