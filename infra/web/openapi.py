"""The OpenAPI document of a service, true by construction.

What an operation may refuse follows from what it takes (a key, a body, parameters) and from
what it says of itself (``problems.raises``); who may call it from the roles that it asks for.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.requests import Request
from starlette.responses import Response

from infra.web.auth import RequireRole
from infra.web.problems import (
    ALWAYS,
    CONTENT_TYPE,
    WITH_BODY,
    WITH_KEY,
    Conflict,
    Invalid,
    NotFound,
    NotHereYet,
    Problem,
)

Endpoint = Callable[[Request], Awaitable[Response]]
REFERENCE = "#/components/schemas/"
LICENSE = {"name": "EUPL-1.2", "identifier": "EUPL-1.2"}
KEY = {"type": "http", "scheme": "bearer", "description": "A key; the roles are listed."}
SAFE = {"GET", "HEAD", "OPTIONS"}
_TEXT = {"type": "string"}
_NOTHING = {"type": "null"}
PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "Why a request was refused (RFC 9457).",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "errors": {"type": "array", "items": {"$ref": REFERENCE + "FieldError"}},
    },
}
FIELD_ERROR = {
    "type": "object",
    "title": "FieldError",
    "description": "A field at fault, and why.",
    "required": ["field", "detail"],
    "properties": {"field": _TEXT, "detail": _TEXT},
}


def describe(app: FastAPI) -> None:
    """Have an application answer with this description; called once all routes are there."""
    for route in _api_routes(app):
        described = frozenset(problems_of(route))
        route.original_route.described_problems = described  # type: ignore[attr-defined]

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def document_route(
    app: FastAPI,
    path: str,
    endpoint: Endpoint,
    operation: dict[str, Any],
    schemas: dict[str, Any] | None = None,
) -> None:
    """Add a POST route that is none of FastAPI's, for it is hot, and describe it by hand.

    ``schemas``: the components that the operation refers to.
    """
    app.add_route(path, endpoint, methods=["POST"], include_in_schema=False)
    if not hasattr(app.state, "operations"):
        app.state.operations = []
    app.state.operations.append((path, operation, schemas or {}))


def problems_of(route: RouteContext) -> Iterator[type[Problem]]:
    """Every kind of problem that an operation of ours may answer with."""
    yield from ALWAYS
    if roles_of(route.dependant):
        yield from WITH_KEY
    if route.body_field or "requestBody" in (route.openapi_extra or {}):
        yield from (*WITH_BODY, Invalid)
    if any(_parameters(route.dependant)):
        yield Invalid
    if route.param_convertors:
        yield from (NotFound, NotHereYet)
    if not (route.methods or set()) <= SAFE:
        yield Conflict
    yield from getattr(route.endpoint, "problems", ())


def roles_of(dependant: Dependant) -> set[str]:
    """The roles of which a caller must have one; none where no key is asked for."""
    roles = set(dependant.call.roles) if isinstance(dependant.call, RequireRole) else set()
    return roles.union(*(roles_of(inner) for inner in dependant.dependencies))


def refusals(kinds: Iterable[type[Problem]]) -> dict[str, Any]:
    """Kinds of problem as the responses of an operation, by status."""
    by_status: dict[int, dict[str, str]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, {})[kind.slug] = kind.title
    return {
        str(status): {
            "description": "; ".join(f"`{slug}`: {title}" for slug, title in named.items()),
            "content": {CONTENT_TYPE: {"schema": {"$ref": REFERENCE + "Problem"}}},
        }
        for status, named in sorted(by_status.items())
    }


def security(roles: Iterable[str]) -> list[dict[str, list[str]]]:
    """Any one of the roles will do (OpenAPI 3.1: role names of a key)."""
    return [{"key": [role]} for role in sorted(roles)]


def opened(node: Any) -> Any:
    """A schema that allows fields that it does not name."""
    if isinstance(node, list):
        return [opened(child) for child in node]
    if not isinstance(node, dict):
        return node
    return {
        name: opened(child)
        for name, child in node.items()
        if not (name == "additionalProperties" and child is False)
    }


def _api_routes(app: FastAPI) -> Iterator[RouteContext]:
    """The operations of FastAPI's kind, those of included routers among them."""
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, APIRoute):
            yield route


def _parameters(dependant: Dependant) -> Iterator[Any]:
    yield from dependant.path_params
    yield from dependant.query_params
    yield from dependant.header_params
    for inner in dependant.dependencies:
        yield from _parameters(inner)


def _document(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        license_info=LICENSE,
        separate_input_output_schemas=False,
    )
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for route in _api_routes(app):
        if route.include_in_schema and route.path_format:
            for method in route.methods or ():
                _complete(schema["paths"][route.path_format][method.lower()], route)
    for path, operation, needed in getattr(app.state, "operations", ()):
        schemas |= needed
        schema["paths"].setdefault(path, {})["post"] = operation
    schemas |= {"Problem": PROBLEM, "FieldError": FIELD_ERROR}
    _open_answers(schema["paths"], schemas)
    components["securitySchemes"] = {"key": KEY}
    return schema


def _open_answers(paths: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Answers may gain fields: what stands in no request is not closed to its readers."""
    asked: set[str] = set()
    queue = [o.get("requestBody") for item in paths.values() for o in item.values()]
    while queue:
        for name in set(_references(queue.pop())) - asked:
            asked.add(name)
            queue.append(schemas[name])
    for name in schemas.keys() - asked:
        schemas[name] = opened(schemas[name])


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            yield reference.removeprefix(REFERENCE)
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _references(child)


def _complete(operation: dict[str, Any], route: RouteContext) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    for answer in responses.values():  # FastAPI says of every media type but JSON: a string
        for content in answer.get("content", {}).values():
            if "$ref" in content.get("schema", {}):
                content["schema"] = {"$ref": content["schema"]["$ref"]}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        kinds = [one for one in content["schema"].get("anyOf", ()) if one != _NOTHING]
        if len(kinds) == 1:  # a body that may be absent is not null besides: clients send it
            content["schema"] = kinds[0]
    responses |= refusals(dict.fromkeys(problems_of(route)))
    operation["security"] = security(roles_of(route.dependant))
