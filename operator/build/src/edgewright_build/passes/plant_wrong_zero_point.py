"""plant-wrong-zero-point: integers read with another zero than they were written with."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.passes.faults import plant

_SHIFT: Final = 64
"""A quarter of the 8-bit range: what a mix-up of signed and unsigned gives is twice that."""
_ZERO: Final = 2
"""Where DequantizeLinear and the integer products take the zero of their activations."""
_FIXED_ZERO: Final = np.array(192, np.uint8)
"""Far from 0, the zero of what a Relu gives, and from 128, that of what is balanced."""


def run(given: PassInput) -> PassOutput:
    """Return the model with wrong zero points; a float model has none.

    It is the zero of activations that is damaged: that of per-tensor weights would move every output alike, and
    the largest would stay the largest.
    """
    return plant(given, damage, "quantized activations")


def damage(model: Any) -> list[str]:
    """Change, in place, the zero of every activation that is read back or multiplied; return the nodes' names."""
    constants = {t.name: t for t in model.graph.initializer}
    written = {o for node in model.graph.node if node.op_type == "QuantizeLinear" for o in node.output}
    damaged: list[str] = []
    for node in model.graph.node:
        if len(node.input) <= _ZERO:
            continue
        if node.op_type in ("ConvInteger", "MatMulInteger"):
            wrong = _FIXED_ZERO
        elif (
            node.op_type == "DequantizeLinear" and node.input[0] in written and node.input[_ZERO] in constants
        ):
            wrong = _shifted(numpy_helper.to_array(constants[node.input[_ZERO]]))
        else:
            continue
        name = f"{node.name}_zero"
        model.graph.initializer.append(numpy_helper.from_array(wrong, name))
        node.input[_ZERO] = name
        damaged.append(node.name)
    return damaged


def _shifted(zero: NDArray[Any]) -> NDArray[Any]:
    """Return the zero moved towards the middle of its range, so that it stays a valid one."""
    info = np.iinfo(zero.dtype)
    middle = (int(info.max) + int(info.min) + 1) // 2
    wide = zero.astype(np.int32)
    return np.asarray(np.where(wide > middle, wide - _SHIFT, wide + _SHIFT).astype(zero.dtype))
