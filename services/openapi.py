"""The OpenAPI document of each service, as it is committed under docs/reference/openapi.

``python -m services.openapi --write`` (re)writes them; a test compares them with the code.
"""

import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from contracts.registry import SERVICES
from infra.platform import Platform
from infra.settings import Settings

DIRECTORY = Path(__file__).parents[1] / "docs" / "reference" / "openapi"
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def document(service: str) -> dict[str, Any]:
    """What ``GET /openapi.json`` of a service answers; connects to nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings(
            data=Path(scratch), database_url=NOWHERE, vault_url=NOWHERE, kafka_bootstrap=None,
            public_url=None, delivery_allowed_networks="", seed="",
        )  # fmt: skip
        platform = Platform(settings, NOWHERE, NOWHERE)
        built = import_module(f"services.{service}.app").build(platform)
        described: dict[str, Any] = built.app.openapi()
    return described


def text(service: str) -> str:
    """The document as it stands in the file."""
    return json.dumps(document(service), ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def path(service: str) -> Path:
    """Where a service's document is kept."""
    return DIRECTORY / f"{service}.json"


def main(arguments: list[str]) -> int:
    """Write the documents, or say which are out of date; answers the exit code."""
    stale = [s for s in SERVICES if not path(s).exists() or path(s).read_text() != text(s)]
    for service in stale:
        if "--write" in arguments:
            DIRECTORY.mkdir(parents=True, exist_ok=True)
            path(service).write_text(text(service))
        else:
            sys.stderr.write(f"{path(service).name}: run python -m services.openapi --write\n")
    return 1 if stale and "--write" not in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
