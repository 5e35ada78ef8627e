"""A session that computes what the target computes, or a refusal: never a figure from the wrong arithmetic."""

from typing import Any

from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason
from edgewright_build.isa import Arithmetic
from edgewright_build.session import open_session
from edgewright_build.weights import saturation


def open_as_target(model: bytes, arithmetic: Arithmetic) -> Any:
    """Return a session whose integer products are those of ``arithmetic.target``.

    VNNI on an AVX2 host: exact products are asked of ONNX Runtime. AVX2 on a VNNI host: the host's products are
    exact, and equal AVX2's if no pair of them can be clamped, which is proven from the weights.

    Raises:
        StalledError: SaturationRisk, when the proof fails.
    """
    if arithmetic.needs_saturation_proof:
        found = saturation(model)
        if found.possible:
            raise StalledError(
                Reason.SATURATION_RISK,
                f"on {arithmetic.target} two products can reach {found.worst_pair} and are clamped at 32767 "
                f"({found.where}), which this {arithmetic.host} machine does not compute",
                remedy="Keep the weights to 7 bits for this target, or build on a machine of its level",
            )
    return open_session(model, exact=arithmetic.exact_integers)
