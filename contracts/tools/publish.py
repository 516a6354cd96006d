"""Published schemas: JSON Schema 2020-12 files written from the models.

``python -m contracts.tools.publish`` writes ``schemas/``; ``--check`` says what is out of date;
``--release`` copies ``schemas/`` to ``released/``, the frozen copies that every later change
is compared with. A type, once released, is read for ever: its schema may widen, never narrow.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from contracts.base import Sealed, dataschema
from contracts.public import PUBLIC_TYPES
from contracts.registry import EVENT_TYPES, sealed_model
from contracts.webhooks import (
    AgreementWithdrawnWebhook,
    AnswerWebhook,
    AppointmentCancelledWebhook,
    AppointmentChangedWebhook,
    EndpointPingWebhook,
    PersonErasedWebhook,
    ReferralCancelledWebhook,
    ReferralRemindedWebhook,
    ReferralRequestedWebhook,
)

SCHEMAS = Path(__file__).parents[1] / "schemas"
RELEASED = Path(__file__).parents[1] / "released"
Schema = dict[str, Any]

WEBHOOKS: dict[str, type[BaseModel]] = {
    "fr.aiguillage.webhook.referral.requested.v1": ReferralRequestedWebhook,
    "fr.aiguillage.webhook.referral.reminded.v1": ReferralRemindedWebhook,
    "fr.aiguillage.webhook.referral.cancelled.v1": ReferralCancelledWebhook,
    "fr.aiguillage.webhook.appointment.changed.v1": AppointmentChangedWebhook,
    "fr.aiguillage.webhook.appointment.cancelled.v1": AppointmentCancelledWebhook,
    "fr.aiguillage.webhook.agreement.withdrawn.v1": AgreementWithdrawnWebhook,
    "fr.aiguillage.webhook.person.erased.v1": PersonErasedWebhook,
    "fr.aiguillage.webhook.endpoint.ping.v1": EndpointPingWebhook,
    "fr.aiguillage.webhook.referral.answered.v1": AnswerWebhook,
}
"""Messages between the hub and partners, under the names that their schemas are published by.

In the message itself ``type`` is what Standard Webhooks expects (``referral.requested``).
"""


def published() -> dict[str, type[BaseModel]]:
    """Return every published name and its model; ``<type>.sealed`` names a sealed part."""
    models: dict[str, type[BaseModel]] = {**PUBLIC_TYPES, **WEBHOOKS}
    for event_type, event in EVENT_TYPES.items():
        models[event_type] = event
        if (part := sealed_model(event)) is not Sealed:
            models[f"{event_type}.sealed"] = part
    return dict(sorted(models.items()))


def schema_of(name: str, model: type[BaseModel]) -> Schema:
    """Return the schema of one model; of an event, that of its clear part."""
    schema = model.model_json_schema(mode="serialization")
    if name in EVENT_TYPES:
        schema["properties"].pop("sealed")
        _prune(schema)
    return {"$schema": GenerateJsonSchema.schema_dialect, "$id": dataschema(name), **schema}


def schemas() -> dict[str, str]:
    """Return the text of every published schema, by file name."""
    texts = {}
    for name, model in published().items():
        schema = schema_of(name, model)
        text = json.dumps(schema, ensure_ascii=False, indent=2, sort_keys=True)
        texts[f"{name}.json"] = f"{text}\n"
    return texts


def drift(directory: Path = SCHEMAS) -> list[str]:
    """Return files that are not what the models say, or should not be there."""
    expected, written = schemas(), _read(directory)
    names = sorted({*expected, *written})
    return [name for name in names if expected.get(name) != written.get(name)]


def incompatible(new: Path = SCHEMAS, old: Path = RELEASED) -> list[str]:
    """Return released schemas that are gone, or whose documents would be refused now.

    The rule is a reader's: whatever was valid under ``old`` stays valid under ``new``.
    """
    now = _read(new)
    return [
        name
        for name, text in _read(old).items()
        if name not in now or not widens(json.loads(text), json.loads(now[name]))
    ]


def widens(old: Schema, new: Schema) -> bool:
    """Return whether every document that fits ``old`` fits ``new``, formats included."""
    from jsoncompat import check_compat  # a development dependency

    before, after = (json.dumps(_comparable(schema)) for schema in (old, new))
    return bool(check_compat(before, after, "deserializer"))


def write(directory: Path = SCHEMAS) -> None:
    """Make the directory hold the schemas and nothing else."""
    directory.mkdir(exist_ok=True)
    expected = schemas()
    for stale in _read(directory).keys() - expected.keys():
        (directory / stale).unlink()
    for name, text in expected.items():
        (directory / name).write_text(text)


def release() -> list[str]:
    """Freeze the schemas as released, unless that breaks a reader. Return what it breaks."""
    broken = incompatible()
    if not broken:
        write(RELEASED)
    return broken


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m contracts.tools.publish", description=__doc__
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail on drift")
    parser.add_argument("--release", action="store_true", help="freeze what is published")
    options = parser.parse_args(arguments)
    if options.check:
        broken = incompatible()
        return _report(drift(), "out of date: run python -m contracts.tools.publish") | _report(
            broken, "narrower than released: publish a new version of the type"
        )
    write()
    if options.release:
        return _report(release(), "narrower than released: publish a new version of the type")
    return 0


def _report(names: list[str], what: str) -> int:
    for name in names:
        sys.stderr.write(f"{name}: {what}\n")
    return 1 if names else 0


def _read(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(directory.glob("*.json"))}


def _comparable(node: Any) -> Any:
    """A schema as jsoncompat can judge it.

    It takes local references for remote ones under an absolute ``$id``, and does not compare
    formats and patterns: each stands here as one literal, equal only to itself.
    """
    if isinstance(node, list):
        return [_comparable(child) for child in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("type"), str) and ("format" in node or "pattern" in node):
        return {"const": f"{node.get('format')} {node.get('pattern')} {node.get('maxLength')}"}
    return {key: _comparable(child) for key, child in node.items() if key != "$id"}


def _prune(schema: Schema) -> None:
    """Drop the definitions that only the sealed part used."""
    definitions = schema.pop("$defs", {})
    wanted: set[str] = set()
    queue = list(_references(schema))
    while queue:
        name = queue.pop()
        if name not in wanted:
            wanted.add(name)
            queue += _references(definitions[name])
    if wanted:
        schema["$defs"] = {name: definitions[name] for name in sorted(wanted)}


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            yield reference.removeprefix("#/$defs/")
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _references(child)


if __name__ == "__main__":
    sys.exit(main())
