"""Offers of employment near a commune (francetravail.io, offres d'emploi v2), read tolerantly.

A search names a place and a trade, never a person.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contracts.types import check_moment, read_moment
from infra.delivery.webhook.sender import Sent
from services.partners.adapters.france_travail_http import (
    CallError,
    Http,
    Reply,
    Request,
    for_now,
    refused,
)
from services.partners.adapters.france_travail_tokens import (
    OFFER_SCOPES,
    Credentials,
    Realm,
    Tokens,
)

SEARCH = "/partenaire/offresdemploi/v2/offres/search"
PAGE = 150
"""The most offers that one answer may hold."""
LAST_INDEX = 3149
"""The last offer of a search that can be asked for."""
MAX_PAGES = 3
MAX_BODY = 4 * 1024 * 1024
MAX_TEXT = 300
MAX_WAITS = 3
MAX_WAIT_SECONDS = 5.0
DEFAULT_WAIT_SECONDS = 1.0
SEARCH_SECONDS = 30.0
_COMMUNE = re.compile(r"(?:[0-9]{2}|2[AB])[0-9]{3}", re.ASCII)
_ROME = re.compile(r"[A-N][0-9]{4}", re.ASCII)
_RANGE = re.compile(r"\S+ +(?:[0-9]+-[0-9]+|\*)/([0-9]{1,9})", re.ASCII)
_ANSWERS = frozenset({200, 204, 206})
_WEB = ("https://", "http://")


@dataclass(frozen=True, slots=True)
class OfferSearch:
    """What to look for: an INSEE commune, kilometres around it, ROME codes (none: any)."""

    commune: str
    kilometres: int = 10
    rome: Sequence[str] = ()
    max_pages: int = MAX_PAGES

    def query(self) -> dict[str, str]:
        """Return it as parameters. Raises ``ValueError`` for what is no search."""
        if not _COMMUNE.fullmatch(self.commune):
            raise ValueError("commune: give an INSEE code")
        if not all(_ROME.fullmatch(code) for code in self.rome):
            raise ValueError("rome: give ROME codes (M1602)")
        if not 0 <= self.kilometres <= 200 or self.max_pages < 1:
            raise ValueError("kilometres: 0 to 200; max_pages: 1 at least")
        trade = {"codeROME": ",".join(self.rome)} if self.rome else {}
        return {"commune": self.commune, "distance": str(self.kilometres)} | trade


@dataclass(frozen=True, slots=True)
class Offer:
    """One offer; what was missing or not as expected is ``None``."""

    id: str
    title: str
    rome: str | None = None
    trade: str | None = None
    contract: str | None = None
    employer: str | None = None
    place: str | None = None
    commune: str | None = None
    created_at: datetime | None = None
    positions: int | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Offers, how many there are in all, and whether these are all of them."""

    offers: tuple[Offer, ...]
    total: int
    complete: bool


class Offers:
    """One application in the partners' realm."""

    def __init__(
        self, credentials: Credentials, http: Http, *, search_seconds: float = SEARCH_SECONDS
    ) -> None:
        self._url = credentials.api_url.rstrip("/") + SEARCH
        self._http = http
        self._seconds = search_seconds
        self._tokens = Tokens(http, credentials, Realm.PARTNER, OFFER_SCOPES)

    async def search(self, wanted: OfferSearch) -> Found:
        """Return what there is, read page by page within one deadline.

        Raises ``CallError`` with the class of what failed, ``ValueError`` for no search.
        """
        query = wanted.query()
        try:
            async with asyncio.timeout(self._seconds):
                offers: dict[str, Offer] = {}  # new offers push others onto the next page
                total, start = 0, 0
                for _ in range(wanted.max_pages):
                    reply = await self._page(query, start)
                    page, total = _read(reply, start)
                    offers |= {offer.id: offer for offer in page}
                    start += PAGE
                    if reply.status != 206 or start >= total or start > LAST_INDEX:
                        break
                return Found(tuple(offers.values()), total, start >= total)
        except TimeoutError:
            pass
        raise for_now("timeout")

    async def prove(self) -> Sent:
        """Ask for a new token: whether these credentials are good."""
        try:
            return await self._tokens.prove()
        except CallError as error:
            return error.sent

    async def close(self) -> None:
        """Close every connection."""
        await self._tokens.close()
        await self._http.close()

    async def _page(self, query: Mapping[str, str], start: int) -> Reply:
        last = min(start + PAGE - 1, LAST_INDEX)
        ranged = dict(query) | {"range": f"{start}-{last}"}
        request = Request("GET", self._url, query=ranged, max_body=MAX_BODY)
        tried = 0
        while (reply := await self._tokens.call(request)).status not in _ANSWERS:
            failed = refused(reply, self._http.clock()).sent
            wait = DEFAULT_WAIT_SECONDS if failed.retry_after is None else failed.retry_after
            if failed.status != 429 or tried == MAX_WAITS or wait > MAX_WAIT_SECONDS:
                raise CallError(failed)
            await asyncio.sleep(wait)
            tried += 1
        return reply


def _read(reply: Reply, start: int) -> tuple[list[Offer], int]:
    """Offers of a page, and how many there are in all (``Content-Range: offres 0-149/353``)."""
    if reply.status == 204:
        return [], start
    raw = reply.object().get("resultats")
    if not isinstance(raw, list):
        raise for_now("malformed-answer", reply.status)
    offers = [offer for item in raw if (offer := _offer(item))]
    counted = _RANGE.fullmatch(reply.headers.get("content-range", "").strip())
    there_is_more = 1 if reply.status == 206 else 0
    return offers, int(counted[1]) if counted else start + len(raw) + there_is_more


def _offer(item: Any) -> Offer | None:
    """An offer that has an id and a title; anything else may be missing or odd."""
    identifier, title = _text(item, "id"), _text(item, "intitule")
    if identifier is None or title is None:
        return None
    url = _text(item, "origineOffre", "urlOrigine", most=2000)
    positions = _at(item, "nombrePostes")
    return Offer(
        id=identifier,
        title=title,
        rome=_text(item, "romeCode"),
        trade=_text(item, "romeLibelle"),
        contract=_text(item, "typeContratLibelle") or _text(item, "typeContrat"),
        employer=_text(item, "entreprise", "nom"),
        place=_text(item, "lieuTravail", "libelle"),
        commune=_text(item, "lieuTravail", "commune"),
        created_at=_moment(_text(item, "dateCreation")),
        positions=positions if type(positions) is int and 0 < positions < 100_000 else None,
        url=url if url and url.startswith(_WEB) else None,  # it becomes a link of a page
    )


def _at(item: Any, *path: str) -> Any:
    for name in path:
        item = item.get(name) if isinstance(item, dict) else None
    return item


def _text(item: Any, *path: str, most: int = MAX_TEXT) -> str | None:
    text = _at(item, *path)
    if not isinstance(text, str) or not text.strip():
        return None
    return " ".join(text.split())[:most]


def _moment(text: str | None) -> datetime | None:
    try:
        return check_moment(read_moment(text or ""))
    except ValueError:
        return None
