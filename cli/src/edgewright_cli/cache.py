"""The local cache of passes: the store's own layout (``cache/``, ``blobs/sha256/``) in a directory."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from edgewright_api.canonical import canonical_json, hex_of
from edgewright_api.report import CacheRecord
from edgewright_cli.inputs import file_digest


@dataclass(frozen=True, slots=True)
class Cache:
    """Records by key and content by digest. A file is complete or absent."""

    root: Path

    def blob(self, digest: str) -> Path:
        """Return where the content of a digest lies, or would."""
        return self.root / "blobs" / "sha256" / hex_of(digest)

    def lookup(self, key: str) -> CacheRecord | None:
        """Return what is known of a key; a record whose content is gone or can't be read is not known."""
        try:
            record = CacheRecord.model_validate_json(self._record(key).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        if record.key != key or (record.output is not None and not self.blob(record.output).is_file()):
            return None
        return record

    def add(self, record: CacheRecord, content: Path | None) -> None:
        """Keep a record, its content first.

        Raises:
            ValueError: the content is not what the record says.
        """
        if record.output is not None:
            if content is None or file_digest(content) != record.output:
                raise ValueError(f"the output of {record.pass_name} is not what its report says")
            to = self.blob(record.output)
            to.parent.mkdir(parents=True, exist_ok=True)
            part = to.with_suffix(".part")
            shutil.copyfile(content, part)
            part.replace(to)
        path = self._record(record.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(canonical_json(record.to_wire()))
        part.replace(path)

    def _record(self, key: str) -> Path:
        return self.root / "cache" / f"{hex_of(key)}.json"
