"""u8·s8 products on x86 without VNNI: the exact result, what ``vpmaddubsw`` makes of it, and when they agree.

AVX2 multiplies unsigned by signed bytes with an instruction that adds two neighbouring products into a *signed
16-bit* lane and clamps them there: 255·127 + 255·127 = 64,770 becomes 32,767. VNNI adds four products into 32 bits
and never clamps. The clamp is silent; a model merely becomes less accurate on the older machine.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_INT16_MAX: Final = 32767
_INT16_MIN: Final = -32768
_U8_MAX: Final = 255

Bytes = NDArray[np.uint8]
SignedBytes = NDArray[np.int8]
Accumulators = NDArray[np.int32]


def exact_product(activations: Bytes, weights: SignedBytes) -> Accumulators:
    """Return ``activations @ weights`` in 32-bit integers, as VNNI computes it.

    Args:
        activations: ``[M, K]``, unsigned.
        weights: ``[K, N]``, signed.
    """
    product: Accumulators = activations.astype(np.int32) @ weights.astype(np.int32)
    return product


def saturating_product(activations: Bytes, weights: SignedBytes) -> Accumulators:
    """Return ``activations @ weights`` as AVX2 computes it: neighbouring pairs of K are clamped to 16 bits.

    Args:
        activations: ``[M, K]``, unsigned.
        weights: ``[K, N]``, signed. An odd K is filled up with a zero, as the kernels do.
    """
    if activations.shape[1] % 2:
        activations = np.pad(activations, ((0, 0), (0, 1)))
        weights = np.pad(weights, ((0, 1), (0, 0)))
    products = activations.astype(np.int32)[:, :, None] * weights.astype(np.int32)[None, :, :]
    pairs = products[:, 0::2, :] + products[:, 1::2, :]
    clamped: Accumulators = np.clip(pairs, _INT16_MIN, _INT16_MAX).sum(axis=1, dtype=np.int32)
    return clamped


def worst_pair(weights: SignedBytes) -> int:
    """Return the largest magnitude that any two of these weights can bring into one 16-bit lane.

    Every order is covered, because the order of K is the kernel's own business: the bound takes the two largest
    weights of one sign, each times the largest activation, 255.
    """
    values = weights.astype(np.int32).ravel()
    rising, falling = (np.sort(np.maximum(signed, 0))[-2:].sum() for signed in (values, -values))
    return int(max(rising, falling)) * _U8_MAX


def can_saturate(weights: SignedBytes) -> bool:
    """Return whether some activations make AVX2 clamp with these weights; False is a proof that none do."""
    return worst_pair(weights) > _INT16_MAX
