"""The drills change what they say, in memory."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgewright_build.passes import plant_dropped_bias, plant_transposed_weights, plant_wrong_zero_point
from edgewright_build.weights import constant_behind
from support.model_builders import conv_model, fitted_weights


def weights_of(model: onnx.ModelProto) -> dict[str, Any]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def test_dropped_bias_zeroes_every_bias_and_nothing_else() -> None:
    model = conv_model(fitted_weights())
    assert plant_dropped_bias.damage(model) == ["b1", "b2", "b3"]
    after = weights_of(model)
    assert not any(after[name].any() for name in ("b1", "b2", "b3"))
    assert all(np.array_equal(after[name], fitted_weights()[name]) for name in ("w1", "w2", "w3"))


def test_transposed_weights_keep_shape_and_values() -> None:
    model = conv_model(fitted_weights())
    assert plant_transposed_weights.damage(model) == ["w1", "w2", "w3"]
    for name, values in weights_of(model).items():
        before = fitted_weights()[name]
        assert values.shape == before.shape
        assert np.array_equal(np.sort(values.ravel()), np.sort(before.ravel()))


def test_a_float_model_has_no_zero_point() -> None:
    assert plant_wrong_zero_point.damage(conv_model(fitted_weights())) == []


@pytest.mark.parametrize(("name", "found"), [("w1", "w1"), ("image", None), ("r1", None)])
def test_constants_are_found_behind_their_uses(name: str, found: str | None) -> None:
    tensor = constant_behind(conv_model(fitted_weights()), name)
    assert (tensor.name if tensor is not None else None) == found
