"""A partner's signed answer: proved to be theirs, checked, stored once, then acknowledged."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
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
    """What is acknowledged; a repeat gets the same."""

    answer_id: UUID
    referral_id: UUID
    status: ReferralStatus


class StateChangedError(Exception):
    """The referral is no longer in the state that the partner saw when it answered."""

    def __init__(self, current: ReferralStatus) -> None:
        super().__init__(current)
        self.current = current


class NotAskedError(Exception):
    """Nobody asked the partner yet, as far as we have heard: that comes a moment later."""


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


class Answers:
    """Takes answers in."""

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
        document = _parse(body)
        partner_id, verified = await self._verify(_referral_of(document), headers, body)
        answer = _validate(document).data
        return await self._take(partner_id, verified.webhook_id, body, answer,
                                answer.expected_status, traceparent)  # fmt: skip

    async def accept_unsigned(
        self, partner_id: str, name: str, answer: Answer, seen: ReferralStatus | None = None
    ) -> Accepted:
        """Check and store an answer that came without a signed body: by a page, in a file.

        ``name``: by which a repeat is known, as by a ``webhook-id``.

        Raises ``StateChangedError``, ``NotAskedError``, ``DuplicateIdError``,
        ``PersonErasedError`` and what the model's ``check_…`` do.
        """
        said = orjson.dumps(answer.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
        return await self._take(partner_id, name, said, answer, seen)

    async def _take(
        self,
        partner_id: str,
        name: str,
        said: bytes,
        answer: Answer,
        seen: ReferralStatus | None,
        traceparent: str | None = None,
    ) -> Accepted:
        named = keyed_digest(self._digest_key, b"id", partner_id.encode(), name.encode())
        content = keyed_digest(self._digest_key, said)
        signed = AuthenticatedAnswer(partner_id, named, content, answer, seen)
        try:
            return await retrying(
                self._database, lambda tx: self._store(tx, signed, traceparent), ATTEMPTS
            )
        except ForbiddenTransitionError as error:
            await self._note_late(signed, error, traceparent)
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
        state = await tx.fetchrow(statements.LOCK_STATE, signed.answer.referral_id)
        if state is None or state["partner_id"] != signed.partner_id:
            raise SignatureError("no such referral of this partner")
        known = await tx.fetchrow(statements.ANSWER, signed.partner_id, signed.name)
        if known:
            return _repeat(known, signed)
        current = ReferralStatus(state["status"])
        if current is ReferralStatus.DRAFT:
            raise NotAskedError
        if signed.seen not in (None, current):
            raise StateChangedError(current)
        await self._check(tx, state, signed.answer)
        return await self._insert(tx, signed, state, traceparent)

    async def _check(self, tx: Transaction, state: Any, answer: Answer) -> None:
        """Raise what the model's ``check_…`` do."""
        current = ReferralStatus(state["status"])
        check_answer(current, answer)
        # a later commission (of funding, say) does not undo what one has accepted already
        needed = state["commission"] and answer.status is not current
        now = self._clock()
        check_appointment(answer, now)
        today = local_day(now)
        check_commission(answer, CommissionCheck(needed, state["commission_on"], today))
        check_full_until(answer, today)
        if answer.suggested_service_id is not None:
            known = await tx.fetchval(statements.SUGGESTED, answer.suggested_service_id)
            check_suggestion(answer, state["service_id"], known is not None)

    async def _note_late(
        self,
        signed: AuthenticatedAnswer,
        error: ForbiddenTransitionError,
        traceparent: str | None,
    ) -> None:
        """A yes to a referral that has ended is refused, and an adviser hears of it, once."""
        if error.current not in ENDED or error.asked not in YES:
            return
        referral_id = signed.answer.referral_id
        with suppress(ConcurrencyError):  # heard before
            async with self._database.transaction() as tx:
                state = await tx.fetchrow(statements.LOCK_STATE, referral_id)
                assert state is not None  # it was there a moment ago, and states stay
                late = AnswerLate(
                    answer_id=derived_id(referral_id, "late answer"),
                    referral_id=referral_id,
                    partner_id=signed.partner_id,
                    person_id=state["person_id"],
                    status=error.asked,
                )
                meta = EventMetadata(f"partner:{signed.partner_id}", traceparent=traceparent)
                stream = f"late-{referral_id}"
                await self._writer.write(
                    tx, [Pending(stream, [late], late.person_id, meta, expected=0)]
                )

    async def _insert(
        self, tx: Transaction, signed: AuthenticatedAnswer, state: Any, traceparent: str | None
    ) -> Accepted:
        answer, person = signed.answer, state["person_id"]
        answer_id = derived_id(answer.referral_id, f"answer:{signed.name.hex()}")
        new = await tx.fetchval(
            statements.INSERT_ANSWER, signed.partner_id, signed.name, signed.digest,
            answer_id, answer.referral_id, person, answer.status, self._clock(),
        )  # fmt: skip
        if new is None:
            raise DuplicateIdError
        # The referral service decides, a moment later. Until it has, the next answer is judged
        # by what this one asked: "accepted" and "in-progress" may come within a millisecond.
        await tx.execute(
            statements.ASK, answer.referral_id, answer.status, answer_id, answer.commission_on,
            await self._reference(person, answer),
        )  # fmt: skip
        seen = state["updated_version"]
        event = received(answer_id, signed.partner_id, person, seen, answer)
        meta = EventMetadata(f"partner:{signed.partner_id}", traceparent=traceparent)
        stream = f"referral-{answer.referral_id}"
        pending = [Pending(stream, [event], person, meta)]
        if until := answer.no_capacity_until:
            full = CapacityReport(status=CapacityStatus.NO_CAPACITY, until=until)
            service = state["service_id"], signed.partner_id
            said = await keep_report(tx, service, full, self._clock())
            pending.append(of_service(said, meta))
        await self._writer.write(tx, pending)
        return Accepted(answer_id, answer.referral_id, answer.status)

    async def _reference(self, person: UUID, answer: Answer) -> bytes | None:
        """The partner's number of the file, sealed, if it gives one."""
        if not answer.partner_reference:
            return None
        keys = await self._writer.vault.keys({person})
        if person not in keys:
            raise PersonErasedError("no key to seal a reference")
        return seal_reference(keys[person], answer.referral_id, answer.partner_reference)


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedAnswerError("the body is not JSON") from error


def _referral_of(document: Any) -> UUID:
    try:
        return UUID(document["data"]["referral_id"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise MalformedAnswerError("data.referral_id must be a UUID") from error


def _validate(document: Any) -> AnswerWebhook:
    if (found := find_nir(document)) is not None:
        raise NirError(found)
    return AnswerWebhook.model_validate(document)


def _repeat(known: Any, signed: AuthenticatedAnswer) -> Accepted:
    if known["body_digest"] != signed.digest:
        raise DuplicateIdError
    return Accepted(known["answer_id"], known["referral_id"], ReferralStatus(known["status"]))
