"""The OpenAPI document of each service, as it is committed under docs/reference/openapi.

``python -m services.hub.openapi --write`` (re)writes them; a test compares them with the code.
``--release`` copies them to ``released/``: frozen, what every later document must keep.
"""

import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from contracts.registry import SERVICES
from infra.base.settings import Settings
from infra.platform import Platform
from services.hub.promises import broken

DIRECTORY = Path(__file__).parents[2] / "docs" / "reference" / "openapi"
RELEASED = DIRECTORY / "released"
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def document(service: str) -> dict[str, Any]:
    """Return what ``GET /openapi.json`` of a service answers; connects to nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings(
            data=Path(scratch),
            database_url=NOWHERE,
            vault_url=NOWHERE,
            kafka_bootstrap=None,
            public_url=None,
            delivery_allowed_networks="",
            seed="",
        )
        platform = Platform(settings, NOWHERE, NOWHERE)
        built = import_module(f"services.{service}.app").build(platform)
        described: dict[str, Any] = built.app.openapi()
    return described


def text(service: str) -> str:
    """The document as it stands in the file: of a service at the root.

    A running one names the prefix below which it is served, and no other address.
    """
    described = document(service) | {"servers": [{"url": "/"}]}
    return json.dumps(described, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def path(service: str) -> Path:
    """Where a service's document is kept."""
    return DIRECTORY / f"{service}.json"


def released(service: str) -> Path:
    """Where the frozen copy of a service's document is kept."""
    return RELEASED / f"{service}.json"


def breaches(service: str) -> list[str]:
    """Return what was released of a service and is not kept."""
    if not released(service).exists():
        return []
    return broken(json.loads(released(service).read_text()), document(service))


def main(arguments: list[str]) -> int:
    """Write the documents, or say which are out of date; return the exit code."""
    stale = [s for s in SERVICES if not path(s).exists() or path(s).read_text() != text(s)]
    if "--write" in arguments or "--release" in arguments:
        RELEASED.mkdir(parents=True, exist_ok=True)
        for service in stale:
            path(service).write_text(text(service))
        stale = []
    wrong = [f"{path(s).name}: run python -m services.hub.openapi --write" for s in stale]
    wrong += [f"{service}: {what}" for service in SERVICES for what in breaches(service)]
    sys.stderr.writelines(f"{line}\n" for line in wrong)
    if "--release" in arguments and not wrong:
        for service in SERVICES:
            released(service).write_text(text(service))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
