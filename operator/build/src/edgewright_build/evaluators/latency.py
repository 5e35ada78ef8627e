"""measure-latency: the artifact and the source model in alternation, on one thread, with the machine to itself."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgewright_api.canonical import canonical_json
from edgewright_api.errors import TransientError
from edgewright_api.reasons import Reason
from edgewright_build import graph
from edgewright_build.datasets import open_data_set
from edgewright_build.isa import Arithmetic
from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.session import open_session

Clock = Callable[[], float]
Inputs = list[dict[str, NDArray[Any]]]

PAIRS: Final = 60
MIN_PAIRS: Final = 40
_BLOCK_SECONDS: Final = 0.004
"""Long enough that reading the clock costs nothing, short enough that both of a pair see the same machine."""
_WARM_UP_SECONDS: Final = 0.15
_ENOUGH_SECONDS: Final = 20.0
_INPUTS: Final = 16
_WAIT_SECONDS: Final = 600.0
_POLL_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Measured:
    """Raw figures in nanoseconds."""

    pairs: list[list[int]]
    """``[baseline, artifact]`` of each pair: the median run of a block."""
    baseline: list[int]
    """p50 and p90 over all runs of the source model."""
    artifact: list[int]
    """p50 and p90 over all runs of the artifact."""
    runs_per_block: int


def run(given: PassInput) -> PassOutput:
    """Return raw paired block medians and percentiles as canonical JSON; the gate makes the interval of them.

    Raises:
        TransientError: BuilderFailed, when other measurements keep the machine for ten minutes.
        ValueError: the host is not of the target's level, whose kernels would be the wrong ones to time.
    """
    arithmetic = Arithmetic.parse(given.isa)
    if arithmetic.target is not arithmetic.host or given.clock is None or given.lock is None:
        raise ValueError(f"latency for {arithmetic.target} is not measured on {arithmetic.host}")
    if int(given.options["threads"]) != 1:
        raise ValueError("latency is measured with one thread")
    baseline, artifact = given.read("baseline"), given.read("model")
    interface = graph.interface(graph.parse(baseline))
    data = open_data_set(given.files["data"], interface, name="acceptance")
    inputs = list(data.batches(1, limit=_INPUTS))
    with alone(given.lock, given.clock):
        measured = measure(open_session(baseline), open_session(artifact), inputs, given.clock)
    document = {
        "version": 1,
        "unit": "nanoseconds",
        "threads": 1,
        "batch": 1,
        "pairs": measured.pairs,
        "baseline": dict(zip(("p50", "p90"), measured.baseline, strict=True)),
        "artifact": dict(zip(("p50", "p90"), measured.artifact, strict=True)),
        "runsPerBlock": measured.runs_per_block,
        "evidence": str(arithmetic.evidence),
    }
    facts = {key: value for key, value in document.items() if key != "pairs"} | {
        "blocks": len(measured.pairs)
    }
    return PassOutput(canonical_json(document), facts)


def measure(baseline: Any, artifact: Any, inputs: Inputs, clock: Clock) -> Measured:
    """Return at least 40 paired blocks. Within a pair the order alternates (AB, BA), so that drift cancels."""
    names = [o.name for o in baseline.get_outputs()]
    runs = [_runner(session, names, inputs, clock) for session in (baseline, artifact)]
    typical = max(_warm(one, clock) for one in runs)
    count = max(1, min(64, round(_BLOCK_SECONDS / typical)))
    taken: tuple[list[int], list[int]] = ([], [])
    pairs: list[list[int]] = []
    started = clock()
    while len(pairs) < PAIRS and (len(pairs) < MIN_PAIRS or clock() - started < _ENOUGH_SECONDS):
        pair = [0, 0]
        for which in (0, 1) if len(pairs) % 2 == 0 else (1, 0):
            block = [runs[which](at) for at in range(count)]
            taken[which].extend(block)
            pair[which] = int(np.median(block))
        pairs.append(pair)
    low, high = ([int(v) for v in np.percentile(all_runs, (50, 90))] for all_runs in taken)
    return Measured(pairs, low, high, count)


def _runner(session: Any, names: list[str], inputs: Inputs, clock: Clock) -> Callable[[int], int]:
    def once(at: int) -> int:
        given = inputs[at % len(inputs)]
        start = clock()
        session.run(names, given)
        return round((clock() - start) * 1e9)

    return once


def _warm(once: Callable[[int], int], clock: Clock) -> float:
    """Run until caches and clocks have settled; return seconds per run."""
    end = clock() + _WARM_UP_SECONDS
    seen = [once(0), once(1)]
    while clock() < end:
        seen.append(once(len(seen)))
    return max(float(np.median(seen)) / 1e9, 1e-6)


@contextmanager
def alone(
    path: Path, clock: Clock, *, seconds: float = _WAIT_SECONDS, sleep: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Hold the lock that every measurement on this machine takes, so that no two of them disturb each other.

    Raises:
        TransientError: BuilderFailed, when it is not to be had within ``seconds``.
    """
    try:
        # Another user's file: kernels refuse O_CREAT on it in a shared directory, and reading is enough to lock.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        descriptor = _make(path)
    except OSError as error:
        raise _no_lock(path, str(error)) from error
    try:
        _take(descriptor, path, clock, clock() + seconds, sleep)
        yield
    finally:
        os.close(descriptor)


def _make(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise _no_lock(path, str(error)) from error


def _take(descriptor: int, path: Path, clock: Clock, until: float, sleep: Callable[[float], None]) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock() >= until:
                raise _no_lock(path, "another measurement holds it") from None
            sleep(_POLL_SECONDS)
        else:
            return


def _no_lock(path: Path, why: str) -> TransientError:
    return TransientError(
        Reason.BUILDER_FAILED,
        f"latency can't be measured without the lock {path}: {why}",
        remedy="It is tried again. See who holds it, or name another with EDGEWRIGHT_BUILD_LATENCY_LOCK",
    )
