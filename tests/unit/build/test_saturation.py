"""u8·s8 saturation against exact integers: shown, avoided and bounded on any processor, since all of it is NumPy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgewright_build.saturation import can_saturate, exact_product, saturating_product, worst_pair

SHAPE = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)
WEIGHTS = hnp.arrays(np.int8, SHAPE, elements=st.integers(-127, 127))
REDUCED = hnp.arrays(np.int8, SHAPE, elements=st.integers(-64, 64))


def activations(
    weights: np.ndarray[tuple[int, ...], np.dtype[np.int8]], seed: int
) -> "np.typing.NDArray[np.uint8]":
    return np.random.default_rng(seed).integers(0, 256, (4, weights.shape[0]), np.uint8)


def test_full_range_weights_give_wrong_sums() -> None:
    rng = np.random.default_rng(0)
    bright = rng.integers(128, 256, (16, 64), np.uint8)
    weights = rng.integers(-127, 128, (64, 16)).astype(np.int8)
    wrong = saturating_product(bright, weights) != exact_product(bright, weights)
    assert can_saturate(weights)
    assert wrong.mean() > 0.9


def test_seven_bit_weights_are_exact_at_the_extreme() -> None:
    bright = np.full((2, 64), 255, np.uint8)
    for value in (-64, 64):
        weights = np.full((64, 3), value, np.int8)
        assert not can_saturate(weights)
        assert np.array_equal(saturating_product(bright, weights), exact_product(bright, weights))


@given(REDUCED, st.integers(0, 9))
def test_reduced_range_never_saturates(
    weights: np.ndarray[tuple[int, ...], np.dtype[np.int8]], seed: int
) -> None:
    given_activations = activations(weights, seed)
    assert not can_saturate(weights)
    assert np.array_equal(
        saturating_product(given_activations, weights), exact_product(given_activations, weights)
    )


@given(WEIGHTS, st.integers(0, 9))
def test_the_bound_is_a_proof_in_every_order(
    weights: np.ndarray[tuple[int, ...], np.dtype[np.int8]], seed: int
) -> None:
    if can_saturate(weights):
        return
    order = np.random.default_rng(seed).permutation(weights.shape[0])
    given_activations = activations(weights, seed)
    assert np.array_equal(
        saturating_product(given_activations[:, order], weights[order]),
        exact_product(given_activations, weights),
    )


@given(WEIGHTS)
def test_the_bound_is_reached(weights: np.ndarray[tuple[int, ...], np.dtype[np.int8]]) -> None:
    """Some pair really reaches it: the two largest weights of one sign side by side under full activations."""
    flat = np.sort(weights.ravel().astype(np.int32))
    reached = max(np.maximum(flat[-2:], 0).sum(), np.maximum(-flat[:2], 0).sum()) * 255
    assert worst_pair(weights) == reached
