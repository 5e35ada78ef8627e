"""Writing files that others read at any moment."""

from pathlib import Path


def replace(path: Path, content: str) -> None:
    """Replace a file's content, so that a reader sees the old or the new one; only its owner may read it."""
    new = path.with_name(path.name + ".new")
    new.touch(mode=0o600)
    new.write_text(content)
    new.replace(path)
