"""Answers that partners lay down as files: read, taken line by line, moved out of the way.

A line taken twice is one answer (its id derives from the file's content), so a crash between
taking and moving does no harm.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncssh
import structlog

from contracts.webhooks import Answer
from infra.channels.sftp import Account, Collected, SftpSender
from infra.clock import Clock
from infra.database import Database, driver
from infra.keyring import KeyRing
from infra.vault import PersonErasedError
from infra.webhooks.signature import SignatureError
from services.partners import tables
from services.partners.adapters.csvfile import LineError, read, refusals
from services.partners.handlers.answers import Answers, DuplicateIdError
from services.partners.handlers.endpoints import Secrets
from services.partners.model import (
    CommissionNotMetError,
    ForbiddenTransitionError,
    ReasonNotYoursError,
    SuggestionError,
)

log = structlog.get_logger()
_WHY: dict[type[Exception], tuple[str, str]] = {
    SignatureError: ("reference", "référence inconnue"),
    PersonErasedError: ("reference", "référence inconnue"),
    ForbiddenTransitionError: ("statut", "impossible dans l'état actuel de la demande"),
    ReasonNotYoursError: ("motif", "ce motif n'est pas de votre ressort"),
    CommissionNotMetError: ("statut", "la commission n'a pas encore eu lieu"),
    SuggestionError: ("motif", "service suggéré inconnu"),
    DuplicateIdError: ("statut", "déjà répondu autrement par ce fichier"),
}


@dataclass(frozen=True)
class Files:
    """Collects from every partner that exchanges files."""

    database: Database
    master: KeyRing
    answers: Answers
    sftp: SftpSender
    clock: Clock

    async def step(self) -> int:
        """Take what lies there; answers how many files. A server that is away waits."""
        async with self.database.reading() as connection:
            raw = await driver(connection)
            rows = await raw.fetch(tables.FILE_ENDPOINTS)
            kept = await raw.fetch(
                tables.SECRETS_OF_ENDPOINTS, [r["endpoint_id"] for r in rows], self.clock()
            )
        accounts = (await Secrets.of(self.master, kept)).accounts(kept)
        return sum([await self._partner(r, accounts.get(r["endpoint_id"])) for r in rows])

    async def _partner(self, row: Any, account: Account | None) -> int:
        if account is None:
            return 0
        try:
            files = await self.sftp.collect(account)
            for file in files:
                errors = await self._take(row["partner_id"], file)
                report = refusals(errors) if errors else None
                await self.sftp.settle(account, file.name, report)
        except (asyncssh.Error, OSError, ValueError) as error:
            log.warning("files not collected", error=type(error).__name__)
            return 0
        return len(files)

    async def _take(self, partner_id: str, file: Collected) -> Sequence[LineError]:
        answers, errors = read(file.content)
        name = hashlib.sha256(file.content).hexdigest()[:32]
        for line, answer in answers:
            if wrong := await self._line(partner_id, f"csv_{name}_{line}", answer):
                errors.append(LineError(line, *wrong))
        return errors

    async def _line(
        self, partner_id: str, webhook_id: str, answer: Answer
    ) -> tuple[str, str] | None:
        try:
            await self.answers.take_said(partner_id, webhook_id, answer)
        except tuple(_WHY) as error:
            return _WHY[type(error)]
        return None
