"""``edgewright``: builds models by hand, with the operator's own plan, steps and gate."""

import argparse
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from edgewright_api.errors import EdgewrightError
from edgewright_api.plan import ACCEPTANCE, CALIBRATION, SOURCE
from edgewright_api.reasons import Reason
from edgewright_cli.building import build, write_out
from edgewright_cli.cache import Cache
from edgewright_cli.inputs import gather, read, resolve
from edgewright_cli.table import all_required_accepted, progress_line, table

_OK, _REJECTED, _USAGE = 0, 1, 2
_USAGE_REASONS = frozenset({Reason.SPEC_INVALID, Reason.TARGET_NOT_FOUND, Reason.SOURCE_NOT_READABLE})

_BUILD_HELP = """\
Build, judge and pack a model for each of its targets, without a cluster.

The file holds an EdgeModel as for kubectl; a uri in it may also be a path, relative to the file. What lies in a
bucket (s3://…) is read with the standard AWS_* settings (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …), or replaced by
--source, --calibration and --acceptance. Each accepted target gets a directory of its own under --out, laid out as
on a node. Nothing that is known already runs again.

exit status: 0 every required target was accepted, 1 one was not, 2 wrong usage
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    given = _parser().parse_args(argv)
    if given.command == "version":
        print(version("edgewright-cli"))
        return _OK
    try:
        return _build(given)
    except EdgewrightError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        return _USAGE if error.reason in _USAGE_REASONS else _REJECTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgewright", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("version", help="print the version")
    building = commands.add_parser(
        "build",
        help="build, judge and pack a model for each of its targets",
        description=_BUILD_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    building.add_argument("-f", "--file", type=Path, required=True, help="the EdgeModel (YAML)")
    building.add_argument("-o", "--out", type=Path, required=True, help="where artifacts and verdicts go")
    building.add_argument("--source", type=Path, help="the model file, in place of spec.source.uri")
    building.add_argument("--calibration", type=Path, help="in place of spec.data.calibration.uri")
    building.add_argument("--acceptance", type=Path, help="in place of spec.data.acceptance.uri")
    building.add_argument(
        "--cache", type=Path, help="what is known of passes (default: the user's cache directory)"
    )
    building.add_argument("-q", "--quiet", action="store_true", help="print the table only")
    return parser


def _build(given: argparse.Namespace) -> int:
    options = {SOURCE: given.source, CALIBRATION: given.calibration, ACCEPTANCE: given.acceptance}
    asked = read(given.file, {ref: path for ref, path in options.items() if path is not None})
    cache = Cache(given.cache or _default_cache())

    def show(event: object) -> None:
        line = progress_line(event) if isinstance(event, dict) else None
        if line is not None and not given.quiet:
            print(line, flush=True)

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgewright-") as scratch:
        files = gather(asked.places, Path(scratch))
        built = build(resolve(asked, files), files, cache, Path(scratch), show)
    write_out(built, cache, given.out)
    results = built.assembly.results
    seconds = time.monotonic() - started
    print(f"{built.passes_run} passes ran, {built.passes_known} were known, {seconds:.1f} s")
    print(table(results))
    return _OK if all_required_accepted(results) else _REJECTED


def _default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgewright"


if __name__ == "__main__":
    sys.exit(main())
