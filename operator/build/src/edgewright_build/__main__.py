"""``edgewright-build``: runs one step of a build from its job file, or says what this builder is."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgewright_api.errors import EdgewrightError, TransientError
from edgewright_api.plan import Step
from edgewright_api.recipes import TOOLCHAIN
from edgewright_api.report import BuilderDescription, Job, Machine
from edgewright_build import tools
from edgewright_build.pipeline import LATENCY_LOCK, describe_host, run_step

_TRANSIENT, _STALLED, _USAGE = 3, 1, 2
_PREFIX = "EDGEWRIGHT_BUILD_"
_LOCK_SETTING = _PREFIX + "LATENCY_LOCK"
"""The file that measurements lock, in place of one for the whole machine."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 0 when the step ran (passes may have failed: the report says), 1 when it refused,
    2 on wrong usage, 3 when another try may help."""
    parser = argparse.ArgumentParser(prog="edgewright-build", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("describe", help="print this builder's machine and tools as JSON")
    for step, words in (
        (Step.TRANSFORM, "make artifacts; never sees the acceptance data"),
        (Step.EVALUATE, "judge artifacts on the acceptance data; makes none"),
    ):
        command = commands.add_parser(step.value.lower(), help=words)
        command.add_argument("--job", type=Path, required=True, help="the job file (JSON)")
    given = parser.parse_args(argv)
    unknown = sorted(name for name in os.environ if name.startswith(_PREFIX) and name != _LOCK_SETTING)
    if unknown:
        print(f"unknown setting {unknown[0]}", file=sys.stderr)
        return _USAGE
    try:
        machine = describe_host(Path("/proc/cpuinfo").read_text())
        if given.command == "describe":
            _print(BuilderDescription(machine=machine, toolchains={TOOLCHAIN: tools.installed()}).to_wire())
            return 0
        lock = Path(os.environ.get(_LOCK_SETTING) or LATENCY_LOCK)
        return _step(given.job, Step(given.command.capitalize()), machine, lock)
    except TransientError as error:
        return _refuse(error, _TRANSIENT)
    except EdgewrightError as error:
        return _refuse(error, _STALLED)


def _step(path: Path, step: Step, machine: Machine, lock: Path) -> int:
    try:
        job = Job.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        print(f"the job file can't be used: {error}", file=sys.stderr)
        return _USAGE
    if job.step is not step:
        print(f"the job is for {job.step}, not {step}", file=sys.stderr)
        return _USAGE
    scratch = Path(tempfile.gettempdir())
    run_step(job, machine, scratch=scratch, progress=_print, clock=time.perf_counter, latency_lock=lock)
    return 0


def _refuse(error: EdgewrightError, code: int) -> int:
    _print({"event": "refused", "reason": str(error.reason), "message": error.what, "remedy": error.remedy})
    print(f"{error.reason}: {error}", file=sys.stderr)
    return code


def _print(event: Mapping[str, Any]) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main())
