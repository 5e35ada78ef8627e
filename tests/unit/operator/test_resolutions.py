"""Sources are resolved beside the workers: however large they are, no worker waits, and each answer is used once."""

import asyncio

from edgewright_api.edgemodel import EdgeModel
from edgewright_api.errors import EdgewrightError, TransientError
from edgewright_api.modelrevision import ModelRevisionSpec, ResolvedContent
from edgewright_api.reasons import Reason
from edgewright_api.resolving import Pins
from edgewright_operator.builder import Report
from edgewright_operator.planning.builds import Published
from edgewright_operator.resolutions import Resolutions
from support.api_builders import digest
from support.hurrying_loop import run_hurried
from support.operator_builders import edge_model, edge_target
from support.quiet_operator import quiet_operator

HOUR = 3600.0


class Slow:
    """Sources that take an hour each, but those of one model; or that are not there."""

    def __init__(self, *, quick: str = "-", missing: bool = False) -> None:
        self.asked: list[str] = []
        self.cancelled = 0
        self._quick, self._missing = quick, missing

    async def resolve(self, uri: str) -> ResolvedContent:
        self.asked.append(uri)
        if self._missing:
            raise TransientError(Reason.SOURCE_NOT_READABLE, "not there", remedy="Upload it")
        try:
            await asyncio.sleep(0 if self._quick in uri else HOUR)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return ResolvedContent(uri=uri, digest=digest("a"), size_bytes=1)


class Idle:
    """A builder that never ends."""

    async def build(
        self, namespace: str, revision: str, spec: ModelRevisionSpec, report: Report
    ) -> Published:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


def model(name: str, generation: int = 1) -> EdgeModel:
    data = {which: {"uri": f"s3://edgewright/{name}/{which}.npz"} for which in ("calibration", "acceptance")}
    source = {"uri": f"s3://edgewright/{name}/model.onnx"}
    return edge_model(
        name=name, source=source, data=data, meta={"uid": f"uid-{name}", "generation": generation}
    )


def test_large_sources_hold_up_no_worker() -> None:
    async def main() -> None:
        models = [model(name) for name in ("big-1", "big-2", "big-3", "big-4", "small")]
        operator = quiet_operator(Idle(), Slow(quick="small"), [edge_target(), *models])
        running = asyncio.create_task(operator.run(4 * HOUR, workers=2))
        await asyncio.sleep(1)
        assert [r.spec.model for r in operator.cache.revisions.all()] == ["small"]
        await asyncio.sleep(0.9 * HOUR)
        assert operator.queue.stuck_seconds() == 0
        await running
        assert len(operator.cache.revisions) == len(models)

    run_hurried(main())


def test_a_source_that_is_missing_is_looked_for_now_and_then() -> None:
    async def main() -> int:
        sources = Slow(missing=True)
        operator = quiet_operator(Idle(), sources, [edge_target(), model("digits")])
        await operator.run(600.0)
        (left,) = operator.cache.models.all()
        assert {c.reason for c in left.status.conditions} == {"SourceNotReadable"}
        return len(sources.asked)

    assert 10 <= run_hurried(main()) <= 14


def test_an_answer_is_for_the_spec_that_was_asked_about_and_is_given_once() -> None:
    async def main() -> None:
        sources = Slow()
        told: list[str] = []
        resolutions = Resolutions(sources, lambda namespace, name: told.append(f"{namespace}/{name}"))
        assert resolutions.take(model("a")) is None
        await asyncio.sleep(1)
        assert resolutions.take(model("a", generation=2)) is None
        await asyncio.sleep(3 * HOUR + 1)
        assert (told, sources.cancelled, len(sources.asked)) == (["vision/a"], 1, 4)
        found: Pins | EdgewrightError | None = resolutions.take(model("a", generation=2))
        assert isinstance(found, Pins)
        assert resolutions.take(model("a", generation=2)) is None
        await resolutions.close()

    run_hurried(main())
