"""Promises of a released OpenAPI document, and which operations of another break them.

Whoever could call an operation still can; a request that was taken is taken; what is answered
is what a reader of the released document can read. So a request may widen, and an answer may
gain fields, but lose none, and none may become what it could not be before.
"""

from collections.abc import Iterator
from typing import Any

from contracts.tools.publish import widens
from infra.web.openapi import opened

Document = dict[str, Any]
Operation = dict[str, Any]


def broken(old: Document, new: Document) -> list[str]:
    """Each released operation that breaks a promise, and which promise."""
    now = dict(operations(new))
    return [
        f"{name}: {what}"
        for name, operation in operations(old)
        for what in _broken(old, operation, new, now.get(name))
    ]


def operations(document: Document) -> Iterator[tuple[str, Operation]]:
    """Each operation, after its method and path."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def successes(operation: Operation) -> dict[str, dict[str, Any]]:
    """Return what an operation answers if all is well: schemas by media type, by status."""
    return {
        status: {media: body.get("schema", {}) for media, body in _content(response)}
        for status, response in operation["responses"].items()
        if status.startswith("2")
    }


def _broken(
    old: Document, operation: Operation, new: Document, now: Operation | None
) -> Iterator[str]:
    if now is None:
        yield "is gone"
        return
    if not _callers(operation, now):
        yield "fewer callers may call it"
    if not widens(_asked(old, operation), _asked(new, now)):
        yield "its request is narrower"
    before, after = successes(operation), successes(now)
    if before.keys() != after.keys():
        yield "succeeds with another status"
    for status, answered in before.items():
        for media, schema in answered.items():
            current = after.get(status, {}).get(media)
            if current is None or not widens(_answered(new, current), _answered(old, schema)):
                yield f"its answer {status} {media} is not what readers know"


def _callers(operation: Operation, now: Operation) -> bool:
    """Whether whoever had a role that was enough still has one."""
    if not now["security"]:
        return True
    allowed = [set(roles) for need in now["security"] for roles in need.values()]
    before = [set(roles) for need in operation["security"] for roles in need.values()]
    return bool(before) and all(any(need <= had for need in allowed) for had in before)


def _asked(document: Document, operation: Operation) -> dict[str, Any]:
    """A request as one closed object: its body by media type, its parameters by place."""
    body = operation.get("requestBody", {})
    asked = {f"body {media}": part.get("schema", {}) for media, part in _content(body)}
    required = list(asked) if body.get("required") and len(asked) == 1 else []
    for parameter in operation.get("parameters", ()):
        name = f"{parameter['in']} {parameter['name']}"
        asked[name] = parameter.get("schema", {})
        required += [name] if parameter.get("required") else []
    request = {"type": "object", "properties": asked, "required": required}
    return _in(document, request | {"additionalProperties": False})


def _answered(document: Document, schema: dict[str, Any]) -> dict[str, Any]:
    """An answer as its readers take it, who pass over fields that they do not know.

    Also where the document closes it, because a request holds the same.
    """
    answered: dict[str, Any] = opened(_in(document, schema))
    return answered


def _in(document: Document, schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with what it refers to."""
    return schema | {"components": {"schemas": document["components"]["schemas"]}}


def _content(node: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from node.get("content", {}).items()
