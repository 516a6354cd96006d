"""The CloudEvents SDK for JavaScript, run by Node: an oracle for what it sends to Kafka.

Installed once into the cache by npm, exactly as the lock beside this file says; nothing of it
is copied into the repository. ``python -m tests.support.cloudevents_js`` installs it ahead.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
INSTALL_SECONDS = 180
RUN_SECONDS = 60
REPAIR = "install Node.js with npm (Debian: nodejs npm), then run `make install`"


class MissingError(RuntimeError):
    """The SDK is not in the cache and cannot be installed; the text says what to install."""


def installed() -> Path:
    """The directory of the SDK, made if absent. Raises ``MissingError``."""
    lock = (HERE / "package-lock.json").read_bytes()
    default = HERE.parents[2] / ".cache"
    cache = Path(os.environ.get("AIGUILLAGE_CACHE_DIR") or default)
    kept = cache / f"cloudevents-js-{hashlib.sha256(lock).hexdigest()[:12]}"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy2(HERE / name, made)
            _run(["npm", "ci", "--ignore-scripts", "--silent"], made, INSTALL_SECONDS)
            made.rename(kept)
    return kept


def kafka_records(events: Sequence[Any]) -> list[tuple[list[tuple[str, bytes]], bytes]]:
    """(headers, value) of each event in binary mode, then in structured mode."""
    directory = installed()
    given = "\n".join(map(json.dumps, events))
    command = ["node", str(HERE / "emit.js")]
    printed = _run(
        command, directory, RUN_SECONDS, given, NODE_PATH=str(directory / "node_modules")
    )
    records = map(json.loads, printed.splitlines())
    return [
        ([(n, t.encode()) for n, t in r["headers"].items()], r["value"].encode())
        for r in records
    ]


def _run(
    command: list[str], directory: Path, seconds: float, given: str = "", **environment: str
) -> str:
    if shutil.which(command[0]) is None:
        raise MissingError(f"{command[0]} is missing: {REPAIR}")
    try:
        return subprocess.run(
            command, cwd=directory, check=True, capture_output=True, text=True,
            timeout=seconds, input=given, env=os.environ | environment,
        ).stdout  # fmt: skip
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", None) or ""
        raise MissingError(f"{command[0]} failed: {said[-500:]}") from error
