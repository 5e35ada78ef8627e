"""Golden vectors: does a loaded model answer as its artifact promised? Bytes and arrays in, verdict out.

Two comparisons, because two things can be wrong. Against the *source* model's outputs, within what the
accuracy gate allows: refuses a wrong artifact. That limit stands in the manifest too, which the publisher
wrote and not the builder; the stricter of the two counts. Against the artifact's *own* outputs on the verifying
kernels, tightly: refuses a damaged file or a wrong runtime. A NaN anywhere is a mismatch.
"""

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from edgewright_node.serving.datatypes import BYTES, DTYPES, Array
from edgewright_node.serving.engines.base import TensorSpec
from edgewright_node.serving.errors import (
    GoldenArtifactMismatch,
    GoldenInvalid,
    GoldenSourceMismatch,
)

MAX_UNPACKED_BYTES: Final = 512 << 20
"""Vectors that unpack to more than this are refused before they are unpacked."""

MAX_DISAGREEMENTS: Final = "dev.edgewright.golden.max-disagreements"
MAX_NRMSE: Final = "dev.edgewright.golden.max-nrmse"
"""Annotations of the manifest."""

_NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class Policy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How much may differ; the member ``policy`` of golden.npz, JSON."""

    version: int
    samples: Annotated[int, msgspec.Meta(ge=1)]
    output: str
    source_max_disagreements: Annotated[int, msgspec.Meta(ge=0)]
    source_max_nrmse: _NotNegative
    artifact_atol: _NotNegative
    artifact_rtol: _NotNegative


@dataclass(frozen=True, slots=True)
class Golden:
    """Inputs ``[samples, …]`` by name, the outputs that they should give, and how closely."""

    policy: Policy
    inputs: Mapping[str, Array]
    source: Mapping[str, Array]
    artifact: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far the answers were from the vectors."""

    disagreements: int
    """Samples of the policy's output whose arg-max differs from the source's."""

    nrmse: float
    """Root mean square of the difference from the source, in standard deviations of the source."""

    max_abs_error: float
    """Largest difference from the artifact's own outputs, over all of them."""


def read(content: bytes) -> Golden:
    """Read golden.npz.

    Raises:
        GoldenInvalid: not such a file, pickles in it, or vectors and policy that do not fit each other.
    """
    try:
        members = _members(content)
        policy = msgspec.json.decode(members.pop("policy").item(), type=Policy)
    except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, msgspec.DecodeError) as e:
        raise GoldenInvalid(f"golden.npz cannot be read: {e}") from e
    groups: dict[str, dict[str, Array]] = {"input": {}, "source": {}, "artifact": {}}
    for key, array in members.items():
        group, _, name = key.partition(":")
        if group in groups:
            groups[group][name] = array
    golden = Golden(policy, groups["input"], groups["source"], groups["artifact"])
    _check(golden)
    return golden


def restrict(golden: Golden, annotations: Mapping[str, str]) -> Golden:
    """Hold the vectors to the manifest's limits where these are stricter than the file's own.

    Raises:
        GoldenInvalid: the manifest names a limit that is no number, or a negative one.
    """
    policy = golden.policy
    disagreements = _limit(annotations, MAX_DISAGREEMENTS, policy.source_max_disagreements)
    nrmse = _limit(annotations, MAX_NRMSE, policy.source_max_nrmse)
    stricter = msgspec.structs.replace(
        policy, source_max_disagreements=math.floor(disagreements), source_max_nrmse=nrmse
    )
    return replace(golden, policy=stricter)


def _limit(annotations: Mapping[str, str], name: str, own: float) -> float:
    text = annotations.get(name)
    if text is None:
        return own
    try:
        limit = float(text)
    except ValueError as e:
        raise GoldenInvalid(f"{name} is {text!r}, which is no number") from e
    if not 0 <= limit < math.inf:  # a NaN fails this, too
        raise GoldenInvalid(f"{name} is {text!r}, which is no limit")
    return min(own, limit)


def batches(golden: Golden, inputs: Sequence[TensorSpec]) -> tuple[Mapping[str, Array], ...]:
    """Cut the vectors into requests that the model takes: one, or as many as a fixed batch asks for.

    Raises:
        GoldenInvalid: names, types, shapes or the batch do not fit the model.
    """
    if {spec.name for spec in inputs} != set(golden.inputs):
        raise GoldenInvalid(f"vectors are for {sorted(golden.inputs)}, not for the model's inputs")
    fixed = {spec.shape[0] for spec in inputs if spec.shape and spec.shape[0] != -1}
    size = fixed.pop() if fixed else golden.policy.samples
    if fixed or size < 1 or golden.policy.samples % size:
        raise GoldenInvalid(f"{golden.policy.samples} vectors cannot be cut into the model's batches")
    for spec in inputs:
        array = golden.inputs[spec.name]
        if not spec.accepts((size, *array.shape[1:])) or not _is(spec.datatype, array):
            raise GoldenInvalid(f"vectors of {spec.name!r} do not have the model's shape and type")
    starts = range(0, golden.policy.samples, size)
    cast = {spec.name: _as_input(spec, golden.inputs[spec.name]) for spec in inputs}
    return tuple({name: array[i : i + size] for name, array in cast.items()} for i in starts)


def judge(golden: Golden, answers: Mapping[str, Array]) -> Deviation:
    """Compare answers with the vectors, outputs ``[samples, …]`` by name.

    Raises:
        GoldenSourceMismatch: the policy's output is too far from the source model's.
        GoldenArtifactMismatch: some output is too far from the artifact's own.
    """
    policy = golden.policy
    answer = answers.get(policy.output)
    source = golden.source[policy.output]
    if answer is None or answer.shape != source.shape:
        raise GoldenSourceMismatch(f"output {policy.output!r} is missing or not of shape {source.shape}")
    disagreements = _disagreements(answer, source)
    nrmse = _nrmse(answer, source)
    if not (disagreements <= policy.source_max_disagreements and nrmse <= policy.source_max_nrmse):
        raise GoldenSourceMismatch(
            f"{disagreements} of {policy.samples} samples disagree with the source model "
            f"({policy.source_max_disagreements} may), NRMSE is {nrmse:.4g} ({policy.source_max_nrmse:g} may be)"
        )
    return Deviation(disagreements, nrmse, _against_artifact(golden, answers))


def _against_artifact(golden: Golden, answers: Mapping[str, Array]) -> float:
    policy, worst = golden.policy, 0.0
    for name, own in golden.artifact.items():
        answer = answers.get(name)
        if answer is None or answer.shape != own.shape:
            raise GoldenArtifactMismatch(f"output {name!r} is missing or not of shape {own.shape}")
        if not _is_number(own) or not _is_number(answer):
            if not np.array_equal(answer.astype(str), own.astype(str)):
                raise GoldenArtifactMismatch(f"output {name!r} is not the artifact's own")
            continue
        expected = own.astype(np.float64)
        error = np.abs(answer.astype(np.float64) - expected)
        # `not all(<=)`, so that a NaN is a mismatch
        if not np.all(error <= policy.artifact_atol + policy.artifact_rtol * np.abs(expected)):
            raise GoldenArtifactMismatch(
                f"output {name!r} differs from the artifact's own by up to {np.max(error):.4g} "
                f"(atol {policy.artifact_atol:g}, rtol {policy.artifact_rtol:g})"
            )
        worst = max(worst, float(np.max(error, initial=0.0)))
    return worst


def _disagreements(answer: Array, source: Array) -> int:
    """Count samples with another arg-max; a NaN has none, so its sample disagrees."""
    if answer.ndim < 2 or answer.shape[-1] == 0:
        return 0
    wrong = (np.argmax(answer, axis=-1) != np.argmax(source, axis=-1)) | np.isnan(answer).any(axis=-1)
    return int(wrong.reshape(len(answer), -1).any(axis=1).sum())


def _nrmse(answer: Array, source: Array) -> float:
    expected = source.astype(np.float64)
    rms = float(np.sqrt(np.mean(np.square(answer.astype(np.float64) - expected))))
    spread = float(np.std(expected))
    if spread > 0:
        return rms / spread
    return rms if rms == 0 else float("inf")


def _members(content: bytes) -> dict[str, Array]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MAX_UNPACKED_BYTES:
        raise GoldenInvalid(f"golden.npz unpacks to {size} bytes, at most {MAX_UNPACKED_BYTES} are read")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _check(golden: Golden) -> None:
    policy = golden.policy
    if policy.version != 1:
        raise GoldenInvalid(f"the policy has version {policy.version}, this server reads 1")
    if policy.output not in golden.source or not golden.artifact:
        raise GoldenInvalid(f"there are no outputs to compare {policy.output!r} with")
    for group in (golden.inputs, golden.source, golden.artifact):
        for name, array in group.items():
            if array.ndim < 1 or len(array) != policy.samples:
                raise GoldenInvalid(f"array {name!r} does not hold {policy.samples} samples")
    if not _is_number(golden.source[policy.output]):
        raise GoldenInvalid(f"output {policy.output!r} is not numeric")


def _is_number(array: npt.NDArray[Any]) -> bool:
    return array.dtype.kind in "biuf"


def _is(datatype: str, array: Array) -> bool:
    return array.dtype.kind in "SU" if datatype == BYTES else array.dtype == DTYPES[datatype]


def _as_input(spec: TensorSpec, array: Array) -> Array:
    return array.astype(str).astype(object) if spec.datatype == BYTES else np.ascontiguousarray(array)
