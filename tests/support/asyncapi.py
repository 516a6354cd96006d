"""The official JSON Schema of AsyncAPI 3.0.0, from the npm package that publishes it.

Fetched once into the cache by npm, checked against the digest below, never copied into the
repository. ``python -m tests.support.asyncapi`` fetches it ahead of the tests.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

PACKAGE = "@asyncapi/specs"
VERSION = "6.11.1"
SHA512 = (
    "A3WBLqAKGoJ2+6FWFtpjBlCQ1oFCcs4GxF7zsIGvNqp/klGUHjlA3aAcZ9XMMpLGE8zPeYDz2x9FmO6DSuKraQ=="
)
MEMBER = "package/schemas/3.0.0.json"
FETCH_SECONDS = 120
REPAIR = "install Node.js with npm (Debian: nodejs npm), then run `make install`"


class MissingError(RuntimeError):
    """The schema is not in the cache and cannot be fetched; the text says what to install."""


def cached() -> Path:
    """Where the package is kept."""
    default = Path(__file__).resolve().parents[2] / ".cache"
    directory = Path(os.environ.get("AIGUILLAGE_CACHE_DIR") or default)
    return directory / f"asyncapi-specs-{VERSION}.tgz"


def fetch() -> Path:
    """The package, fetched if absent. Raises ``MissingError`` without npm or registry."""
    kept = cached()
    if not kept.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise MissingError(f"npm is missing: {REPAIR}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix="fetching-") as scratch:
            _pack(npm, Path(scratch))
            (packed,) = Path(scratch).glob("*.tgz")
            verify(packed)
            packed.rename(kept)
    verify(kept)
    return kept


def verify(packed: Path) -> None:
    """Raises ``MissingError`` unless the package is, byte for byte, the one expected."""
    digest = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
    if digest != SHA512:
        raise MissingError(
            f"{packed.name} is not {PACKAGE} {VERSION}: delete it, then {REPAIR}"
        )


def official_schema() -> dict[str, Any]:
    """The schema that an AsyncAPI 3.0.0 document has to satisfy."""
    with tarfile.open(fetch()) as archive:
        member = archive.extractfile(MEMBER)
        assert member is not None
        schema: dict[str, Any] = json.load(member)
    return schema


def _pack(npm: str, directory: Path) -> None:
    command = [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}"]
    try:
        subprocess.run(
            command, cwd=directory, check=True, capture_output=True, timeout=FETCH_SECONDS
        )
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", None) or b""
        tail = said.decode(errors="replace")[-500:]
        raise MissingError(f"npm could not fetch {PACKAGE} {VERSION}: {tail}") from error


if __name__ == "__main__":
    fetch()
