"""How latency is measured, on sessions and a clock made of numbers."""

from typing import Any

import pytest

from edgewright_build.evaluators.latency import MIN_PAIRS, PAIRS, measure, run
from edgewright_build.passes import PassInput


class FakeClock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeSession:
    """Takes a fixed time per run, and keeps the order in which sessions ran."""

    def __init__(self, name: str, seconds: float, clock: FakeClock, order: list[str]) -> None:
        self.name, self.seconds, self.clock, self.order = name, seconds, clock, order

    def get_outputs(self) -> list[Any]:
        return []

    def run(self, names: list[str], given: dict[str, Any]) -> list[Any]:
        del names, given
        self.clock.now += self.seconds
        self.order.append(self.name)
        return []


def sessions(baseline: float, artifact: float) -> tuple[FakeSession, FakeSession, FakeClock, list[str]]:
    clock, order = FakeClock(), list[str]()
    return FakeSession("a", baseline, clock, order), FakeSession("b", artifact, clock, order), clock, order


def test_blocks_alternate_and_their_order_turns() -> None:
    first, second, clock, order = sessions(0.010, 0.020)
    got = measure(first, second, [{}], clock)
    assert got.runs_per_block == 1
    assert got.pairs == [[10_000_000, 20_000_000]] * PAIRS
    assert got.baseline == [10_000_000, 10_000_000]
    measured = "".join(order)[-2 * PAIRS :]
    assert measured == "abba" * (PAIRS // 2)


def test_a_slow_model_is_measured_long_enough_and_no_longer() -> None:
    first, second, clock, _ = sessions(1.0, 2.0)
    assert len(measure(first, second, [{}], clock).pairs) == MIN_PAIRS


def test_a_quick_model_runs_many_times_per_block() -> None:
    first, second, clock, _ = sessions(20e-6, 10e-6)
    assert measure(first, second, [{}], clock).runs_per_block == 64


def test_the_wrong_kernels_are_never_timed() -> None:
    given = PassInput({}, {"threads": 1}, "X86Avx2@X86Vnni", FakeClock())
    with pytest.raises(ValueError, match="not measured"):
        run(given)
