"""The state table, as written facts: every pair of states, every author."""

import pytest

from contracts.referrals import EVENT_OF_STATUS
from contracts.values import (
    AUTHOR_OF_REASON,
    COMMENT_REQUIRED,
    REFERRAL_LABELS,
    TRANSITIONS,
    Author,
    BusinessStatus,
    Reason,
    ReferralStatus,
)
from contracts.webhooks import NEEDS_REASON

# One line for each transition that exists: from, to, and who may set it (P partner,
# A adviser, H hub). Every other pair is refused, whoever asks.
ALLOWED = """
draft         requested         A H
requested     accepted          P
requested     rejected          P
requested     cancelled         P A H
accepted      in-progress       P
accepted      on-hold           P
accepted      completed         P
accepted      failed            P
accepted      cancelled         P A H
in-progress   on-hold           P
in-progress   completed         P
in-progress   failed            P
in-progress   cancelled         P A H
on-hold       in-progress       P
on-hold       completed         P
on-hold       failed            P
on-hold       cancelled         P A H
draft         entered-in-error  A H
requested     entered-in-error  A H
accepted      entered-in-error  A H
rejected      entered-in-error  A H
in-progress   entered-in-error  A H
on-hold       entered-in-error  A H
completed     entered-in-error  A H
failed        entered-in-error  A H
cancelled     entered-in-error  A H
"""

REASONS = """
no-capacity               P
not-eligible              P
out-of-area               P
service-closed            P
missing-information       P
could-not-contact         P
client-declined           P A
client-no-show            P
client-in-employment      P A
client-in-training        P A
duplicate                 P A
already-served-elsewhere  P A
referred-onward           P
agreement-withdrawn       A H
no-response               H
sent-in-error             A
superseded                H
other                     P A
"""

LETTERS = {"P": "partner", "A": "adviser", "H": "hub"}
STATES = (
    "draft", "requested", "accepted", "rejected", "in-progress", "on-hold", "completed",
    "failed", "cancelled", "entered-in-error",
)  # fmt: skip


def facts(table: str, names: int) -> dict[tuple[str, ...], set[str]]:
    """Each line's names → its authors."""
    lines = [line.split() for line in table.strip().splitlines()]
    return {tuple(w[:names]): {LETTERS[letter] for letter in w[names:]} for w in lines}


ALLOWED_FACTS = facts(ALLOWED, 2)
REASON_FACTS = facts(REASONS, 1)


def test_states_are_those_written_here() -> None:
    assert tuple(state.value for state in ReferralStatus) == STATES
    assert {author.value for author in Author} == set(LETTERS.values())


@pytest.mark.parametrize("author", Author)
@pytest.mark.parametrize("after", STATES)
@pytest.mark.parametrize("before", STATES)
def test_transition_is_as_written(before: str, after: str, author: Author) -> None:
    pair = ReferralStatus(before), ReferralStatus(after)
    written = author.value in ALLOWED_FACTS.get((before, after), set())
    assert (author in TRANSITIONS.get(pair, frozenset())) is written


@pytest.mark.parametrize("author", Author)
@pytest.mark.parametrize("reason", Reason)
def test_reason_belongs_to_whom_it_is_written_for(reason: Reason, author: Author) -> None:
    assert (author in AUTHOR_OF_REASON[reason]) is (author.value in REASON_FACTS[reason.value,])


def test_no_reason_is_forgotten() -> None:
    assert {reason.value for reason in Reason} == {name for (name,) in REASON_FACTS}


@pytest.mark.parametrize("state", ["rejected", "cancelled", "completed", "failed"])
def test_final_state_leads_to_correction_only(state: str) -> None:
    onward = {after for before, after in TRANSITIONS if before == state}
    assert onward == {ReferralStatus.ENTERED_IN_ERROR}


def test_nothing_leaves_entered_in_error() -> None:
    assert not [pair for pair in TRANSITIONS if pair[0] == "entered-in-error"]


def test_partner_never_drafts_requests_or_corrects() -> None:
    set_by_partner = {after for (_, after), by in TRANSITIONS.items() if Author.PARTNER in by}
    assert set_by_partner.isdisjoint({"draft", "requested", "entered-in-error"})


def test_hub_never_answers_for_a_partner() -> None:
    set_by_hub = {after.value for (_, after), by in TRANSITIONS.items() if Author.HUB in by}
    assert set_by_hub == {"requested", "cancelled", "entered-in-error"}


def test_only_other_needs_a_comment() -> None:
    assert {"other"} == COMMENT_REQUIRED


def test_what_stops_work_needs_a_reason() -> None:
    assert {"rejected", "on-hold", "failed", "cancelled"} == NEEDS_REASON


def test_every_state_after_requested_has_its_event() -> None:
    assert set(EVENT_OF_STATUS) == set(STATES) - {"draft", "requested"}
    assert len(set(EVENT_OF_STATUS.values())) == len(EVENT_OF_STATUS)


def test_business_statuses_are_those_written_here() -> None:
    assert {status.value for status in BusinessStatus} == {
        "sent", "delivered", "received", "info-requested", "appointment-scheduled", "no-show",
        "excused", "appointment-cancelled", "waitlisted", "needs-client-action",
        "could-not-contact", "under-study", "commission-scheduled", "enrolled",
        "cancellation-requested",
    }  # fmt: skip


def test_states_read_in_french_as_elsewhere_in_the_field() -> None:
    assert {state.value: label for state, label in REFERRAL_LABELS.items()} == {
        "draft": "Proposée",
        "requested": "Ouverte",
        "accepted": "Validée",
        "rejected": "Refusée",
        "in-progress": "Démarrée",
        "on-hold": "En attente",
        "completed": "Terminée",
        "failed": "Interrompue",
        "cancelled": "Annulée",
        "entered-in-error": "Saisie par erreur",
    }
