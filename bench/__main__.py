"""``make bench``: every suite in turn, one at a time, so that none disturbs another."""

import argparse
import subprocess
import sys
from typing import Final

SUITES: Final = ("build", "server", "agent_memory", "rollout")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("suites", nargs="*", default=list(SUITES), help=f"of {', '.join(SUITES)}")
    args = parser.parse_args()
    unknown = sorted(set(args.suites) - set(SUITES))
    if unknown:
        parser.error(f"not known: {', '.join(unknown)}")
    failed = [s for s in args.suites if subprocess.run([sys.executable, "-m", f"bench.{s}"]).returncode]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
