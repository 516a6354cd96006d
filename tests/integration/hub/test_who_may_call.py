"""Who may call an operation is what its description says: asked of the running services."""

from collections.abc import Iterator
from urllib.parse import quote
from uuid import uuid4

import httpx2

from contracts.registry import SERVICES
from services.hub.openapi import document
from services.hub.promises import operations
from tests.support.whole import Whole

PROBLEMS = "https://aiguillage.fr/problems/"


async def test_operations_ask_for_a_key_where_they_say_so_and_nowhere_else(whole: Whole):
    wrong = []
    for name, method, path, roles in described():
        answer = await whole.http.request(method, path)
        if (refusal(answer) == "unauthorized") is not bool(roles):
            wrong.append((name, roles, answer.status_code))
    assert wrong == []


async def test_operations_are_for_the_roles_that_they_name_and_for_no_others(whole: Whole):
    known = whole.running.address["keys"] | {"partner": await partner_key(whole)}
    told = list(described())
    wrong = []
    for name, method, path, roles in told:
        service = name.split()[0]
        there = {r for other, _, _, rs in told if other.startswith(service) for r in rs}
        for role in there if roles else ():
            headers = {"authorization": f"Bearer {known[role]}"}
            answer = await whole.http.request(method, path, headers=headers)
            if (refusal(answer) == "forbidden") is (role in roles):
                wrong.append((name, role, answer.status_code))
            assert refusal(answer) != "unauthorized", (name, role)
    assert wrong == []


async def partner_key(whole: Whole) -> str:
    path = "/partners/v1/partners/petite-foret--mission-locale/keys"
    answer = await whole.call("partner_admin", "POST", path, {"name": "theirs"})
    key: str = answer.json()["key"]
    return key


def described() -> Iterator[tuple[str, str, str, set[str]]]:
    """Every operation: its name, method, a path of it, and the roles that it names."""
    for service in SERVICES:
        for name, operation in operations(document(service)):
            method, path = name.split()
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    path = path.replace(f"{{{parameter['name']}}}", quote(str(uuid4())))
            roles = {role for need in operation["security"] for role in need["key"]}
            yield f"{service} {name}", method, f"/{service}{path}", roles


def refusal(answer: httpx2.Response) -> str | None:
    """The kind of problem that was answered, if one was."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return None
    kind: str = answer.json()["type"]
    return kind.removeprefix(PROBLEMS)
