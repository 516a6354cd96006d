"""The hub that strangers come to, and what is remembered of what they did."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from yarl import URL

from services.hub.demo.processes import Hub
from tests.faults.campaign import Result
from tests.support.mailbox import Mailbox
from tests.support.sftp import Server

TOLD = 300
"""Characters of an input that a problem quotes."""


@dataclass
class Scene:
    """One hub with Kafka; what was accepted must have its effect, what was forged must not.

    ``contacts``, ``answers``: receipts by the event's id and by the answer's. ``produced``:
    sound events on the public topic. ``unsound``: places there of what must be refused.
    ``stranger``: a caller from an address of its own.
    """

    hub: Hub
    directory: Path
    result: Result
    stranger: aiohttp.ClientSession
    box: Mailbox
    files: Server
    keys: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    contacts: dict[str, Any] = field(default_factory=dict)
    produced: list[dict[str, Any]] = field(default_factory=list)
    unsound: dict[tuple[int, int], str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    forged: int = 0
    unreadable: int = 0

    @property
    def bootstrap(self) -> str:
        """Of the broker."""
        return self._environment["AIGUILLAGE_KAFKA_BOOTSTRAP"]

    @property
    def prefix(self) -> str:
        """Of the hub's topics."""
        return self._environment["AIGUILLAGE_TOPIC_PREFIX"]

    @property
    def _environment(self) -> Mapping[str, str]:
        return self.hub.children["intake"].environment

    def say(self, what: str) -> None:
        """Tell how far the campaign is."""
        sys.stderr.write(f"  {datetime.now(UTC):%H:%M:%S} {what}\n")

    def wrong(self, what: str, given: Any = "") -> None:
        """Note what must not be, and say so at once: a campaign may be cut short."""
        told = f" {given!r}"[:TOLD] if given != "" else ""
        self.result.problems.append(what + told)
        self.say(f"✗ {what}{told}")

    async def ask(
        self,
        kind: str,
        url: str | URL,
        body: bytes | None = None,
        *,
        method: str = "POST",
        headers: dict[str, str] | None = None,
        role: str = "",
        stranger: bool = False,
    ) -> tuple[int, bytes]:
        """A request; a failure of the hub's is noted. Status 0: the connection was cut.

        ``kind`` is counted with the status. A documented 503 says when to come again.
        """
        given = dict(headers or {})
        if role:
            given["authorization"] = f"Bearer {self.keys[role]}"
        session = self.stranger if stranger else self.hub.session
        for connection in ("kept", "new"):  # one that was kept may end as it is used again
            try:
                async with session.request(method, url, data=body, headers=given) as answer:
                    said = await answer.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                if connection == "new":
                    self.wrong(f"{kind}: {type(error).__name__} {method} {url}", body)
                continue
            later = answer.status == 503 and "retry-after" in answer.headers
            if answer.status >= 500 and not later:
                self.wrong(f"{kind}: {answer.status} {method} {url} {said[:150]!r}", body)
            self.counts[f"{kind} {answer.status}"] += 1
            return answer.status, said
        return 0, b""

    async def probe(self) -> None:
        """Ask every process whether it lives, and note how long that took."""
        for name in self.hub.children:
            started = time.monotonic()
            status, _ = await self.ask("livez", self.hub.address[name] + "/livez", method="GET")
            self.waits.append(time.monotonic() - started)
            if status != 200:
                self.wrong(f"{name} says that it does not live")

    async def readiness(self) -> dict[str, Any]:
        """What every process says of being ready, by its name."""
        found = {}
        for name in self.hub.children:
            url = self.hub.address[name] + "/readyz"
            status, said = await self.ask("readyz", url, method="GET")
            found[name] = (orjson.loads(said) if said else {}) | {"status": status}
        return found

    def memory(self) -> dict[str, int]:
        """Resident MiB of every process of the hub; 0 for one that is gone."""
        return {name: _resident(child.process) for name, child in self.hub.children.items()}


def _resident(process: Any) -> int:
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except (OSError, AttributeError):
        return 0
    return next((int(x.split()[1]) // 1024 for x in lines if x.startswith("VmRSS")), 0)
