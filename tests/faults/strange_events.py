"""Events that strangers send: sound ones of every kind, and those that must be refused."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import quote

from contracts.public import PublicAgreement, PublicContact, PublicFacts
from contracts.tools.examples import SYSTEMS, agreement, envelope, person
from contracts.values import PartnerKind
from tests.e2e.test_canary import CANARY, PLAIN

Event = dict[str, Any]
THEMES = (
    "trouver-un-emploi--repondre-a-des-offres-demploi",
    "trouver-un-emploi--repondre-a-des-offres-demploi",
    "se-former--trouver-sa-formation",
    "creer-une-entreprise--developper-son-entreprise",
    "remobilisation--lien-social",
    "numerique--maitriser-les-fondamentaux-du-numerique",
    "preparer-sa-candidature--realiser-un-cv-et-ou-une-lettre-de-motivation",
    "choisir-un-metier--decouvrir-un-metier-ou-un-secteur-dactivite",
)
SITES = ("place-jules-verne", "ccas", "mediatheque-2")
PHONES = (
    "+33612345678", "06 12 34 56 78", "06.12.34.56.78", "+33 (0)6 12 34 56 78",
    "06\u00a012\u202f34 56 78", "06/12/34/56/78", "+262692123456", "pas de téléphone", "12",
)  # fmt: skip
NIR = ("1 85 05 59 459 084 36", "185055945908436", "2 69 05 49 588 157 80")
ENDS = (
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-12:00", "1970-01-01T00:00:00Z",
    "1999-12-31T12:00:00Z", "2026-02-30T10:00:00Z", "631152000", "",
)  # fmt: skip
LAST_DAYS = ("0001-01-01", "0002-02-02", "1899-12-31", "9999-12-31", "2200-01-01", "631152000")
REGULARS = 25
"""Persons of each system who come again and again."""


def visitor(random: Random) -> Event:
    """A sound contact: of somebody new or known, now or of late, with more or less said."""
    source = random.choice(SYSTEMS)
    again = random.random() < 0.3
    ref = f"habitué-{random.randrange(REGULARS)}" if again else f"{random.getrandbits(60):x}"
    resident = person(random) | {"ref": f"{ref} {CANARY}"}
    resident["identity"] |= {
        "family_name": CANARY,
        "phone": random.choice(PHONES),
        "email": f"{PLAIN}.{random.getrandbits(40):x}@example.org",
    }
    resident["facts"] |= {
        "birth_date": {"value": f"{random.choice((2005, 2007, 1980, 1999))}-05-17"},
        "situation": {"value": "job-seeker"},
        "study_level": {"value": "bac"},
    }
    data: dict[str, Any] = {
        "mode": random.choice(("walk-in", "phone", "appointment")),
        "person": resident,
        "agreements": [agreement(kind) for kind in PartnerKind],
        "needs": [{"thematique": random.choice(THEMES), "note": f"{CANARY} cherche"}],
    }
    if random.random() < 0.3:
        data |= {"site": random.choice(SITES), "note": f"vu avec {CANARY}\nle matin"}
    if random.random() < 0.2:
        data["needs"].append({"thematique": random.choice(THEMES), "urgent": True})
    if random.random() < 0.1:
        data["needs"][0]["parallel"] = True
    made = envelope(PublicContact.TYPE, data, random, source)
    ago = timedelta(days=random.choice((0, 0, 0, 1, 30, 400)), seconds=random.randrange(3600))
    return made | {"time": (datetime.now(UTC) - ago).isoformat(timespec="milliseconds")}


def statement(random: Random) -> Event:
    """Facts, or an agreement, of somebody who comes often."""
    source = random.choice(SYSTEMS)
    known = person(random) | {"ref": f"habitué-{random.randrange(REGULARS)} {CANARY}"}
    known["identity"] = {"family_name": CANARY}
    if random.random() < 0.5:
        return envelope(PublicFacts.TYPE, {"person": known}, random, source)
    said = {"person": known, "agreement": agreement(random.choice(list(PartnerKind)))}
    return envelope(PublicAgreement.TYPE, said, random, source)


def hostile(random: Random) -> tuple[str, Event]:
    """What is wrong with it, and an event that must be refused for that."""
    name = random.choice(sorted(WRONG))
    event = visitor(random)
    WRONG[name](event, random)
    return name, event


def _time(event: Event, random: Random) -> None:
    event["time"] = random.choice(ENDS)


def _ahead(event: Event, random: Random) -> None:
    then = datetime.now(UTC) + timedelta(days=random.choice((2, 30, 4000)))
    event["time"] = then.isoformat(timespec="seconds")


def _nul(event: Event, random: Random) -> None:
    part = random.choice(_texts(event))
    part[0][part[1]] = random.choice(("\0", "a\0b", f"{CANARY}\0"))


def _nir(event: Event, random: Random) -> None:
    event["data"]["note"] = f"{CANARY} {random.choice(NIR)}"


def _born(event: Event, random: Random) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    event["data"]["person"]["facts"]["birth_date"] = {
        "value": random.choice((*LAST_DAYS, tomorrow))
    }


def _until(event: Event, random: Random) -> None:
    event["data"]["agreements"][0]["until"] = random.choice(LAST_DAYS)


def _commune(event: Event, random: Random) -> None:
    event["data"]["person"]["facts"]["commune"] = {
        "value": random.choice(("00000", "99999", "59000", "2C001", CANARY))
    }


def _huge(event: Event, random: Random) -> None:
    event["data"]["needs"][0]["note"] = CANARY * random.choice((400, 4000, 20_000))


def _deep(event: Event, random: Random) -> None:
    nested: Any = 1
    for _ in range(random.choice((60, 250, 900))):
        nested = {"a": nested} if random.random() < 0.5 else [nested]
    event["data"]["person"]["facts"]["project"] = {"value": nested}


def _wide(event: Event, random: Random) -> None:
    """Names that the search for NIR would once have written for every child."""
    event["data"][CANARY * 2000] = {str(n): f"{n}" for n in range(3000)}


def _source(event: Event, random: Random) -> None:
    event["source"] = random.choice((f"{CANARY} {CANARY}", "", "a" * 2000, "\0", 7, ["a"]))


def _foreign(event: Event, random: Random) -> None:
    """Somebody whom only another system brought, or nobody at all."""
    event["data"]["person"] = {"person_id": "01936d8a-7b5c-7c3e-9d2a-0123456789ab"}


def _kinds(event: Event, random: Random) -> None:
    place = random.choice(_texts(event))
    place[0][place[1]] = random.choice(([], {}, 10**40, -(2**63) - 1, True, float("nan")))


def _unknown(event: Event, random: Random) -> None:
    place = random.choice(("data", "person", "facts"))
    at = {"data": event["data"], "person": event["data"]["person"]}
    at["facts"] = event["data"]["person"]["facts"]
    at[place][CANARY] = 1


def _envelope(event: Event, random: Random) -> None:
    name = random.choice(("specversion", "type", "datacontenttype", "id"))
    event[name] = random.choice((f"{CANARY}\n", "\ud800", "x" * 5000, "", {}))


WRONG: dict[str, Callable[[Event, Random], None]] = {
    "time at the calendar's end": _time, "time ahead": _ahead, "NUL": _nul, "NIR": _nir,
    "birth": _born, "until": _until, "commune": _commune, "huge": _huge, "deep": _deep,
    "wide": _wide, "source": _source, "nobody": _foreign, "kinds": _kinds, "unknown": _unknown,
    "envelope": _envelope,
}  # fmt: skip


def _texts(event: Event) -> list[tuple[Any, str]]:
    """Places of texts that are needed as they are: no badly written ones are left out there."""
    data = event["data"]
    return [
        (data, "mode"), (data["needs"][0], "thematique"), (data["needs"][0], "note"),
        (data["person"], "ref"), (event, "id"), (event, "source"),
    ]  # fmt: skip


# --- how they travel ----------------------------------------------------------------------


def structured(event: Any) -> bytes:
    """As JSON, whatever is in it; what no UTF-8 can hold travels escaped."""
    return json.dumps(event).encode()


def binary(event: Event, mark: str) -> tuple[bytes, dict[str, str]] | None:
    """Data, and attributes as headers that begin with ``mark``; None if none can say it."""
    attributes = {n: v for n, v in event.items() if n not in ("data", "datacontenttype")}
    if not all(isinstance(v, str) for v in attributes.values()):
        return None
    if event.get("datacontenttype") not in (None, "application/json"):
        return None  # the transport's own content type would stand in its place
    try:
        quoted = {n: quote(v, safe="/:@") for n, v in attributes.items()}
    except UnicodeEncodeError:
        return None
    told = quoted if mark == "ce-" else attributes
    return structured(event["data"]), {mark + name: text for name, text in told.items()}


def junk(random: Random) -> Iterator[bytes]:
    """Bytes that are no event."""
    yield random.randbytes(random.randrange(1, 400))
    yield b"[" * random.choice((10, 5000, 100_000))
    yield f'{{"id": "{CANARY}'.encode()
    yield b"\xff\xfe" + CANARY.encode("utf-16")
    yield random.choice((b"", b"null", b"{}", b"1e400", b'"\\ud800"'))
