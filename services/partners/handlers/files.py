"""Files that partners lay down: answers, taken line by line; what they have read of ours.

A line taken twice is one answer (its id derives from the file's content), so a crash between
taking and moving does no harm.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import structlog

from contracts.partners import DeliveryAcknowledged
from contracts.types import judged_at
from contracts.values import Channel
from infra.base.clock import Clock
from infra.delivery.sftp import Account, Collected, SftpSender
from infra.delivery.webhook.signature import SignatureError
from infra.eventstore.writer import Pending, Writer
from infra.keys.vault import PersonErasedError
from infra.postgres.database import Database
from services.partners.adapters.csvfile import LineError, read, receipt
from services.partners.handlers.answers import Answers, DuplicateIdError
from services.partners.handlers.compose import about
from services.partners.handlers.secrets import Secrets
from services.partners.model.answers import (
    AnswerFieldError,
    CommissionNotMetError,
    ForbiddenTransitionError,
    ReasonNotYoursError,
)
from services.partners.tables import files as tables
from services.partners.tables.statements import SECRETS_OF_ENDPOINTS

SERVERS_AT_ONCE = 8
log = structlog.get_logger()
_WHY: dict[type[Exception], tuple[str, str]] = {
    SignatureError: ("reference", "référence inconnue"),
    PersonErasedError: ("reference", "référence inconnue"),
    ForbiddenTransitionError: ("statut", "impossible dans l'état actuel de la demande"),
    ReasonNotYoursError: ("motif", "ce motif n'est pas de votre ressort"),
    CommissionNotMetError: ("statut", "la commission n'a pas encore eu lieu"),
    DuplicateIdError: ("statut", "déjà répondu autrement par ce fichier"),
}
_WRONG: dict[str, tuple[str, str]] = {
    "appointment_at": ("date_rendez_vous", "doit être à venir, d'ici un an"),
    "no_capacity_until": (
        "complet_jusqu_au",
        "date passée, ou autre motif que « Plus de place »",
    ),
    "suggested_service_id": ("motif", "service suggéré inconnu"),
}


class _ReadDelivery(NamedTuple):
    delivery_id: UUID
    referral_id: UUID
    partner_id: str
    person_id: UUID
    message: str


@dataclass(frozen=True)
class Files:
    """Collects from every partner that exchanges files."""

    database: Database
    writer: Writer
    answers: Answers
    sftp: SftpSender
    clock: Clock

    async def step(self) -> int:
        """Take what lies there. Returns how many files; a server that is away waits."""
        async with self.database.reading() as connection:
            partners = dict(
                [(i, p) for i, p in await connection.fetch(tables.FILE_ENDPOINTS, Channel.SFTP)]
            )
            stored = await connection.fetch(SECRETS_OF_ENDPOINTS, list(partners), self.clock())
        secrets = await Secrets.of(self.writer.vault.master, stored)
        accounts = secrets.accounts(stored)
        servers = asyncio.Semaphore(SERVERS_AT_ONCE)
        known = [(partner, accounts.get(i)) for i, partner in partners.items()]
        return sum(await asyncio.gather(*(self._partner(servers, *one) for one in known)))

    async def _partner(
        self, servers: asyncio.Semaphore, partner_id: str, account: Account | None
    ) -> int:
        """Files taken of one partner; whatever goes wrong there stops no other."""
        if account is None:
            return 0
        try:
            async with servers:
                await self._acknowledge(partner_id, account)
                files = await self.sftp.collect(account)
                for file in files:
                    taken, errors = await self._take(partner_id, file)
                    table = receipt(taken, errors)
                    await self.sftp.settle(account, file.name, table, not errors)
        except Exception as error:
            log.warning("files not collected", error=type(error).__name__)
            return 0
        return len(files)

    async def _acknowledge(self, partner_id: str, account: Account) -> None:
        """What the partner says it has read, once each."""
        if not (names := await self.sftp.acknowledged(account)):
            return
        async with self.database.transaction() as tx:
            ours = [name for name in names if name.isprintable()]  # others may not be stored
            rows = await tx.fetch(tables.KNOWN_FILES, partner_id, ours)
            pending = []
            for columns in await tx.fetch(tables.ACKNOWLEDGE, partner_id, ours, self.clock()):
                delivery = _ReadDelivery(*columns)
                event = DeliveryAcknowledged(**about(delivery))
                stream = f"delivery-{event.delivery_id}"
                pending.append(Pending(stream, [event], delivery.person_id))
            await self.writer.write(tx, pending)
        known = {file for (file,) in rows}
        await self.sftp.clear(
            account, sorted(known), [name for name in names if name not in known]
        )

    async def _take(
        self, partner_id: str, file: Collected
    ) -> tuple[Sequence[int], Sequence[LineError]]:
        """Return the lines that were taken, and those that were not."""
        if file.problem:
            return [], [LineError(1, "", file.problem)]
        with judged_at(self.clock()):
            answers, errors = read(file.content)
        name, taken = hashlib.sha256(file.content).hexdigest()[:32], []
        for line, answer in answers:
            try:
                await self.answers.accept_unsigned(partner_id, f"csv_{name}_{line}", answer)
                taken.append(line)
            except AnswerFieldError as error:
                errors.append(LineError(line, *_WRONG[error.field]))
            except tuple(_WHY) as error:
                errors.append(LineError(line, *_WHY[type(error)]))
        return taken, errors
