"""plant-dropped-bias: every bias lost, as when a converter fuses an addition away."""

from typing import Any

import numpy as np
from onnx import numpy_helper

from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.passes.faults import plant, replace
from edgewright_build.weights import PRODUCTS, constant_behind

_BIAS_PORT = 2


def run(given: PassInput) -> PassOutput:
    """Return the model with every bias set to zero."""
    return plant(given, damage, "bias other than zero")


def damage(model: Any) -> list[str]:
    """Set biases to zero in place; return their names."""
    damaged: dict[str, None] = {}
    for node in model.graph.node:
        for name in _bias_inputs(node):
            tensor = constant_behind(model, name)
            if tensor is None:
                continue
            values = numpy_helper.to_array(tensor)
            if values.size > 1 and values.any():
                replace(tensor, np.zeros_like(values))
                damaged[tensor.name] = None
    return list(damaged)


def _bias_inputs(node: Any) -> list[str]:
    if node.op_type == "Add":
        return list(node.input)
    if node.op_type in PRODUCTS and "Integer" not in node.op_type and len(node.input) > _BIAS_PORT:
        return [node.input[_BIAS_PORT]]
    return []
