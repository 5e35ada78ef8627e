"""infer-shapes: the type and shape of every value written into the model, strictly."""

import onnx

from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason
from edgewright_build import graph
from edgewright_build.passes import PassInput, PassOutput


def run(given: PassInput) -> PassOutput:
    """Return the model with inferred shapes.

    Raises:
        StalledError: ModelInvalid, when shapes contradict each other.
    """
    model = graph.parse(given.read("model"))
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise StalledError(
            Reason.MODEL_INVALID,
            f"its shapes contradict each other: {str(error).strip().splitlines()[0][:400]}",
            remedy="Export the model again with correct shapes",
        ) from error
    if graph.interface(inferred) != graph.interface(model):
        raise AssertionError("infer-shapes changed the interface")
    values = sorted(inferred.graph.value_info, key=lambda v: str(v.name))
    copies = [onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in values]
    del inferred.graph.value_info[:]
    inferred.graph.value_info.extend(copies)
    inner = {o for node in inferred.graph.node for o in node.output} - {o.name for o in inferred.graph.output}
    facts = {"values": len(inner), "withShape": len(inner & {v.name for v in copies})}
    return PassOutput(graph.dump(inferred), facts)
