"""What the fault drills share. A drill damages a model as a faulty converter would, to show that the gate holds."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason
from edgewright_build import graph
from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.session import open_session


def plant(given: PassInput, damage: Callable[[Any], list[str]], what: str) -> PassOutput:
    """Return the model after ``damage``, which answers with the names of what it changed.

    Raises:
        StalledError: FaultNotApplicable, when the model has nothing to damage in this way.
    """
    model = graph.parse(given.read("model"))
    damaged = damage(model)
    if not damaged:
        raise StalledError(
            Reason.FAULT_NOT_APPLICABLE,
            f"this model has no {what}",
            remedy="Choose another fault drill, or a recipe whose model has one",
        )
    data = graph.dump(model)
    open_session(data)
    return PassOutput(data, {"damaged": damaged})


def replace(tensor: Any, values: NDArray[Any]) -> None:
    """Give an initializer other values, its name kept."""
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
