"""Files are told apart by their content, and a damaged one is refused before any parser sees it."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason
from edgewright_build.formats import require_onnx
from support.model_builders import digits_model


@pytest.mark.parametrize(
    ("data", "reason", "word"),
    [
        pytest.param(b"", Reason.MODEL_INVALID, "empty", id="empty"),
        pytest.param(pickle.dumps({"a": 1}), Reason.FORMAT_NOT_SUPPORTED, "pickle", id="pickle"),
        pytest.param(b"PK\x03\x04rest", Reason.FORMAT_NOT_SUPPORTED, "zip", id="zip"),
        pytest.param(b"\x1c\0\0\0TFL3rest", Reason.FORMAT_NOT_SUPPORTED, "TFLite", id="tflite"),
        pytest.param(b"\x89HDF\r\n\x1a\n", Reason.FORMAT_NOT_SUPPORTED, "HDF5", id="hdf5"),
        pytest.param(b'{"model": 1}', Reason.FORMAT_NOT_SUPPORTED, "JSON", id="json"),
        pytest.param(b"version https://git-lfs.github.com", Reason.FORMAT_NOT_SUPPORTED, "LFS", id="lfs"),
        pytest.param(b"\xfa\xff\x03abc", Reason.FORMAT_NOT_SUPPORTED, "not a file", id="noise"),
        pytest.param(b"\x08\x08", Reason.FORMAT_NOT_SUPPORTED, "not a file", id="no-graph"),
    ],
)
def test_other_files_are_refused_by_name(data: bytes, reason: Reason, word: str) -> None:
    with pytest.raises(StalledError) as caught:
        require_onnx(data)
    assert caught.value.reason is reason
    assert word in str(caught.value)


def test_onnx_is_accepted() -> None:
    require_onnx(digits_model())


def answer(data: bytes) -> StalledError | None:
    """Return how ``data`` is refused, or None when it is accepted."""
    try:
        require_onnx(data)
    except StalledError as error:
        return error
    return None


@given(st.integers(1, len(digits_model()) - 1))
def test_a_file_that_is_cut_off_is_refused(kept: int) -> None:
    refused = answer(digits_model()[:kept])
    # Cut exactly between two outer fields behind the graph, only what follows the graph is missing.
    assert refused is not None or kept > 39_000


@given(st.binary(max_size=64))
def test_any_bytes_get_an_answer_with_a_remedy(data: bytes) -> None:
    refused = answer(data)
    assert refused is None or refused.remedy
