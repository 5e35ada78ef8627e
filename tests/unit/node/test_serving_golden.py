"""What the golden vectors refuse, and what they let pass."""

import io
from typing import Any

import numpy as np
import pytest

from edgewright_node.serving import golden
from edgewright_node.serving.engines.base import TensorSpec
from edgewright_node.serving.errors import (
    ArtifactRefused,
    GoldenArtifactMismatch,
    GoldenInvalid,
    GoldenSourceMismatch,
)
from support.artifact_builders import FloatArray, make_golden

RANDOM = np.random.default_rng(0)
IMAGES: FloatArray = RANDOM.normal(size=(16, 8)).astype(np.float32)
LOGITS: FloatArray = RANDOM.normal(size=(16, 4)).astype(np.float32)
SPEC = TensorSpec("image", "FP32", (-1, 8))


def make(**policy: Any) -> golden.Golden:
    return golden.read(make_golden(IMAGES, LOGITS, policy))


def test_the_same_answers_pass() -> None:
    found = golden.judge(make(), {"logits": LOGITS})
    assert (found.disagreements, found.nrmse, found.max_abs_error) == (0, 0.0, 0.0)


def flipped(samples: int) -> FloatArray:
    """Swap the largest two logits of some samples, so that their arg-max differs."""
    answer = LOGITS.copy()
    for row in answer[:samples]:
        first, second = np.argsort(row)[-1], np.argsort(row)[-2]
        row[first], row[second] = row[second], row[first]
    return answer


@pytest.mark.parametrize(
    ("answer", "policy", "error"),
    [
        pytest.param(flipped(1), {"sourceMaxNrmse": 9}, GoldenSourceMismatch, id="one-disagrees-none-may"),
        pytest.param(
            flipped(2),
            {"sourceMaxNrmse": 9, "sourceMaxDisagreements": 1, "artifactAtol": 9},
            GoldenSourceMismatch,
            id="two-disagree-one-may",
        ),
        pytest.param(LOGITS * 3, {}, GoldenSourceMismatch, id="scaled"),
        pytest.param(LOGITS[:, :3], {}, GoldenSourceMismatch, id="fewer-classes"),
        pytest.param(LOGITS + np.float32(2e-3), {}, GoldenArtifactMismatch, id="close-but-not-its-own"),
        pytest.param(
            np.where(np.isclose(LOGITS, LOGITS[3, 1]), np.nan, LOGITS),
            {"sourceMaxDisagreements": 16},
            GoldenSourceMismatch,
            id="one-nan",
        ),
        pytest.param(np.full_like(LOGITS, np.inf), {}, GoldenSourceMismatch, id="infinite"),
    ],
)
def test_other_answers_do_not(
    answer: FloatArray, policy: dict[str, Any], error: type[ArtifactRefused]
) -> None:
    with pytest.raises(error), np.errstate(invalid="ignore"):
        golden.judge(make(**policy), {"logits": answer})


def test_what_the_policy_allows_passes() -> None:
    policy = {"sourceMaxDisagreements": 1, "sourceMaxNrmse": 9, "artifactAtol": 9}
    assert golden.judge(make(**policy), {"logits": flipped(1)}).disagreements == 1


def test_a_nan_in_an_output_that_is_not_the_policys_is_found() -> None:
    vectors = golden.Golden(
        make().policy, {"image": IMAGES}, {"logits": LOGITS}, {"logits": LOGITS, "other": np.zeros((16, 1))}
    )
    with pytest.raises(GoldenArtifactMismatch):
        golden.judge(vectors, {"logits": LOGITS, "other": np.full((16, 1), np.nan)})


LIMITS = {golden.MAX_DISAGREEMENTS: "1", golden.MAX_NRMSE: "0.35"}
GENEROUS = {"sourceMaxDisagreements": 16, "sourceMaxNrmse": 1e9, "artifactAtol": 1e9}


@pytest.mark.parametrize("answer", [LOGITS * 3, flipped(2)], ids=["scaled", "two-disagree"])
def test_a_builders_generous_policy_does_not_beat_the_manifest(answer: FloatArray) -> None:
    vectors = make(**GENEROUS)
    golden.judge(vectors, {"logits": answer})
    with pytest.raises(GoldenSourceMismatch):
        golden.judge(golden.restrict(vectors, LIMITS), {"logits": answer})


def test_the_stricter_of_manifest_and_file_counts_for_each_limit() -> None:
    strict = golden.restrict(make(sourceMaxDisagreements=0, sourceMaxNrmse=9), LIMITS).policy
    assert (strict.source_max_disagreements, strict.source_max_nrmse) == (0, 0.35)
    assert golden.restrict(make(), {}).policy == make().policy


@pytest.mark.parametrize("text", ["", "much", "nan", "inf", "-1"])
@pytest.mark.parametrize("name", [golden.MAX_DISAGREEMENTS, golden.MAX_NRMSE])
def test_a_manifest_with_a_limit_that_is_none_is_refused(name: str, text: str) -> None:
    with pytest.raises(GoldenInvalid):
        golden.restrict(make(), {name: text})


def test_a_missing_output_is_a_wrong_artifact() -> None:
    with pytest.raises(GoldenSourceMismatch):
        golden.judge(make(), {})


@pytest.mark.parametrize(
    "policy",
    [
        {"version": 2},
        {"samples": 15},
        {"samples": 0},
        {"output": "probabilities"},
        {"artifactAtol": -1},
        {"sourceMaxNrmse": "much"},
    ],
)
def test_a_policy_that_does_not_fit_is_refused(policy: dict[str, Any]) -> None:
    with pytest.raises(GoldenInvalid):
        make(**policy)


def test_pickles_are_refused() -> None:
    file = io.BytesIO()
    np.savez(file, policy=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(GoldenInvalid):
        golden.read(file.getvalue())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", make_golden(IMAGES, LOGITS, {})[:500]])
def test_what_is_no_archive_is_refused(content: bytes) -> None:
    with pytest.raises(GoldenInvalid):
        golden.read(content)


@pytest.mark.parametrize(("batch", "requests"), [(-1, 1), (1, 16), (8, 2)])
def test_vectors_are_cut_into_the_models_batches(batch: int, requests: int) -> None:
    found = golden.batches(make(), [TensorSpec("image", "FP32", (batch, 8))])
    assert len(found) == requests
    np.testing.assert_array_equal(np.concatenate([each["image"] for each in found]), IMAGES)


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("picture", "FP32", (-1, 8)),
        TensorSpec("image", "FP64", (-1, 8)),
        TensorSpec("image", "FP32", (-1, 9)),
        TensorSpec("image", "FP32", (5, 8)),
    ],
)
def test_vectors_for_another_model_are_refused(spec: TensorSpec) -> None:
    with pytest.raises(GoldenInvalid):
        golden.batches(make(), [spec])
