"""The model and data that build and rollout are measured with: the demo's, trained by its own script."""

from pathlib import Path

from demo import training


def make(directory: Path) -> None:
    """Train both versions and write data sets into ``directory``.

    Raises:
        RuntimeError: training failed; its output is in the message.
    """
    with training.start(directory) as process:
        output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(f"training failed: {output}")
