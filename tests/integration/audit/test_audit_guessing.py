"""What the log shows to everybody tells nobody anything, whatever they guess.

The attacker here guesses perfectly: they are given every event as it is (its header, its data,
its ciphertext, the ids in it) but not its salts, and look whether anything that is served
without a key, or that is published, tells that a guess is right. With the salts, which an
authorised export holds, the same attacker opens every entry: the attack works.
"""

import base64
import hmac
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from infra.tlog.commitment import DATA, DOMAIN, HEADER, SEALED, commitment
from infra.tlog.export.layout import Selection
from infra.tlog.export.writer import Export, Wanted
from services.audit.handlers.export import StoredExport
from tests.support.whole import Whole, until

EVENTS = (
    "SELECT idx, event_id, service, stream, version, type, person_id, actor, header, "
    "data::text AS data, sealed, salt, sealed_salt, entry, leaf_hash FROM audit.entries "
    "ORDER BY idx"
)
PARTS = ((HEADER, "header"), (DATA, "data"), (SEALED, "sealed"))
UUID_TEXT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TOKEN = re.compile(rb"[A-Za-z0-9+/]{16,}={0,2}")


async def test_nothing_served_without_a_key_or_published_tells_that_a_guess_is_right(
    whole: Whole, tmp_path: Path
) -> None:
    events = await _referred(whole)
    haystack = _unfolded(
        [*await _served(whole, events), *await _published(whole, tmp_path / "export")]
    )
    assert len(haystack) > 100 * len(events)
    public = [whole.running.address["vkey"].encode(), b"", bytes(32)]
    for event in events:
        for name, needle in _guesses(event, public):
            assert needle not in haystack, f"entry {event['idx']} is told by its {name}"


async def test_with_the_salts_of_an_authorised_export_every_entry_opens(
    whole: Whole, tmp_path: Path
) -> None:
    events = await _referred(whole)
    haystack = _unfolded(await _served(whole, events))
    for event in events:
        for part, name in PARTS:
            if event[name] is None:
                continue
            content = event[name].encode() if name == "data" else event[name]
            salt = event["sealed_salt" if part is SEALED else "salt"]
            assert commitment(part, salt, content).hex().encode() in haystack


@pytest.mark.parametrize("path", ["tile/entries/000.p/1", "v1/entries", "v1/payload/000.p/1"])
async def test_entries_are_for_auditors(whole: Whole, path: str) -> None:
    await whole.comes()
    await whole.quiet()
    assert (await whole.http.get(f"/audit/{path}")).status_code == 401

    async def signed() -> bool:
        answer = await whole.call("auditor", "GET", f"/audit/{path}")
        return answer.status_code == 200

    await until(signed)
    for role in ("adviser", "municipal", "privacy", "partner_admin"):
        answer = await whole.call(role, "GET", f"/audit/{path}")
        assert answer.status_code in (401, 403), role


async def _referred(whole: Whole) -> list[Any]:
    """Somebody is referred and told of to a partner, who answers; every event of it."""
    person = await whole.comes()
    referral = await whole.referral(person)
    await whole.call(
        "adviser", "POST", f"/referrals/v1/referrals/{referral['referral_id']}/confirm"
    )
    await whole.sink.wait_for(1)
    await whole.answer(referral, "accepted")
    await whole.quiet()
    rows = await whole.rows(EVENTS)

    async def all_signed() -> bool:
        said = (await whole.call("auditor", "GET", "/audit/v1/log")).json()
        return bool((said["signed_size"] or 0) >= len(rows))

    await until(all_signed)
    types = {row["type"] for row in rows}
    assert "fr.aiguillage.partners.delivery.succeeded.v1" in types
    assert "fr.aiguillage.partners.answer.received.v1" in types
    return rows


async def _served(whole: Whole, events: Iterable[Any]) -> list[bytes]:
    """The body of every answer of the audit service that asks for no key."""
    audit = next(s for s in whole.running.services if s.name == "audit")
    size = (await whole.call("auditor", "GET", "/audit/v1/log")).json()["signed_size"]
    bodies = list[bytes]()
    paths = [path for path, named in audit.app.openapi()["paths"].items() if "get" in named]
    for path in (path for route in paths for path in _filled(route, list(events), size)):
        answer = await whole.http.get(f"/audit{path}")
        if answer.status_code == 200:
            bodies.append(answer.content)
    return bodies


def _filled(path: str, events: list[Any], size: int) -> Iterator[str]:
    """A route's path with all that could be asked for."""
    if path.startswith("/v1/proofs/inclusion"):
        yield from (f"{path}?index={n}" for n in range(size))
        yield from (f"{path}?event_id={event['event_id']}" for event in events)
    elif path.startswith("/v1/proofs/consistency"):
        yield from (f"{path}?from={n}" for n in range(size))
    elif "{event_id}" in path:
        yield from (path.replace("{event_id}", str(e["event_id"])) for e in events)
    elif "{person_id}" in path:
        persons = {event["person_id"] for event in events}
        yield from (path.replace("{person_id}", str(person)) for person in persons)
    elif path.endswith("{path}"):
        whole = Selection(size, stop=size)
        named = [*whole.tiles(), *whole.bundles()]
        yield from (path.replace("{path}", tile.path.split("/", 1)[1]) for tile in named)
        yield from (path.replace("{path}", tile.path.split("/", 2)[2]) for tile in named)
    else:
        yield path


async def _published(whole: Whole, folder: Path) -> list[bytes]:
    """The log's files for web servers; an export without what stands beside its entries."""
    audit = next(s for s in whole.running.services if s.name == "audit")
    files = [p for p in (whole.databases.directory / "log").rglob("*") if p.is_file()]
    assert any(path.name == "checkpoint" for path in files)

    async def everything(size: int) -> Selection:
        return Selection(size, stop=size)

    source = StoredExport(audit.database, whole.running.address["vkey"].split("+")[0])
    await Export(source, folder, Wanted({}, everything)).run([])
    exported = [p for p in folder.rglob("*") if p.is_file() and "payload" not in p.parts]
    assert any("entries" in path.parts for path in exported)
    return [path.read_bytes() for path in (*files, *exported)]


def _unfolded(bodies: Iterable[bytes]) -> bytes:
    """Everything, with what stands in base64 or hexadecimal read as well."""
    found = list(bodies)
    for body in list(found):
        for token in TOKEN.findall(body):
            bare = token.rstrip(b"=")
            bare = bare[: len(bare) - (len(bare) % 4 == 1)]
            found.append(base64.b64decode(bare + b"=" * (-len(bare) % 4)))
            if len(token) == 64 and re.fullmatch(rb"[0-9a-f]{64}", token):
                found.append(bytes.fromhex(token.decode()))
    return b"\n".join([*found, *(re.sub(rb"\s", b"", body) for body in found)])


def _guesses(event: Any, public: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """What would tell that a guess is right: what it names, and all digests that are of it."""
    header = orjson.loads(event["header"])
    texts = {name: str(value) for name, value in header.items() if value is not None}
    words = dict(enumerate(_words(orjson.loads(event["data"]))))
    for name in ("id", "stream", "type", "person", "occurred_at", "recorded_at"):
        if name in texts:
            yield name, texts[name].encode()
    for name, text in (texts | {f"word {n}": word for n, word in words.items()}).items():
        yield from _digests(name, text.encode(), public)
        if UUID_TEXT.fullmatch(text):
            yield name, text.encode()
            yield name, UUID(text).bytes
            yield from _digests(name, UUID(text).bytes, public)
    wholes = {
        "header": event["header"],
        "data": event["data"].encode(),
        "sealed": event["sealed"] or b"no sealed part",
        "header and data": event["header"] + event["data"].encode(),
        "digests": _with_plain_digests(header, event),
    }
    for name, content in wholes.items():
        yield from _digests(name, content, public)
        for part, _ in PARTS:
            for salt in public:
                framed = DOMAIN + part + salt + len(content).to_bytes(8, "big") + content
                yield name, sha256(framed).digest()
                yield name, sha256(framed).hexdigest().encode()


def _words(data: Any) -> Iterator[str]:
    if isinstance(data, dict | list):
        for value in data.values() if isinstance(data, dict) else data:
            yield from _words(value)
    elif data and isinstance(data, str):  # of nothing, the digest is the empty log's root
        yield data


def _digests(name: str, content: bytes, public: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    found = [sha256(content), sha256(b"\0" + content)]
    found += [hmac.new(key, content, "sha256") for key in public]  # type: ignore[misc]
    for digest in found:
        yield name, digest.digest()
        yield name, digest.hexdigest().encode()


def _with_plain_digests(header: dict[str, Any], event: Any) -> bytes:
    sealed = sha256(event["sealed"]).hexdigest() if event["sealed"] else None
    data = sha256(event["data"].encode()).hexdigest()
    return orjson.dumps({"v": 1, **header, "data_sha256": data, "sealed_sha256": sealed})
