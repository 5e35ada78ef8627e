"""A real build's inputs and parts for tests of the publisher: a store of one's own, a builder, a revision."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgewright_api.assembly import Decide
from edgewright_api.decide import decide_target
from edgewright_api.edgemodel import BuildProgress
from edgewright_api.modelrevision import ModelRevisionSpec
from edgewright_api.report import Job
from edgewright_lab.store import REGION, Store
from edgewright_operator.builder import Builder
from edgewright_operator.cluster.builds import LocalExecutor, Progress
from edgewright_operator.publisher import Publisher
from edgewright_operator.sources import Sources
from edgewright_operator.store import ObjectStore, StoreSettings
from support.api_builders import target
from support.model_builders import digits, digits_model, write_data_set

BUILDER = (sys.executable, "-m", "edgewright_build")


def ignore(progress: BuildProgress) -> None:
    """Take no notice of progress."""


@asynccontextmanager
async def object_store(lab_store: Store, prefix: str) -> AsyncIterator[ObjectStore]:
    """Yield the store below ``prefix`` of the lab's bucket."""
    settings = StoreSettings(
        endpoint=lab_store.endpoint,
        bucket=lab_store.bucket,
        access_key=lab_store.access_key,
        secret_key=lab_store.secret_key,
        region=REGION,
        prefix=prefix,
    )
    store = ObjectStore(settings)
    try:
        yield store
    finally:
        store.close()


class CountingExecutor:
    """The local executor, and the steps that it was asked to run."""

    def __init__(self, work_dir: Path, command: Sequence[str] = BUILDER) -> None:
        path = str(Path(sys.executable).parent)
        self._real = LocalExecutor(command=command, work_dir=work_dir, search_path=path, deadline_seconds=120)
        self.describe, self.place = self._real.describe, self._real.place
        self.jobs: list[Job] = []

    async def run(self, job: Job, progress: Progress) -> None:
        """Run the step for real."""
        self.jobs.append(job)
        await self._real.run(job, progress)


def make_builder(
    store: ObjectStore, work_dir: Path, executor: CountingExecutor, decide: Decide = decide_target
) -> Builder:
    return Builder(store=store, publisher=Publisher(store, work_dir, decide), executor=executor)


async def digits_revision(
    lab_store: Store, store: ObjectStore, work_dir: Path, *, calibrate: int = 100, **changes: Any
) -> ModelRevisionSpec:
    """Upload the digits model and its data, and return a revision of it for the AVX2 level."""
    _, calibration, acceptance = digits()
    model = work_dir / "digits.onnx"
    model.write_bytes(digits_model())
    paths = {
        "source": model,
        "calibration": write_data_set(work_dir / "calibration.npz", calibration.images[:calibrate]),
        "acceptance": write_data_set(work_dir / "acceptance.npz", acceptance.images, acceptance.labels),
    }
    sources = Sources(store, work_dir)
    found = {
        name: await sources.resolve(lab_store.upload(path, f"inputs/{calibrate}/{path.name}"))
        for name, path in paths.items()
    }
    return ModelRevisionSpec.model_validate(
        {
            "model": "digits",
            "version": "1.0.0",
            "source": found["source"].to_wire(),
            "data": {name: found[name].to_wire() for name in ("calibration", "acceptance")},
            "metrics": [{"name": "top1", "evaluator": "Top1"}],
            "requirements": {"accuracy": [{"metric": "top1", "maxDropPercentagePoints": "3.0"}]},
            "objectives": ["Latency", "Size"],
            "targets": [target()],
            "optimization": {},
        }
        | changes
    )
