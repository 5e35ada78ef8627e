"""What the passes decide, without files: golden vectors, histograms, failure classes, the catalogue, the archive."""

import io
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edgewright_api.errors import StalledError, TransientError
from edgewright_api.reasons import Reason
from edgewright_api.recipes import PASS_VERSIONS
from edgewright_build.archive import npz_bytes
from edgewright_build.evaluators.safety import look
from edgewright_build.passes import PASSES, load
from edgewright_build.passes.calibrate import Extremes, Histogram
from edgewright_build.passes.golden import choose, distance, policy_of
from edgewright_build.pipeline import failure_of
from edgewright_build.tools import require

MARGINS = hnp.arrays(np.float64, st.integers(16, 300), elements=st.floats(0, 100))
VALUES = hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32))


def test_every_pass_that_a_plan_can_name_is_in_the_catalogue_and_loads() -> None:
    assert set(PASSES) == set(PASS_VERSIONS)
    assert all(callable(load(name)) for name in PASSES)


def test_an_unknown_pass_is_refused() -> None:
    with pytest.raises(StalledError, match="Known: ingest"):
        load("fold")


@given(MARGINS)
def test_golden_vectors_are_spread_and_clear(margin: NDArray[np.float64]) -> None:
    chosen = choose(margin, 16)
    stretches = np.array_split(np.arange(len(margin)), 16)
    assert all(place in stretch for place, stretch in zip(chosen, stretches, strict=True))
    clear = np.median(margin)
    for place, stretch in zip(chosen, stretches, strict=True):
        assert margin[place] >= clear or margin[stretch].max() < clear


def test_the_golden_policy_is_the_plans_and_the_tolerance_follows_the_outputs() -> None:
    own = np.array([[0.0, 10.0]], np.float32)
    policy = policy_of(own, samples=16, output="y", max_disagreements=2, max_nrmse=0.3, integers=True)
    assert (policy["sourceMaxDisagreements"], policy["sourceMaxNrmse"]) == (2, 0.3)
    assert policy["artifactAtol"] == pytest.approx(0.1)


def test_golden_policy_of_nan_outputs_stays_a_number() -> None:
    nothing = np.full((2, 2), np.nan)
    policy = policy_of(nothing, samples=2, output="y", max_disagreements=1, max_nrmse=0.3, integers=False)
    assert policy["artifactAtol"] > 0


@pytest.mark.parametrize("value", [1e-45, 1e-38, 0.0])
def test_a_percentile_range_of_the_smallest_numbers(value: float) -> None:
    seen = Histogram()
    seen.see(np.full(3, value, np.float32))
    assert seen.range() == (float(np.float32(value)), float(np.float32(value)))


def test_an_output_that_is_not_by_sample_has_to_be_finite_and_is_never_constant() -> None:
    by_sample = np.array([[1.0], [2.0]])
    boxes = [np.zeros((0, 7)), np.ones((3, 7)), np.full((3, 7), np.nan)]
    seen = look({"y": by_sample, "boxes": each} for each in boxes)
    assert (seen.not_finite, seen.constant) == (2, frozenset())


def test_distance() -> None:
    expected = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert distance(expected, expected) == (0, 0.0)
    differ, nrmse = distance(expected[::-1], expected)
    assert differ == 2
    assert nrmse == pytest.approx(2.0)


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_ranges_in_parts_are_the_range_of_the_whole(parts: list[NDArray[np.float32]]) -> None:
    seen = Extremes()
    for part in parts:
        seen.see(part)
    whole = np.concatenate(parts)
    assert seen.range() == (float(whole.min()), float(whole.max()))


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_a_percentile_range_counts_everything_and_never_widens(parts: list[NDArray[np.float32]]) -> None:
    seen = Histogram()
    for part in parts:
        seen.see(part)
    whole = np.concatenate(parts)
    low, high = seen.range()
    assert float(whole.min()) <= low <= high <= float(whole.max()) or whole.min() == whole.max() == low
    assert seen.counts.sum() in (0, whole.size) or not parts[0].any()


def test_a_percentile_range_clips_an_outlier_seen_late() -> None:
    seen = Histogram()
    seen.see(np.linspace(-1, 1, 100_000, dtype=np.float32))
    seen.see(np.array([500.0], np.float32))
    low, high = seen.range()
    assert low == -1.0
    assert high < 2.0


def test_archive_bytes_depend_on_content_only() -> None:
    arrays: dict[str, NDArray[Any]] = {"b": np.arange(3), "a": np.ones((2, 2), np.float32)}
    first = npz_bytes(arrays)
    assert first == npz_bytes(dict(reversed(arrays.items())))
    assert zipfile.ZipFile(io.BytesIO(first)).namelist() == ["a.npy", "b.npy"]
    with np.load(io.BytesIO(first), allow_pickle=False) as back:
        assert np.array_equal(back["b"], arrays["b"])


@pytest.mark.parametrize(
    ("error", "reason", "deterministic"),
    [
        (StalledError(Reason.DATA_OVERLAP, "x", remedy="y"), Reason.DATA_OVERLAP, True),
        (TransientError(Reason.STORE_UNAVAILABLE, "x", remedy="y"), Reason.STORE_UNAVAILABLE, False),
        (MemoryError("too much"), Reason.PASS_FAILED, False),
    ],
)
def test_only_failures_of_the_input_are_deterministic(
    error: Exception, reason: Reason, deterministic: bool
) -> None:
    failure = failure_of(error)
    assert (failure.reason, failure.deterministic) == (reason, deterministic)


def test_tools_other_than_the_plan_was_made_for_are_refused() -> None:
    pins = {"sha256:0": {"numpy": "2.0.0", "onnx": "1.0"}}
    require(pins, {"numpy": "2.0.0", "onnx": "1.0", "more": "1"})
    with pytest.raises(StalledError, match=r"onnx 1.0, installed is 1.1") as caught:
        require(pins, {"numpy": "2.0.0", "onnx": "1.1"})
    assert caught.value.reason is Reason.TOOLCHAIN_MISMATCH
