"""Data sets: ``.npz`` files without pickles, read as a stream and checked before anything uses them."""

import hashlib
import math
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgewright_api.edgemodel import Interface, Tensor
from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason
from edgewright_build.graph import NUMPY_TYPES

LABELS: Final = "labels"
_MAX_SAMPLES: Final = 50_000_000


def _invalid(name: str, what: str, remedy: str) -> StalledError:
    return StalledError(Reason.DATA_SET_INVALID, f"data set {name}: {what}", remedy=remedy)


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set whose form fits a model. Arrays are read batch by batch, so memory does not grow with samples."""

    path: Path
    name: str
    interface: Interface
    samples: int
    labelled: bool

    def batches(self, size: int, *, limit: int | None = None) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the inputs by name, ``size`` samples at a time (fewer at the end), finite values only.

        Raises:
            StalledError: DataSetInvalid, when a value is NaN or infinite or the file ends early.
        """
        wanted = self.samples if limit is None else min(limit, self.samples)
        with zipfile.ZipFile(self.path) as archive, ExitStack() as stack:
            streams = {
                t.name: stack.enter_context(archive.open(f"{t.name}.npy")) for t in self.interface.inputs
            }
            headers = {name: _header(stream, self.name, name) for name, stream in streams.items()}
            for start in range(0, wanted, size):
                count = min(size, wanted - start)
                batch = {
                    name: _rows(stream, headers[name], count, self.name, name)
                    for name, stream in streams.items()
                }
                for name, values in batch.items():
                    _require_finite(values, self.name, name, start)
                yield batch

    def labels(self) -> NDArray[np.int64]:
        """Return ``[N]``, the class of each sample.

        Raises:
            StalledError: DataSetInvalid, when there are no labels or they are no classes.
        """
        if not self.labelled:
            raise _invalid(
                self.name, "there is no array 'labels'", "Add one class number per sample, as integers"
            )
        with zipfile.ZipFile(self.path) as archive, archive.open(f"{LABELS}.npy") as stream:
            header = _header(stream, self.name, LABELS)
            if header.dtype.kind not in "iu" or len(header.shape) != 1:
                raise _invalid(
                    self.name,
                    f"'labels' is {header.dtype} {list(header.shape)}",
                    "Give one integer class per sample",
                )
            values = _rows(stream, header, self.samples, self.name, LABELS).astype(np.int64)
        if values.size and values.min() < 0:
            raise _invalid(self.name, "a label is negative", "Number the classes from 0")
        return values

    def sample_hashes(self) -> list[bytes]:
        """Return the SHA-256 of each sample's inputs, in order; equal samples have equal hashes."""
        hashes: list[bytes] = []
        names = sorted(t.name for t in self.interface.inputs)
        for batch in self.batches(256):
            count = len(batch[names[0]])
            rows = {name: np.ascontiguousarray(batch[name]) for name in names}
            for i in range(count):
                digest = hashlib.sha256()
                for name in names:
                    digest.update(rows[name][i].tobytes())
                hashes.append(digest.digest())
        return hashes


@dataclass(frozen=True, slots=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def open_data_set(path: Path, interface: Interface, *, name: str) -> DataSet:
    """Return the data set at ``path`` once its arrays fit ``interface``; the first dimension is the sample.

    Raises:
        StalledError: DataSetInvalid, with what does not fit.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise _invalid(name, "it is not an .npz file", "Write it with numpy.savez") from error
    counts: dict[str, int] = {}
    with archive:
        present = {n.removesuffix(".npy") for n in archive.namelist()}
        for tensor in interface.inputs:
            if tensor.name not in present:
                raise _invalid(
                    name,
                    f"there is no array {tensor.name!r} (it has {', '.join(sorted(present)) or 'none'})",
                    "Name each array as the model's input",
                )
            with archive.open(f"{tensor.name}.npy") as stream:
                header = _header(stream, name, tensor.name)
            _require_fit(header, tensor, name)
            counts[tensor.name] = header.shape[0]
        if LABELS in present:
            with archive.open(f"{LABELS}.npy") as stream:
                shape = _header(stream, name, LABELS).shape
            counts[LABELS] = shape[0] if shape else 0
    if len(set(counts.values())) != 1:
        raise _invalid(name, f"its arrays differ in length: {counts}", "Give each array one entry per sample")
    samples = next(iter(counts.values()))
    if not 0 < samples <= _MAX_SAMPLES:
        raise _invalid(name, f"it has {samples} samples", "Give at least one sample")
    return DataSet(path, name, interface, samples, LABELS in present)


def batch_size(interface: Interface, preferred: int) -> int:
    """Return how many samples go into one inference: the model's own number where it fixes one."""
    fixed = {t.shape[0] for t in interface.inputs if t.shape and t.shape[0] > 0}
    return min(fixed) if fixed else preferred


def _header(stream: IO[bytes], name: str, array: str) -> _Header:
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _invalid(
            name, f"array {array!r} can't be read: {error}", "Write it with numpy.savez"
        ) from error
    if dtype.hasobject:
        raise _invalid(
            name, f"array {array!r} holds Python objects", "Store plain numbers; pickles are refused"
        )
    if fortran and len(shape) > 1:
        raise _invalid(
            name, f"array {array!r} is in Fortran order", "Pass it through numpy.ascontiguousarray first"
        )
    return _Header(tuple(int(d) for d in shape), dtype)


def _rows(stream: IO[bytes], header: _Header, count: int, name: str, array: str) -> NDArray[Any]:
    row = math.prod(header.shape[1:])
    wanted = row * count * header.dtype.itemsize
    try:
        data = stream.read(wanted)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise _invalid(name, f"array {array!r} is damaged: {error}", "Upload the data set again") from error
    if len(data) != wanted:
        raise _invalid(name, f"array {array!r} ends early", "Upload the data set again")
    return np.frombuffer(data, header.dtype).reshape(count, *header.shape[1:])


def _require_fit(header: _Header, tensor: Tensor, name: str) -> None:
    expected = NUMPY_TYPES[tensor.data_type]
    if header.dtype != np.dtype(expected):
        raise _invalid(
            name,
            f"array {tensor.name!r} is {header.dtype}, the model takes {expected}",
            f"Convert it with .astype('{expected}')",
        )
    wanted = tensor.shape[1:]
    got = header.shape[1:]
    if len(header.shape) != len(tensor.shape) or any(
        w not in (-1, g) for w, g in zip(wanted, got, strict=False)
    ):
        raise _invalid(
            name,
            f"array {tensor.name!r} has shape {list(header.shape)}, the model takes {list(tensor.shape)}",
            "The first dimension is the sample; the others must fit the model",
        )


def _require_finite(values: NDArray[Any], name: str, array: str, start: int) -> None:
    if values.dtype.kind != "f":
        return
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if bad.any():
        raise _invalid(
            name,
            f"sample {start + int(bad.argmax())} of array {array!r} holds a NaN or an infinity",
            "Remove or repair this sample",
        )
