"""A simulated partner: its own process, its own signature check, its own manners.

It verifies every webhook with the ``standardwebhooks`` package, which is not ours, and answers
as its behaviour says. Started by the demo and the fault campaign; the secret comes on stdin.

    python -m services.hub.demo.partner_simulator --behaviour transfer --suggest SERVICE_ID
"""

import argparse
import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from contracts.days import local_day

Step = dict[str, Any]
TODAY, SOON, SUGGESTED = "today", "soon", "suggested"  # known when it runs
BEHAVIOURS: dict[str, list[Step]] = {
    "accept": [
        {"status": "requested", "business_status": "received"},
        {"status": "accepted", "appointment_at": SOON},
        {"status": "in-progress"},
        {"status": "completed", "outcome": "support-started"},
    ],
    "study": [
        {"status": "requested", "business_status": "under-study"},
        {"status": "accepted"},
        {"status": "on-hold", "reason": "no-capacity", "business_status": "waitlisted"},
    ],
    "refuse": [{"status": "rejected", "reason": "no-capacity"}],
    "silent": [],
    "commission": [
        {"status": "requested", "business_status": "under-study"},
        {
            "status": "requested",
            "business_status": "commission-scheduled",
            "commission_on": TODAY,
        },
        {"status": "accepted"},
        {"status": "in-progress"},
        {"status": "completed", "outcome": "support-started"},
    ],
    "waitlist": [{"status": "requested", "business_status": "waitlisted"}],
    "no-show": [
        {"status": "accepted", "appointment_at": SOON},
        {"status": "accepted", "business_status": "no-show"},
        {"status": "failed", "reason": "client-no-show"},
    ],
    "transfer": [
        {"status": "rejected", "reason": "referred-onward", "suggested_service_id": SUGGESTED}
    ],
    "remind": [
        {"status": "accepted", "appointment_at": SOON},
        {"status": "in-progress"},
        {"status": "completed", "outcome": "support-started"},
    ],
}
SOON_AFTER = timedelta(days=14)
WAKES = {"remind": "referral.reminded"}
"""Which message a behaviour answers, where it is not the request."""
ANSWER_SECONDS = 10
TRIES = 300


class Partner:
    """One partner's endpoint."""

    def __init__(self, secret: str, behaviour: str, suggested: str | None = None) -> None:
        self._webhook = Webhook(secret)
        self._steps = BEHAVIOURS[behaviour]
        self._wakes = WAKES.get(behaviour, "referral.requested")
        self._suggested = suggested
        self._seen: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.counts = {"verified": 0, "repeated": 0, "forged": 0, "answers": 0, "refused": 0}

    async def hook(self, request: web.Request) -> web.Response:
        """Take a message; answered later, once per webhook-id."""
        body = await request.read()
        try:
            message = self._webhook.verify(body, dict(request.headers))
        except WebhookVerificationError:
            self.counts["forged"] += 1
            return web.Response(status=401)
        identifier = request.headers["webhook-id"]
        if identifier in self._seen:
            self.counts["repeated"] += 1
            return web.Response(status=204)
        self._seen.add(identifier)
        self.counts["verified"] += 1
        if message["type"] == self._wakes:
            task = asyncio.create_task(self._answer(message["data"]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return web.Response(status=204)

    async def consent(self, request: web.Request) -> web.Response:
        """Say that messages are wanted (CloudEvents' handshake)."""
        origin = request.headers.get("webhook-request-origin", "")
        return web.Response(headers={"webhook-allowed-origin": origin})

    async def stats(self, request: web.Request) -> web.Response:
        """What was seen so far."""
        return web.json_response({**self.counts, "busy": len(self._tasks)})

    async def _answer(self, referral: dict[str, Any]) -> None:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for step in self._steps:
                await self._send(session, referral, step)

    async def _send(
        self, session: aiohttp.ClientSession, referral: dict[str, Any], step: Step
    ) -> None:
        now, identifier = datetime.now(UTC), f"msg_{uuid4().hex}"
        answer = {"referral_id": referral["referral_id"], **self._filled(step)}
        message = {"type": "referral.answered", "timestamp": now.isoformat(), "data": answer}
        body = orjson.dumps(message).decode()
        for _ in range(TRIES):
            headers = {
                "webhook-id": identifier,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": self._webhook.sign(identifier, now, body),
                "content-type": "application/json",
            }
            if await self._posted(session, referral["answer_url"], body, headers):
                return
            now = datetime.now(UTC)
            await asyncio.sleep(0.5)
        self.counts["refused"] += 1

    def _filled(self, step: Step) -> Step:
        # the day in UTC is never ahead of the day in France, by which the hub judges
        now = datetime.now(UTC)
        known = {"commission_on": str(local_day(now))}
        known["appointment_at"] = (now + SOON_AFTER).isoformat(timespec="seconds")
        known["suggested_service_id"] = self._suggested or ""
        return step | {name: value for name, value in known.items() if name in step}

    async def _posted(
        self, session: aiohttp.ClientSession, url: str, body: str, headers: dict[str, str]
    ) -> bool:
        try:
            async with session.post(url, data=body, headers=headers) as response:
                problem = await response.read()
        except (aiohttp.ClientError, TimeoutError):
            return False
        if response.status == 202:
            self.counts["answers"] += 1
        elif response.status < 500:
            self.counts["refused"] += 1
            sys.stderr.write(f"answer refused: {problem.decode(errors='replace')}\n")
        return response.status < 500


async def main(behaviour: str, port: int, suggested: str | None = None) -> None:
    """Say the port, read the secret, serve until stdin closes."""
    app = web.Application()
    runner = web.AppRunner(app, access_log=None)
    holder: dict[str, Partner] = {}

    async def hook(request: web.Request) -> web.Response:
        return await holder["partner"].hook(request)

    async def stats(request: web.Request) -> web.Response:
        return await holder["partner"].stats(request)

    async def consent(request: web.Request) -> web.Response:
        return await holder["partner"].consent(request)

    app.add_routes(
        [
            web.post("/hook", hook),
            web.options("/hook", consent),
            web.get("/stats", stats),
        ]
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    secret = await asyncio.to_thread(sys.stdin.readline)
    holder["partner"] = Partner(secret.strip(), behaviour, suggested)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--behaviour", choices=sorted(BEHAVIOURS), required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--suggest", help="the service that a transfer names instead")
    given = parser.parse_args()
    if (given.behaviour == "transfer") != (given.suggest is not None):
        parser.error("--suggest goes with --behaviour transfer, and is needed there")
    asyncio.run(main(given.behaviour, given.port, given.suggest))
