"""plant-transposed-weights: weights written in the wrong memory order, as when [in, out] meets [out, in]."""

from typing import Any

import numpy as np
from onnx import numpy_helper

from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.passes.faults import plant, replace
from edgewright_build.weights import PRODUCTS, constant_behind


def run(given: PassInput) -> PassOutput:
    """Return the model with the weights of every product transposed under their old shape."""
    return plant(given, damage, "constant weights with two dimensions")


def damage(model: Any) -> list[str]:
    """Transpose weights in place; return their names."""
    damaged: dict[str, None] = {}
    for node in model.graph.node:
        if node.op_type not in PRODUCTS:
            continue
        tensor = constant_behind(model, node.input[1])
        if tensor is None or tensor.name in damaged:
            continue
        values = numpy_helper.to_array(tensor)
        swapped = values.transpose().reshape(values.shape)
        if values.ndim >= 2 and not np.array_equal(values, swapped):
            replace(tensor, swapped)
            damaged[tensor.name] = None
    return list(damaged)
