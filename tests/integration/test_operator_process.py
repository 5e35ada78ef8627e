"""What of the operator's process others of the same user can see."""

import os
import subprocess
import sys

CODE = """
import ctypes, os
from edgewright_operator import __main__, app

async def run(self):
    names = [name for name in os.environ if "KEY" in name]
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), names, self.settings.s3_secret_key)

app.Operator.run = run
raise SystemExit(__main__.main())
"""
NAMES = ("S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY", "S3_SECRET_KEY", "GATEWAY_URL", "API_SERVER")


def test_keys_are_neither_in_the_environment_nor_readable_from_outside() -> None:
    env = {f"EDGEWRIGHT_OPERATOR_{name}": f"the {name}" for name in NAMES}
    path = os.environ["PATH"]  # noqa: TID251 - the child's
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=env | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split(maxsplit=2) == ["0", "[]", "the S3_SECRET_KEY\n"], done.stderr
