"""Requests and answers of the protocol: what is read is what was sent, and nothing is guessed."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from edgewright_node.serving import codec, tensors
from edgewright_node.serving.codec import Codec
from edgewright_node.serving.datatypes import DTYPES
from edgewright_node.serving.engines.base import TensorSpec
from edgewright_node.serving.errors import InvalidRequest

NUMBERS = sorted(set(DTYPES) - {"BYTES"})
SPEC = TensorSpec("x", "FP32", (-1, 2))
ANSWER = TensorSpec("y", "FP32", (-1, 2))


def make_codec(*inputs: TensorSpec) -> Codec:
    return Codec("m", "1", inputs or (SPEC,), (ANSWER,))


def with_tail(items: list[Mapping[str, Any]], tail: bytes, **members: Any) -> tuple[bytes, int]:
    head = json.dumps({"inputs": items, **members}).encode()
    return head + tail, len(head)


def item(size: int = 8, **changes: Any) -> dict[str, Any]:
    known = {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": size}}
    return known | changes


@settings(max_examples=40)
@given(st.sampled_from(NUMBERS), st.data())
def test_binary_tensors_survive(datatype: str, data: st.DataObject) -> None:
    dtype = DTYPES[datatype]
    array: npt.NDArray[Any] = data.draw(
        nps.arrays(dtype, nps.array_shapes(min_dims=0, max_dims=3, min_side=0))
    )
    spec = TensorSpec("x", datatype, (-1,) * array.ndim)
    sent = bytes(tensors.to_binary(spec, array))
    body, length = with_tail([item(len(sent), datatype=datatype, shape=list(array.shape))], sent)
    found = make_codec(spec).decode(body, length).inputs["x"]
    assert (found.dtype, found.shape) == (dtype, array.shape)
    assert found.tobytes() == array.tobytes()


@settings(max_examples=40)
@given(st.sampled_from(NUMBERS), st.data(), st.booleans())
def test_json_tensors_survive(datatype: str, data: st.DataObject, nested: bool) -> None:
    dtype = DTYPES[datatype]
    elements = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else None
    array = data.draw(
        nps.arrays(dtype, nps.array_shapes(min_dims=1, max_dims=3, min_side=0), elements=elements)
    )
    spec = TensorSpec("x", datatype, (-1,) * array.ndim)
    sent = array if nested else array.ravel()
    request = {"inputs": [{"name": "x", "datatype": datatype, "shape": array.shape, "data": sent.tolist()}]}
    found = make_codec(spec).decode(orjson.dumps(request), None).inputs["x"]
    assert (found.dtype, found.shape) == (dtype, array.shape)
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(np.asarray(tensors.to_json(spec, array)), array.ravel())


@given(st.lists(st.text(max_size=20), max_size=5))
def test_strings_survive_both_ways(strings: list[str]) -> None:
    spec = TensorSpec("x", "BYTES", (-1,))
    array = np.array(strings, dtype=object)
    sent = bytes(tensors.to_binary(spec, array))
    assert tensors.from_binary(spec, sent, 0, len(sent), len(strings), array.shape).tolist() == strings
    assert tensors.from_json(spec, tensors.to_json(spec, array), array.shape).tolist() == strings


@pytest.mark.parametrize(
    "content", [b"", b"\x05\0\0\0ab", b"\xff\xff\xff\xffab", b"\x01\0\0\0\xff", b"\0\0\0\0\0"]
)
def test_damaged_strings_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidRequest):
        tensors.from_binary(TensorSpec("x", "BYTES", (-1,)), content, 0, len(content), 1, (1,))


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda each: (
            st.lists(each, max_size=3) | st.dictionaries(st.sampled_from(["inputs", "name", "data"]), each)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_body_raises_anything_else(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        make_codec().decode(body, None)


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("INT8", [1.0]),
        ("INT8", [128]),
        ("UINT8", [-1]),
        ("UINT64", [-1]),
        ("UINT64", [1.0]),
        ("UINT64", [1 << 64]),
        ("INT64", [1 << 63]),
        ("FP16", [70_000]),
        ("FP32", [1e39]),
        ("FP64", [None]),
        ("FP32", ["1"]),
        ("FP32", [True]),
        ("BOOL", [1]),
        ("INT32", [True]),
        ("BYTES", [1]),
        ("FP32", {"a": 1}),
        ("FP32", "12"),
        ("FP32", [[1], [1, 2]]),
        ("FP32", [1, 2]),
        ("FP32", [[[1]]]),
    ],
)
def test_values_are_never_bent_to_fit(datatype: str, data: Any) -> None:
    with pytest.raises(InvalidRequest):
        tensors.from_json(TensorSpec("x", datatype, (-1,)), data, (1,))


@pytest.mark.parametrize("values", [[0], [(1 << 64) - 1], [0, (1 << 64) - 1], [1, (1 << 63) + 1]])
def test_the_largest_integers_are_exact(values: list[int]) -> None:
    found = tensors.from_json(TensorSpec("x", "UINT64", (-1,)), values, (len(values),))
    assert found.tolist() == values


def test_a_bool_is_zero_or_one() -> None:
    with pytest.raises(InvalidRequest):
        tensors.from_binary(TensorSpec("x", "BOOL", (-1,)), b"\x02", 0, 1, 1, (1,))


@pytest.mark.parametrize(
    ("items", "tail", "members"),
    [
        pytest.param([item(7)], b"\0" * 7, {}, id="size-and-shape-differ"),
        pytest.param([item(8)], b"\0" * 7, {}, id="tail-too-short"),
        pytest.param([item(8)], b"\0" * 9, {}, id="tail-too-long"),
        pytest.param([item(-8)], b"", {}, id="negative-size"),
        pytest.param([item(8) | {"parameters": {"binary_data_size": True}}], b"\0", {}, id="size-is-a-flag"),
        pytest.param([item(8), item(8)], b"\0" * 16, {}, id="input-twice"),
        pytest.param([], b"", {}, id="no-input"),
        pytest.param([item(8, shape=[1, 2, 1])], b"\0" * 8, {}, id="rank"),
        pytest.param([item(8)], b"\0" * 8, {"outputs": [{"name": "z"}]}, id="unknown-output"),
        pytest.param([item(8)], b"\0" * 8, {"outputs": [{"name": "y"}] * 2}, id="output-twice"),
        pytest.param([item(8)], b"\0" * 8, {"parameters": {"binary_data_output": 1}}, id="flag-is-a-number"),
        pytest.param([item(8)], b"\0" * 8, {"id": 7}, id="id-is-a-number"),
        pytest.param([item(8)], b"\0" * 8, {"parameters": {"a": {}}}, id="nested-parameter"),
    ],
)
def test_headers_that_do_not_fit_are_refused(items: list[Any], tail: bytes, members: dict[str, Any]) -> None:
    made = make_codec()
    body, length = with_tail(items, tail, **members)
    for _ in range(2):  # a kept plan judges as the first reading did
        with pytest.raises(InvalidRequest):
            made.decode(body, length)


def test_plans_are_kept_bounded_and_answer_as_before() -> None:
    made = make_codec()
    for n in range(codec.MAX_PLANS + 50):
        sent = np.array([[n, n]], np.float32)
        body, length = with_tail([item(8, name="x")], sent.tobytes(), parameters={"n": n})
        for _ in range(2):
            assert made.decode(body, length).inputs["x"].tolist() == [[n, n]]
    assert len(made.plans) == codec.MAX_PLANS


def test_an_id_keeps_a_plan_out() -> None:
    made = make_codec()
    body, length = with_tail([item(8)], b"\0" * 8, id="unique")
    assert made.decode(body, length).plan.echo == {"id": "unique"}
    assert made.plans == {}


def test_answers_say_what_was_asked() -> None:
    made = make_codec()
    outputs = [{"name": "y", "parameters": {"binary_data": True, "rank": 1}}]
    body, length = with_tail([item(8)], b"\0" * 8, outputs=outputs, parameters={"binary_data_output": False})
    decoded = made.decode(body, length)
    size, parts = made.encode(decoded.plan, [np.array([[1, 2]], np.float32)])
    assert size == len(parts[0])
    assert json.loads(bytes(parts[0])) == {
        "model_name": "m",
        "model_version": "1",
        "outputs": [
            {
                "name": "y",
                "datatype": "FP32",
                "shape": [1, 2],
                "parameters": {"rank": 1, "binary_data_size": 8},
            }
        ],
    }
    assert np.frombuffer(parts[1], np.float32).tolist() == [1, 2]
