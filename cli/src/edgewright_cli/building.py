"""A build by hand: the operator's plan, steps, gate and packing, with a directory in place of the store."""

import json
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any, Final

from pydantic import ValidationError

from edgewright_api.accepting import Accepted, ReportInvalidError, accept
from edgewright_api.assembly import Assembly, assemble
from edgewright_api.cachekeys import Walk, walk
from edgewright_api.canonical import canonical_json
from edgewright_api.decide import decide_target
from edgewright_api.errors import StalledError, TransientError
from edgewright_api.manifest import CONFIG_FILE, GOLDEN_FILE, MODEL_FILE, REPORT_FILE
from edgewright_api.modelrevision import ModelRevisionSpec
from edgewright_api.plan import ACCEPTANCE, BuildPlan, Step
from edgewright_api.readings import EVIDENCE_OUTPUTS, require_readable
from edgewright_api.reasons import Reason
from edgewright_api.recipes import expand
from edgewright_api.report import BuilderDescription, BuildReport, Job, PassState, staging_name
from edgewright_cli.cache import Cache

REPORT = "report"
_LAST_LINES: Final = 20
_STALLED: Final = 1
"""How a step ends that refused for good."""
Events = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Built:
    """A finished build and how much of it was known before."""

    assembly: Assembly
    plan: BuildPlan
    passes_run: int
    passes_known: int


def build(
    spec: ModelRevisionSpec,
    files: Mapping[str, Path],
    cache: Cache,
    scratch: Path,
    events: Events,
    command: Sequence[str] | None = None,
) -> Built:
    """Run what is not known of the build of ``spec``, and decide.

    Args:
        spec: What to build.
        files: The local file of each reference of the plan.
        cache: What is known, and gets known.
        scratch: An empty directory; steps write there only.
        events: Told of each pass as the steps tell it.
        command: The builder; by default the one installed beside this command.

    Raises:
        StalledError: BuilderFailed, BuilderReportInvalid or what a step refused with; a reason to change something.
        TransientError: a step could not finish; another try may help.
    """
    builder = tuple(command or default_builder())
    plan = expand(spec, describe(builder))
    known = walk(plan, cache.lookup)
    before = len(known.known) + len(known.blocked)
    run = 0
    for step in (Step.TRANSFORM, Step.EVALUATE):
        ids = [i for i in known.missing if plan.node(i).step is step]
        if not ids:
            continue
        events({"event": "step", "step": step.value, "passes": len(ids)})
        report = _run_step(builder, _job(plan, known, step, files, cache, scratch), scratch, events)
        run += sum(r.state is not PassState.SKIPPED for r in report.results)
        _keep(plan, accept(report, plan, known, uid=scratch.name, step=step), cache, scratch)
        known = walk(plan, cache.lookup)
    assembly = assemble(spec, plan, known, _evidence(plan, known, cache), decide_target)
    return Built(assembly, plan, run, before)


def default_builder() -> tuple[str, ...]:
    """Return the command of the builder that is installed beside this one.

    Raises:
        StalledError: BuilderFailed, when there is none.
    """
    if find_spec("edgewright_build") is None:
        raise StalledError(
            Reason.BUILDER_FAILED,
            "the builder is not installed",
            remedy="pip install 'edgewright-cli[build]'",
        )
    return (sys.executable, "-m", "edgewright_build")


def describe(builder: Sequence[str]) -> BuilderDescription:
    """Return what the builder is.

    Raises:
        StalledError: BuilderFailed.
    """
    done = subprocess.run([*builder, "describe"], capture_output=True, text=True, check=False)
    try:
        return BuilderDescription.model_validate_json(done.stdout)
    except ValidationError as error:
        raise StalledError(
            Reason.BUILDER_FAILED,
            f"the builder does not say what it is: {(done.stdout + done.stderr).strip()[-500:]}",
            remedy="Run 'edgewright-build describe' to see why",
        ) from error


def _job(
    plan: BuildPlan, known: Walk, step: Step, files: Mapping[str, Path], cache: Cache, scratch: Path
) -> Job:
    """Return a step's job. The acceptance data is named in the Evaluate step's only."""
    reads = {
        plan.contents[ref]: str(path.resolve())
        for ref, path in files.items()
        if ref != ACCEPTANCE or step is Step.EVALUATE
    }
    reads |= {r.output: str(cache.blob(r.output)) for r in known.known.values() if r.output is not None}
    wanted = [i for i in known.missing if plan.node(i).step is step]
    writes = {i: str(scratch / staging_name(i)) for i in wanted} | {REPORT: str(_report_path(scratch, step))}
    return Job(
        build_uid=scratch.name, step=step, plan=plan, known=dict(known.known), reads=reads, writes=writes
    )


def _report_path(scratch: Path, step: Step) -> Path:
    return scratch / f"report-{step.value.lower()}.json"


def _run_step(builder: Sequence[str], job: Job, scratch: Path, events: Events) -> BuildReport:
    path = scratch / f"job-{job.step.value.lower()}.json"
    path.write_bytes(canonical_json(job.to_wire()))
    refusal: dict[str, Any] = {}
    words: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        [*builder, job.step.value.lower(), "--job", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        # In a thread of its own, so that a step that prints much to one of the two is never held up.
        listening = Thread(target=words.extend, args=(process.stderr,))
        listening.start()
        for line in process.stdout:
            event = _event(line)
            if event.get("event") == "refused":
                refusal = event
            events(event)
        listening.join()
    if process.returncode != 0:
        raise (
            _refused(job.step, process.returncode, refusal)
            if refusal
            else _broke(job.step, process.returncode, words)
        )
    try:
        return BuildReport.model_validate_json(_report_path(scratch, job.step).read_bytes())
    except (OSError, ValidationError) as error:
        raise TransientError(
            Reason.BUILDER_REPORT_INVALID,
            f"step {job.step} left no report: {error}",
            remedy="Run the command again",
        ) from error


def _event(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {"event": "output", "line": line.rstrip()}
    return event if isinstance(event, dict) else {"event": "output", "line": line.rstrip()}


def _refused(step: Step, code: int, refusal: Mapping[str, Any]) -> StalledError | TransientError:
    known = {r.value: r for r in Reason}
    reason = known.get(str(refusal.get("reason")), Reason.BUILDER_FAILED)
    kind = StalledError if code == _STALLED else TransientError
    return kind(reason, str(refusal.get("message", f"step {step} refused")), remedy="See the messages above")


def _broke(step: Step, code: int, words: Iterable[str]) -> TransientError:
    """Return the error of a step that ended without saying why; that is never a reason to change the spec."""
    last = "".join(f"\n  {line.rstrip()}" for line in words) or " without a word"
    return TransientError(
        Reason.BUILDER_FAILED,
        f"step {step} ended with status {code}:{last}\n",
        remedy="Run the command again",
    )


def _keep(plan: BuildPlan, accepted: Accepted, cache: Cache, scratch: Path) -> None:
    """Keep what a step did, once every file was held to the report.

    Raises:
        ReportInvalidError: a file is not what the report says, or is no evidence.
        TransientError: a pass failed in a way that may not repeat; the rest is kept.
    """
    for node_id, record in accepted.records.items():
        file = scratch / staging_name(node_id)
        try:
            kind = plan.node(node_id).output
            if record.output is not None and kind in EVIDENCE_OUTPUTS:
                require_readable(kind, file.read_bytes())
            cache.add(record, file)
        except (ValueError, OSError) as error:
            raise ReportInvalidError(f"{node_id}: {error}") from error
    for node_id, failure in accepted.transient.items():
        raise TransientError(
            failure.reason,
            f"{node_id} failed: {failure.message}",
            remedy=failure.remedy or "Run the command again",
        )


def _evidence(plan: BuildPlan, known: Walk, cache: Cache) -> dict[str, bytes]:
    return {
        record.output: cache.blob(record.output).read_bytes()
        for node in plan.nodes
        if node.output in EVIDENCE_OUTPUTS
        and (record := known.known.get(node.id)) is not None
        and record.output is not None
    }


def write_out(built: Built, cache: Cache, out: Path) -> None:
    """Write a directory per accepted target, laid out as on a node, beside the index and all verdicts."""
    for package in built.assembly.packages:
        place = out / package.target
        place.mkdir(parents=True, exist_ok=True)
        contents = {
            "manifest.json": package.manifest,
            CONFIG_FILE: package.config,
            REPORT_FILE: package.report,
            MODEL_FILE: cache.blob(package.model).read_bytes(),
            GOLDEN_FILE: cache.blob(package.golden).read_bytes(),
        }
        for name, data in contents.items():
            _write(place / name, data)
    _write(out / "index.json", built.assembly.index)
    results = [r.to_wire() for r in built.assembly.results]
    _write(
        out / "result.json", json.dumps({"targets": results}, indent=2, ensure_ascii=False).encode() + b"\n"
    )


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)
