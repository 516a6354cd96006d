"""A partner's signed answer: proved to be theirs, checked, stored once, then acknowledged."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from contracts.checks.nir import find_nir
from contracts.days import local_day
from contracts.partners import AnswerLate
from contracts.values import CapacityStatus, ReferralStatus
from contracts.webhooks import Answer, AnswerWebhook
from infra.base.clock import Clock
from infra.base.ids import derived_id
from infra.delivery.webhook.signature import SignatureError, Verified, new_secret, verify
from infra.eventstore.events import EventMetadata
from infra.eventstore.retrying import retrying
from infra.eventstore.store import ConcurrencyError
from infra.eventstore.writer import Pending, Writer
from infra.keys.vault import PersonErasedError, keyed_digest
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.partners.handlers.capacity import keep_report, of_service
from services.partners.handlers.references import seal_reference
from services.partners.handlers.secrets import Secrets
from services.partners.model.answers import (
    CommissionCheck,
    ForbiddenTransitionError,
    check_answer,
    check_appointment,
    check_commission,
    check_full_until,
    check_suggestion,
    received,
)
from services.partners.model.capacity import CapacityReport
from services.partners.tables import statements

ATTEMPTS = 5
YES = (ReferralStatus.ACCEPTED, ReferralStatus.IN_PROGRESS)
ENDED = (ReferralStatus.REJECTED, ReferralStatus.CANCELLED)
_NOBODYS = new_secret()  # an unknown referral takes as long to refuse as a known one


class MalformedAnswerError(Exception):
    """The body is not JSON, or names no referral: nobody's secret can be looked up."""


class DuplicateIdError(Exception):
    """The partner used this ``webhook-id`` for another message."""


class NirError(Exception):
    """A field holds a NIR."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.field = name


@dataclass(frozen=True, slots=True)
class Accepted:
    """Acknowledgement of an answer; a repeat gets the same."""

    answer_id: UUID
    referral_id: UUID
    status: ReferralStatus


class StateChangedError(Exception):
    """The referral is no longer in the state that the partner saw when it answered."""

    def __init__(self, current: ReferralStatus) -> None:
        super().__init__(current)
        self.current = current


class NotAskedError(Exception):
    """The request has not reached this service yet: it comes a moment later."""


@dataclass(frozen=True, slots=True)
class AuthenticatedAnswer:
    """An answer that is proved to come from a partner; ``seen``: the state it answers to.

    ``name``: by which a repeat is known, ``digest``: of its content; keyed digests both, for
    the partner chose the words.
    """

    partner_id: str
    name: bytes
    digest: bytes
    answer: Answer
    seen: ReferralStatus | None = None


class _State(NamedTuple):
    """A referral's row, locked."""

    partner_id: str
    service_id: str
    person_id: UUID
    commission_on: date | None
    version: int
    status: ReferralStatus
    commission: bool


class Answers:
    """Verifies, checks and stores answers."""

    def __init__(self, database: Database, writer: Writer, clock: Clock) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock
        self._digest_key = writer.vault.index.derive("answers")

    async def receive(
        self, headers: Mapping[str, str], body: bytes, traceparent: str | None = None
    ) -> Accepted:
        """Verify, check and store one answer.

        Raises ``MalformedAnswerError``, ``SignatureError``, ``ValidationError``, ``NirError``,
        and what ``check_answer`` does, in this order: who cannot sign learns nothing more.
        """
        document, referral_id = _read(body)
        partner_id, verified = await self._verify(referral_id, headers, body)
        if (field := find_nir(document)) is not None:
            raise NirError(field)
        answer = AnswerWebhook.model_validate(document).data
        signed = self._authenticated(partner_id, verified.webhook_id, body, answer)
        return await self._accept(signed, traceparent)

    async def accept_unsigned(
        self, partner_id: str, name: str, answer: Answer, seen: ReferralStatus | None = None
    ) -> Accepted:
        """Check and store an answer that came without a signed body: by a page, in a file.

        ``name``: by which a repeat is known, as by a ``webhook-id``.

        Raises ``StateChangedError``, ``NotAskedError``, ``DuplicateIdError``,
        ``PersonErasedError`` and what the model's ``check_…`` do.
        """
        content = orjson.dumps(answer.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
        signed = self._authenticated(partner_id, name, content, answer)
        return await self._accept(replace(signed, seen=seen))

    def _authenticated(
        self, partner_id: str, name: str, content: bytes, answer: Answer
    ) -> AuthenticatedAnswer:
        named = keyed_digest(self._digest_key, b"id", partner_id.encode(), name.encode())
        digest = keyed_digest(self._digest_key, content)
        return AuthenticatedAnswer(partner_id, named, digest, answer, answer.expected_status)

    async def _accept(
        self, signed: AuthenticatedAnswer, traceparent: str | None = None
    ) -> Accepted:
        try:
            return await retrying(
                self._database, lambda tx: self._store(tx, signed, traceparent), ATTEMPTS
            )
        except ForbiddenTransitionError as error:
            late = error.current in ENDED and error.asked in YES
            if late:
                with suppress(ConcurrencyError):  # it was noted before
                    await self._note_late(signed, error.asked, traceparent)
            raise

    async def _verify(
        self, referral_id: UUID, headers: Mapping[str, str], body: bytes
    ) -> tuple[str, Verified]:
        now = self._clock()
        async with self._database.reading() as connection:
            rows = await connection.fetch(statements.SECRETS_FOR_REFERRAL, referral_id, now)
        secrets = await Secrets.of(self._writer.vault.master, rows)
        keys = [key for keys in secrets.open(rows).values() for key in keys]
        verified = verify(keys or [_NOBODYS], headers, body, now)
        return rows[0]["partner_id"], verified

    async def _store(
        self, tx: Transaction, signed: AuthenticatedAnswer, traceparent: str | None
    ) -> Accepted:
        # one answer of a referral at a time: two quick ones are judged one after the other
        state = await _locked(tx, signed.answer.referral_id)
        if state is None or state.partner_id != signed.partner_id:
            raise SignatureError("no such referral of this partner")
        if before := await tx.fetchrow(statements.ANSWER, signed.partner_id, signed.name):
            digest, answer_id, referral_id, status = before
            if digest != signed.digest:
                raise DuplicateIdError
            return Accepted(answer_id, referral_id, ReferralStatus(status))
        if state.status is ReferralStatus.DRAFT:
            raise NotAskedError
        if signed.seen not in (None, state.status):
            raise StateChangedError(state.status)
        await self._check(tx, state, signed.answer)
        return await self._insert(tx, signed, state, traceparent)

    async def _check(self, tx: Transaction, state: _State, answer: Answer) -> None:
        """Raise what the model's ``check_…`` do."""
        check_answer(state.status, answer)
        # a later commission (of funding, say) does not undo what one has accepted already
        needed = state.commission and answer.status is not state.status
        now = self._clock()
        check_appointment(answer, now)
        today = local_day(now)
        check_commission(answer, CommissionCheck(needed, state.commission_on, today))
        check_full_until(answer, today)
        if answer.suggested_service_id is not None:
            known = await tx.fetchval(statements.SUGGESTED, answer.suggested_service_id)
            check_suggestion(answer, state.service_id, known is not None)

    async def _note_late(
        self, signed: AuthenticatedAnswer, asked: ReferralStatus, traceparent: str | None
    ) -> None:
        """Tell advisers, once, of a yes that came after the referral had ended."""
        referral_id = signed.answer.referral_id
        async with self._database.transaction() as tx:
            state = await _locked(tx, referral_id)
            assert state is not None  # it was there a moment ago, and states stay
            late = AnswerLate(
                answer_id=derived_id(referral_id, "late answer"),
                referral_id=referral_id,
                partner_id=signed.partner_id,
                person_id=state.person_id,
                status=asked,
            )
            meta = EventMetadata(f"partner:{signed.partner_id}", traceparent=traceparent)
            stream = f"late-{referral_id}"
            pending = Pending(stream, [late], late.person_id, meta, expected=0)
            await self._writer.write(tx, [pending])

    async def _insert(
        self,
        tx: Transaction,
        signed: AuthenticatedAnswer,
        state: _State,
        traceparent: str | None,
    ) -> Accepted:
        answer, person, now = signed.answer, state.person_id, self._clock()
        answer_id = derived_id(answer.referral_id, f"answer:{signed.name.hex()}")
        name, subject = (signed.name, signed.digest, answer_id), (answer.referral_id, person)
        row = (signed.partner_id, *name, *subject, answer.status, now)
        if await tx.fetchval(statements.INSERT_ANSWER, *row) is None:
            raise DuplicateIdError
        # The referral service decides, a moment later. Until it has, the next answer is judged
        # by what this one asked: "accepted" and "in-progress" may come within a millisecond.
        reference = await self._reference(person, answer)
        asked = (answer.referral_id, answer.status, answer_id, answer.commission_on, reference)
        await tx.execute(statements.ASK, *asked)
        event = received(answer_id, signed.partner_id, person, state.version, answer)
        meta = EventMetadata(f"partner:{signed.partner_id}", traceparent=traceparent)
        pending = [Pending(f"referral-{answer.referral_id}", [event], person, meta)]
        if until := answer.no_capacity_until:
            full = CapacityReport(status=CapacityStatus.NO_CAPACITY, until=until)
            service = state.service_id, signed.partner_id
            pending.append(of_service(await keep_report(tx, service, full, now), meta))
        await self._writer.write(tx, pending)
        return Accepted(answer_id, answer.referral_id, answer.status)

    async def _reference(self, person: UUID, answer: Answer) -> bytes | None:
        """Seal the partner's number of the file, if it gives one."""
        if not answer.partner_reference:
            return None
        keys = await self._writer.vault.keys({person})
        if person not in keys:
            raise PersonErasedError("no key to seal a reference")
        return seal_reference(keys[person], answer.referral_id, answer.partner_reference)


def _read(body: bytes) -> tuple[Any, UUID]:
    """Return the document, and the referral that it names."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedAnswerError("the body is not JSON") from error
    try:
        return document, UUID(document["data"]["referral_id"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise MalformedAnswerError("data.referral_id must be a UUID") from error


async def _locked(tx: Transaction, referral_id: UUID) -> _State | None:
    record = await tx.fetchrow(statements.LOCK_STATE, referral_id)
    if record is None:
        return None
    state = _State(*record)
    return state._replace(status=ReferralStatus(state.status))
