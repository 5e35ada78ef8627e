"""Data sets as users write them, well and badly."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright_api.edgemodel import DataType, Interface, Tensor
from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason
from edgewright_build.datasets import DataSet, open_data_set

INTERFACE = Interface(
    inputs=(
        Tensor(name="image", shape=(-1, 2, 2), data_type=DataType.FP32),
        Tensor(name="extra", shape=(-1, 3), data_type=DataType.INT64),
    ),
    outputs=(Tensor(name="y", shape=(-1, 2), data_type=DataType.FP32),),
)


def arrays(**changes: Any) -> dict[str, Any]:
    good: dict[str, Any] = {
        "image": np.arange(40, dtype=np.float32).reshape(10, 2, 2),
        "extra": np.arange(30).reshape(10, 3),
        "labels": np.arange(10) % 2,
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def written(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "set.npz"
    np.savez(path, **arrays(**changes))
    return path


def opened(tmp_path: Path, **changes: Any) -> DataSet:
    return open_data_set(written(tmp_path, **changes), INTERFACE, name="acceptance")


def test_batches_are_the_arrays_in_order(tmp_path: Path) -> None:
    data = opened(tmp_path)
    parts = list(data.batches(4))
    assert [len(p["image"]) for p in parts] == [4, 4, 2]
    for name in ("image", "extra"):
        assert np.array_equal(np.concatenate([p[name] for p in parts]), arrays()[name])
    assert [len(p["image"]) for p in data.batches(4, limit=5)] == [4, 1]
    assert data.labels().tolist() == [0, 1] * 5


def test_compressed_files_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "small.npz"
    np.savez_compressed(path, **arrays())
    assert open_data_set(path, INTERFACE, name="x").samples == 10


def test_hashes_name_the_sample_and_not_its_place(tmp_path: Path) -> None:
    hashes = opened(tmp_path).sample_hashes()
    image = arrays()["image"][::-1].copy()
    extra = arrays()["extra"][::-1].copy()
    turned = opened(tmp_path, image=image, extra=extra).sample_hashes()
    assert len(set(hashes)) == 10
    assert turned == hashes[::-1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"extra": None}, "no array 'extra'"),
        ({"image": np.zeros((10, 2, 2))}, "image' is float64, the model takes float32"),
        ({"image": np.zeros((10, 3, 2), np.float32)}, r"shape \[10, 3, 2\]"),
        ({"image": np.zeros((10, 4), np.float32)}, r"shape \[10, 4\]"),
        ({"image": np.zeros((9, 2, 2), np.float32)}, "differ in length"),
        ({"labels": np.zeros(9, int)}, "differ in length"),
        ({"image": np.array([None] * 10, object)}, "Python objects"),
        ({"image": np.asfortranarray(np.zeros((10, 2, 2), np.float32))}, "Fortran order"),
        (
            {"image": np.zeros((0, 2, 2), np.float32), "extra": np.zeros((0, 3), int), "labels": None},
            "0 samples",
        ),
    ],
)
def test_form_is_checked_on_opening(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(StalledError, match=words) as caught:
        opened(tmp_path, **changes)
    assert caught.value.reason is Reason.DATA_SET_INVALID


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "no array 'labels'"),
        (np.zeros(10), "'labels' is float64"),
        (np.zeros((10, 2), int), "'labels' is int64"),
        (np.full(10, -1), "negative"),
    ],
)
def test_labels_are_checked_when_asked_for(tmp_path: Path, labels: Any, words: str) -> None:
    data = opened(tmp_path, labels=labels)
    with pytest.raises(StalledError, match=words):
        data.labels()


def test_the_sample_with_a_nan_is_named(tmp_path: Path) -> None:
    image = arrays()["image"]
    image[7, 1, 1] = np.nan
    with pytest.raises(StalledError, match="sample 7 of array 'image'"):
        list(opened(tmp_path, image=image).batches(3))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "noise.npz"
    path.write_bytes(b"PK\x03\x04 no zip at all")
    with pytest.raises(StalledError, match=r"not an .npz"):
        open_data_set(path, INTERFACE, name="acceptance")


def test_an_array_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    short = tmp_path / "short.npz"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(short, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content[:-8] if name == "image.npy" else content)
    with pytest.raises(StalledError, match="ends early"):
        list(open_data_set(short, INTERFACE, name="acceptance").batches(4))
