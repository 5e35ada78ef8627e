"""plant-wrong-zero-point: integers read with another zero than they were written with."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.passes.faults import plant

_SHIFT: Final = 64
"""A quarter of the 8-bit range: what a mix-up of signed and unsigned gives is twice that."""
_WEIGHT_ZERO: Final = 3


def run(given: PassInput) -> PassOutput:
    """Return the model with shifted zero points; a float model has none."""
    return plant(given, damage, "quantized value")


def damage(model: Any) -> list[str]:
    """Shift, in place, the zero of every activation that is read back and of every integer product's weights."""
    constants = {t.name: t for t in model.graph.initializer}
    written = {o for node in model.graph.node if node.op_type == "QuantizeLinear" for o in node.output}
    damaged: list[str] = []
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in written and len(node.input) > 2:
            port = 2
        elif node.op_type in ("ConvInteger", "MatMulInteger") and len(node.input) > _WEIGHT_ZERO:
            port = _WEIGHT_ZERO
        else:
            continue
        tensor = constants.get(node.input[port])
        if tensor is None:
            continue
        wrong = f"{node.name}_zero"
        model.graph.initializer.append(
            numpy_helper.from_array(_shifted(numpy_helper.to_array(tensor)), wrong)
        )
        node.input[port] = wrong
        damaged.append(node.name)
    return damaged


def _shifted(zero: NDArray[Any]) -> NDArray[Any]:
    """Return the zero moved towards the middle of its range, so that it stays a valid one."""
    info = np.iinfo(zero.dtype)
    middle = (int(info.max) + int(info.min) + 1) // 2
    moved = np.where(
        zero.astype(np.int32) > middle, zero.astype(np.int32) - _SHIFT, zero.astype(np.int32) + _SHIFT
    )
    return np.asarray(np.clip(moved, info.min, info.max).astype(zero.dtype))
