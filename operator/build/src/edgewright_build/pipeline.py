"""One step of a build: runs the passes of a plan that are not known, and reports what each did."""

import platform
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edgewright_api.cachekeys import input_digests, pass_key
from edgewright_api.canonical import canonical_json, digest_bytes
from edgewright_api.errors import EdgewrightError, StalledError
from edgewright_api.plan import ACCEPTANCE, CALIBRATION, PassNode, Step
from edgewright_api.reasons import Reason
from edgewright_api.report import BuildReport, Failure, Job, Machine, PassResult, PassState
from edgewright_build import tools
from edgewright_build.isa import level_of, processor
from edgewright_build.passes import PassInput, load
from edgewright_build.store import PlaceStore, Store, Workspace

Progress = Callable[[Mapping[str, Any]], None]
REPORT = "report"
LATENCY_LOCK: Final = Path("/tmp/edgewright-latency.lock")  # noqa: S108 - all users of the machine share it
"""What measurements lock: one place for the whole machine, wherever a step keeps its own files."""


@dataclass(slots=True)
class _Run:
    """What is known while a step runs."""

    job: Job
    workspace: Workspace
    store: Store
    progress: Progress
    clock: Callable[[], float]
    latency_lock: Path
    outputs: dict[str, str] = field(default_factory=dict)
    dead: dict[str, str] = field(default_factory=dict)
    """Nodes without output → the node whose failure is the cause."""


def run_step(
    job: Job,
    machine: Machine,
    *,
    scratch: Path,
    progress: Progress,
    clock: Callable[[], float],
    store: Store | None = None,
    latency_lock: Path = LATENCY_LOCK,
) -> BuildReport:
    """Run a step, write its outputs and its report where the job says, and return the report.

    A pass that fails stops only what depends on it; the others go on.

    Raises:
        StalledError: ToolchainMismatch, when plan and builder do not fit; BuilderFailed, when a transform is handed
            the acceptance data.
        TransientError: StoreUnavailable.
    """
    require_fit(job, machine)
    place = store or PlaceStore()
    with tempfile.TemporaryDirectory(dir=scratch, prefix="step-") as root:
        run = _Run(job, Workspace(Path(root), place), place, progress, clock, latency_lock)
        for node_id, record in job.known.items():
            if record.output is None:
                run.dead[node_id] = node_id
            else:
                run.outputs[node_id] = record.output
        results = [
            _run_node(run, node)
            for node in job.plan.nodes
            if node.step is job.step and node.id not in job.known
        ]
    report = BuildReport(build_uid=job.build_uid, step=job.step, machine=machine, results=tuple(results))
    if where := job.writes.get(REPORT):
        place.put(canonical_json(report.to_wire()), where)
    return report


def require_fit(job: Job, machine: Machine) -> None:
    """Return when this builder may run this job.

    Raises:
        StalledError: ToolchainMismatch or BuilderFailed.
    """
    tools.require(job.plan.toolchains, tools.installed())
    if job.plan.host_isa is not machine.isa:
        raise StalledError(
            Reason.TOOLCHAIN_MISMATCH,
            f"the plan was made for a {job.plan.host_isa} builder, this one is {machine.isa}",
            remedy="Plan again with this builder's description",
        )
    acceptance = job.plan.contents.get(ACCEPTANCE)
    shared = acceptance == job.plan.contents.get(CALIBRATION)
    if job.step is Step.TRANSFORM and acceptance in job.reads and not shared:
        raise StalledError(
            Reason.BUILDER_FAILED,
            "a transform step was handed the acceptance data",
            remedy="Hand it to the Evaluate step only",
        )


def _run_node(run: _Run, node: PassNode) -> PassResult:
    cause = next((run.dead[ref] for ref in node.inputs.values() if ref in run.dead), None)
    digests = input_digests(run.job.plan, node, run.outputs)
    if cause is not None or digests is None:
        run.dead[node.id] = cause or node.id
        run.progress({"event": "pass", "id": node.id, "state": "skipped", "because": cause or "inputs"})
        return PassResult(id=node.id, key=digest_bytes(b""), state=PassState.SKIPPED)
    run.progress({"event": "pass", "id": node.id, "state": "running"})
    started = run.clock()
    key = pass_key(node, digests)
    try:
        result = _execute(run, node, key, digests, started)
    except Exception as error:  # whatever a pass or a vendor's parser raises ends this branch only
        result = PassResult(
            id=node.id,
            key=key,
            state=PassState.FAILED,
            seconds=round(run.clock() - started, 6),
            failure=failure_of(error),
        )
        run.dead[node.id] = node.id
    _tell(run.progress, result)
    return result


def _execute(run: _Run, node: PassNode, key: str, digests: Mapping[str, str], started: float) -> PassResult:
    files = {port: run.workspace.have(digest, run.job.reads.get(digest)) for port, digest in digests.items()}
    output = load(node.pass_name)(PassInput(files, node.options, node.isa, run.clock, run.latency_lock))
    digest = digest_bytes(output.data)
    run.workspace.keep(digest, output.data)
    if where := run.job.writes.get(node.id):
        run.store.put(output.data, where)
    run.outputs[node.id] = digest
    return PassResult(
        id=node.id,
        key=key,
        state=PassState.DONE,
        output=digest,
        size_bytes=len(output.data),
        facts=dict(output.facts),
        seconds=round(run.clock() - started, 6),
    )


def failure_of(error: Exception) -> Failure:
    """Return the classified failure: repeated only when the world, and not the input, was the cause."""
    if isinstance(error, EdgewrightError):
        return Failure(
            reason=error.reason,
            message=error.what[:2048],
            remedy=error.remedy[:1024],
            deterministic=isinstance(error, StalledError),
        )
    # An error that was not foreseen may be a lack of memory as well as a bug, so it is not cached.
    return Failure(
        reason=Reason.PASS_FAILED,
        message=f"{type(error).__name__}: {error}"[:2048],
        remedy="This is a bug of the builder or of a tool in it; please report it with the model's operators",
        deterministic=False,
    )


def _tell(progress: Progress, result: PassResult) -> None:
    event: dict[str, Any] = {
        "event": "pass",
        "id": result.id,
        "state": result.state.value.lower(),
        "seconds": round(result.seconds, 3),
    }
    if result.failure is not None:
        event |= {"reason": str(result.failure.reason), "message": result.failure.message[:512]}
    progress(event)


def describe_host(cpuinfo: str) -> Machine:
    """Return what this machine is, from the text of /proc/cpuinfo.

    Raises:
        StalledError: ToolchainMismatch, on a processor that is not built for.
    """
    flags, name = processor(cpuinfo)
    return Machine(isa=level_of(flags), cpu_model=(name or platform.machine())[:128])
