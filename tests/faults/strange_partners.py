"""Partners that answer rightly and wrongly: signed, by the form behind a link, in files."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import urlencode

import aiohttp.web
import orjson
from standardwebhooks import Webhook

from infra.delivery.webhook.signature import format_secret
from tests.e2e.test_canary import CANARY
from tests.faults.strange_events import NIR
from tests.faults.strange_scene import Scene
from tests.support.mailbox import FORM, TO, Form
from tests.support.sftp import PASSWORD

SIGNED = ("france-travail", "mission-locale", "training-body", "temp-agency")
MAILED, BY_FILE = "clap", "plie"
Said = dict[str, Any]
MOMENTS = (
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-12:00",
    "2020-01-01T10:00:00Z", "2199-12-31T22:59:59Z", "2099-06-01T10:00:00Z", "631152000",
)  # fmt: skip
LOCAL = ("0001-01-01T00:00", "9999-12-31T23:59", "2020-01-01T10:00", "2099-06-01T10:00", "x")
DAYS = ("0001-01-01", "9999-12-31", "2199-12-31", "1899-01-01", "631152000")
FRENCH = ("01/01/0001 00:00", "31/12/9999 23:59", "01/01/2020 10:00", "01/06/2099 10:00", "١")
RIGHT: tuple[tuple[Said, ...], ...] = (
    ({"status": "accepted", "appointment_at": "soon"}, {"status": "in-progress"},
     {"status": "completed", "outcome": "support-started"}),
    ({"status": "rejected", "reason": "no-capacity"},),
    ({"status": "requested", "business_status": "received"}, {"status": "accepted"},
     {"status": "on-hold", "reason": "no-capacity", "business_status": "waitlisted"}),
    (),
)  # fmt: skip


async def register(scene: Scene, kind: str, url: str, **given: Any) -> Any:
    """A partner's endpoint, for all its services."""
    services = (await scene.hub.get("partners", "/v1/services", "partner_admin"))["services"]
    mine = [s for s in services if s["kind"] == kind]
    body = {"partner_id": mine[0]["partner_id"], "url": url} | given
    body["service_ids"] = [s["service_id"] for s in mine]
    status, answer = await scene.hub.post("partners", "/v1/endpoints", "partner_admin", body)
    if status != 201:
        raise RuntimeError(f"endpoint of {kind} refused: {answer}")
    return answer


class Signer:
    """A partner's system: told by webhook, answers with signatures."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._secrets: dict[str, Webhook] = {}
        self._told: asyncio.Queue[tuple[str, Said]] = asyncio.Queue()
        self.messages = 0

    async def start(self) -> aiohttp.web.AppRunner:
        """Listen, and register every partner that answers so."""
        app = aiohttp.web.Application()
        app.add_routes([aiohttp.web.post("/{kind}", self._hook)])
        runner = aiohttp.web.AppRunner(app, access_log=None)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        for kind in SIGNED:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/{kind}"
            made = await register(self._scene, kind, url)
            self._secrets[kind] = Webhook(made["secret"])
        return runner

    async def _hook(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        kind = request.match_info["kind"]
        if kind not in self._secrets:  # asked before it knows its secret
            return aiohttp.web.Response(status=503)
        message = self._secrets[kind].verify(await request.read(), dict(request.headers))
        self.messages += 1
        if message["type"] == "referral.requested":
            self._told.put_nowait((kind, message["data"]))
        return aiohttp.web.Response(status=204)

    async def step(self, random: Random) -> None:
        """Answer one request wholly, with what must be refused in between."""
        try:
            async with asyncio.timeout(2):
                kind, data = await self._told.get()
        except TimeoutError:
            return
        for said in random.choice(RIGHT):
            for _ in range(random.randrange(3)):
                await self._wrong(kind, data, random)
            if not await self._right(kind, data, said, random):
                break

    async def _right(self, kind: str, data: Said, said: Said, random: Random) -> bool:
        name = f"msg_{random.getrandbits(80):x}-{CANARY}"[:25]
        body = self._body(data, _filled(said, random))
        status, answer = await self._until_here(kind, data, name, body)
        if status != 202:
            told = orjson.loads(answer or b"{}").get("type", "")
            if not told.endswith(("forbidden-transition", "commission-not-met")):
                self._scene.wrong(f"a sound answer got {status} {told}", said)
            return False
        receipt = orjson.loads(answer)
        self._scene.answers[receipt["answer_id"]] = receipt["referral_id"]
        again = await self._post(kind, data, name, body)
        if again != (202, answer):
            self._scene.wrong(f"a repeat got {again}", said)
        other = self._body(data, {"status": "accepted", "comment": "x"})
        status, _ = await self._post(kind, data, name, other)
        if status != 409:
            self._scene.wrong(f"other words under the same webhook-id got {status}", said)
        return True

    async def _until_here(
        self, kind: str, data: Said, name: str, body: str
    ) -> tuple[int, bytes]:
        """Send until it is no longer said to come too soon, as partners are told to."""
        for _ in range(60):
            status, answer = await self._post(kind, data, name, body)
            if status != 503:
                break
            await asyncio.sleep(0.5)
        return status, answer

    async def _wrong(self, kind: str, data: Said, random: Random) -> None:
        wrong, signer = _wrong_answer(random), self._secrets[kind]
        now = datetime.now(UTC)
        if random.random() < 0.2:
            signer = Webhook(format_secret(random.randbytes(32)))
            wrong = {"status": "accepted"}
        elif random.random() < 0.1:
            now, wrong = (
                now - timedelta(minutes=random.choice((6, 600))),
                {"status": "accepted"},
            )
        name = f"msg_{random.getrandbits(80):x}"
        status, _ = await self._post(kind, data, name, self._body(data, wrong), signer, now)
        if not 400 <= status < 500 and status != 503:
            self._scene.wrong(f"a wrong answer got {status}", wrong)

    def _body(self, data: Said, said: Said) -> str:
        now = datetime.now(UTC).isoformat()
        answer = {"referral_id": data["referral_id"]} | said
        return orjson.dumps(
            {"type": "referral.answered", "timestamp": now, "data": answer}
        ).decode()

    async def _post(
        self, kind: str, data: Said, name: str, body: str,
        signer: Webhook | None = None, now: datetime | None = None,
    ) -> tuple[int, bytes]:  # fmt: skip
        now = now or datetime.now(UTC)
        headers = {
            "webhook-id": name,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": (signer or self._secrets[kind]).sign(name, now, body),
            "content-type": "application/json",
        }
        forged = signer not in (None, self._secrets[kind])
        return await self._scene.ask(
            "answers", data["answer_url"], body.encode(), headers=headers, stranger=forged
        )


def _filled(said: Said, random: Random) -> Said:
    soon = datetime.now(UTC) + timedelta(days=random.choice((1, 14, 300)))
    filled = {"comment": f"{CANARY} est venu", "partner_reference": f"D-{CANARY}"} | said
    if said.get("appointment_at"):
        filled["appointment_at"] = soon.isoformat(timespec="seconds")
    return filled


def _wrong_answer(random: Random) -> Said:
    return random.choice(
        (
            {"status": "accepted", "appointment_at": random.choice(MOMENTS)},
            {"status": "requested", "business_status": "commission-scheduled",
             "commission_on": random.choice(DAYS)},
            {"status": "rejected", "reason": "no-capacity",
             "no_capacity_until": random.choice(DAYS)},
            {"status": "rejected"}, {"status": CANARY}, {"status": None}, {},
            {"status": "accepted", "comment": f"{CANARY} {random.choice(NIR)}"},
            {"status": "accepted", "comment": "a\0b"},
            {"status": "accepted", "comment": "x" * 5000},
            {"status": "accepted", CANARY: 1},
            {"status": "rejected", "reason": "superseded"},
            {"status": "completed", "outcome": CANARY},
            {"status": "rejected", "reason": "referred-onward",
             "suggested_service_id": "nobody--nothing"},
            {"status": "accepted", "partner_reference": "\0"},
        )
    )  # fmt: skip


class Mailed:
    """A partner with nothing but a mailbox, and strangers who try its links."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._read = 0

    async def start(self) -> None:
        """Register the mailbox."""
        await register(self._scene, MAILED, f"mailto:{TO}", channel="email")

    async def step(self, random: Random) -> None:
        """Follow the next link; also one that nobody was ever given."""
        base = self._scene.hub.address["partners"]
        token = random.choice((f"{random.getrandbits(200):x}", "%00", "..%2f..", "A" * 43, "é"))
        method = random.choice(("GET", "POST"))
        tail = random.choice(("", "/open", "/answer", "/renew"))
        body = b"choice=accepted" if method == "POST" else None
        status, _ = await self._scene.ask(
            "links", f"{base}/r/{token}{tail}", body, method=method, headers=FORM, stranger=True
        )
        if status == 200 and tail != "/renew":
            self._scene.wrong("a link that never was shows a page", token)
        if self._read < len(self._scene.box.messages):
            self._read += 1
            text = self._scene.box.text(self._read - 1)
            for link in re.findall(r"(https?://\S+/r/\S+)", text):
                await self._answer(link, random)

    async def _answer(self, link: str, random: Random) -> None:
        status, said = await self._scene.ask("links", f"{link}/open", b"", headers=FORM)
        if status != 200:
            return  # it ended meanwhile
        form = Form(said.decode())
        if not form.choices:
            return
        for _ in range(random.randrange(3)):
            wrong = {
                "choice": random.choice((*form.choices, "\0", "x" * 3000)),
                random.choice(("appointment_at", "commission_on", "no_capacity_until")):
                random.choice((*LOCAL, *DAYS)),
                "comment": random.choice(("\0", random.choice(NIR), "x" * 9000)),
            }  # fmt: skip
            if (await self._form(link, form.hidden | wrong))[0] < 400:
                self._scene.wrong("a wrong form was taken", wrong)
        right = _right_form(form, random) | {"comment": f"{CANARY} viendra"}
        status, said = await self._form(link, form.hidden | right)
        if status not in (200, 409):
            self._scene.wrong(f"a sound form got {status}", (form.choices, _error(said)))

    async def _form(self, link: str, fields: dict[str, str]) -> tuple[int, bytes]:
        body = urlencode(fields).encode()
        return await self._scene.ask("links", f"{link}/answer", body, headers=FORM)


def _right_form(form: Form, random: Random) -> Said:
    """This partner decides in a commission: it cannot accept before one has met."""
    day = (datetime.now(UTC) + timedelta(days=20)).date().isoformat()
    ways = (
        {"choice": "under-study"},
        {"choice": "commission", "commission_on": day},
        {"choice": "rejected", "reason": "no-capacity"},
    )
    return random.choice([way for way in ways if way["choice"] in form.choices])


def _error(page: bytes) -> list[str]:
    """What a page says is wrong."""
    return re.findall(r'role="alert"[^>]*>(.*?)</', page.decode(), re.DOTALL)


class Filed:
    """A partner that exchanges files: tables of answers, and whatever else lies there."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._answered: set[str] = set()

    async def start(self) -> None:
        """Register the file server."""
        login = {"host_key": self._scene.files.host_key, "password": PASSWORD}
        url = self._scene.files.url
        await register(self._scene, BY_FILE, url, channel="sftp", credentials=login)

    async def step(self, random: Random) -> None:
        """Lay one file down: answers to what was asked, in good and in bad lines."""
        place = self._scene.files.root
        asked = {
            found
            for path in place.glob("dlv_*.csv")
            for found in re.findall(r"[0-9a-f-]{36}", path.read_text("utf-8-sig"))
        }
        lines = [self._line(one, random) for one in sorted(asked - self._answered)]
        self._answered |= asked
        name = f"r-{random.getrandbits(40):x}"
        content = "\r\n".join(["référence;Statut;MOTIF;date_rendez_vous;commentaire", *lines])
        name, raw = random.choice(
            (
                (f"{name}.csv", content.encode("utf-8-sig")),
                (f"{name}.CSV", content.encode("utf-16")),
                (f"é {name};=1.csv", content.encode()),
                (f"{name}.csv", random.randbytes(500)),
                (f"{name}.csv", b'"' * 5000 + b"\0;\n" * 100),
                (f"{name}.xlsx", b"PK" + random.randbytes(50)),
            )
        )
        part = place / "answers" / f"{name}.part"
        part.write_bytes(raw)
        part.rename(place / "answers" / name)
        self._scene.counts["files laid down"] += 1

    def _line(self, reference: str, random: Random) -> str:
        wrong = random.choice(
            (
                f"{reference};acceptée;;{random.choice(FRENCH)};",
                f"{reference};refusée;pourquoi;;{random.choice(NIR)}",
                f"{reference};{CANARY}", ";;;;", f"x;acceptée;;;{CANARY}", "\0;\0",
            )
        )  # fmt: skip
        return f"{wrong}\r\n{reference};acceptée;;;{CANARY} est venu"
