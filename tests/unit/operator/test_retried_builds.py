"""A build that fails is tried again ever later, however often its own status write comes back as an event."""

import asyncio

import pytest

from edgewright_api.edgemodel import BuildProgress
from edgewright_api.errors import TransientError
from edgewright_api.modelrevision import (
    ModelRevision,
    ModelRevisionSpec,
    ModelRevisionStatus,
    ResolvedContent,
)
from edgewright_api.reasons import Reason
from edgewright_operator.builder import Report
from edgewright_operator.planning.builds import Published
from edgewright_operator.planning.revisions import is_settled
from support.hurrying_loop import run_hurried
from support.operator_builders import revision
from support.quiet_operator import quiet_operator


class Failing:
    """A builder whose world is broken until the ``heals``-th attempt."""

    def __init__(self, heals: int = 10**9) -> None:
        self.starts: list[float] = []
        self._heals = heals

    async def build(
        self, namespace: str, revision: str, spec: ModelRevisionSpec, report: Report
    ) -> Published:
        self.starts.append(asyncio.get_running_loop().time())
        report(BuildProgress(passes_done=0, passes_total=3))
        await asyncio.sleep(0.01)
        if len(self.starts) < self._heals:
            raise TransientError(Reason.STORE_UNAVAILABLE, "no store", remedy="It is tried again")
        return Published(index_digest=None, interface=None, targets=(), passes_run=3, passes_cached=0)


class NoSource:
    async def resolve(self, uri: str) -> ResolvedContent:
        raise AssertionError("a revision is resolved already")


async def operate(builder: Failing, seconds: float) -> ModelRevision:
    """Run one worker on a fresh revision for so long; return what became of the revision."""
    fresh = revision().model_copy(update={"status": ModelRevisionStatus()})
    operator = quiet_operator(builder, NoSource(), [fresh])
    await operator.run(seconds)
    (left,) = operator.cache.revisions.all()
    return left


def test_a_build_that_fails_again_and_again_waits_longer_each_time() -> None:
    builder = Failing()
    left = run_hurried(operate(builder, 70.0))
    assert builder.starts == pytest.approx([0, 1, 3, 7, 15, 31, 63], abs=0.5)
    assert len([at for at in builder.starts if at <= 5]) <= 3
    assert {c.reason for c in left.status.conditions} == {"StoreUnavailable"}


def test_a_build_that_heals_is_not_started_again() -> None:
    builder = Failing(heals=3)
    left = run_hurried(operate(builder, 3600.0))
    assert len(builder.starts) == 3
    assert is_settled(left)
