"""The demo's training environment: made once from hashed requirements, kept outside the repository."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def start(out: Path) -> subprocess.Popen[str]:
    """Start training into ``out``; the process prints a line per version."""
    python = _environment()
    env = {k: v for k, v in os.environ.items() if not k.startswith("EDGEWRIGHT_")}
    return subprocess.Popen(
        [str(python), str(HERE / "train.py"), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env | {"JAX_PLATFORMS": "cpu"},
    )


def _environment() -> Path:
    """Return the interpreter of an environment that holds exactly the requirements."""
    requirements = HERE / "requirements.txt"
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    cache = Path(os.environ.get("EDGEWRIGHT_CACHE") or Path.home() / ".cache" / "edgewright")
    home = cache / f"demo-{key}"
    python = home / "bin" / "python"
    complete = home / ".complete"
    if not complete.exists():
        uv = os.environ.get("UV", "uv")
        subprocess.run([uv, "venv", "--quiet", "--allow-existing", "--python", "3.11", str(home)], check=True)
        install = [
            uv,
            "pip",
            "sync",
            "--quiet",
            "--python",
            str(python),
            "--require-hashes",
            str(requirements),
        ]
        subprocess.run(install, check=True)
        complete.touch()
    return python
