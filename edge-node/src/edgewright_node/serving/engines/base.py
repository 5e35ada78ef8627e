"""What the server asks of a runtime."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgewright_node.serving.datatypes import Array

Tensors = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor that a model takes or gives; an axis of -1 takes any length, 0 included."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def accepts(self, shape: Sequence[int]) -> bool:
        """Tell whether ``shape`` fits: the same rank, and the same length of every fixed axis."""
        return len(shape) == len(self.shape) and all(
            want in (-1, have) for want, have in zip(self.shape, shape, strict=True)
        )


class Engine(Protocol):
    """One loaded model. ``infer`` blocks, and may be called by several threads at once."""

    @property
    def platform(self) -> str:
        """The protocol's name of runtime and format, e.g. ``onnxruntime_onnx``."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def infer(self, inputs: Tensors, outputs: Sequence[str]) -> Sequence[Array]:
        """Return ``outputs`` in their order.

        Raises:
            InvalidRequest: the runtime found a shape or type that it does not take.
            InferenceFailed: it failed otherwise.
        """

    def close(self) -> None:
        """Free the model. No call of ``infer`` runs, and none may follow."""
