"""Identifiers: time-ordered for events, derived from their cause for everything else."""

from uuid import UUID, uuid4, uuid5

from uuid_utils.compat import uuid7

__all__ = ["derived_id", "new_contact_id", "new_event_id", "new_person_id"]


def new_event_id() -> UUID:
    """A UUIDv7: rises with time, so indexes stay compact."""
    return uuid7()


def new_person_id() -> UUID:
    """A random UUID: says nothing about the person, not even when they came."""
    return uuid4()


def new_contact_id() -> UUID:
    """A random UUID: derived from what came, it would lead from there to the person."""
    return uuid4()


def derived_id(cause: UUID, name: str) -> UUID:
    """The id of what ``cause`` created under ``name``: a repeated handler finds it again."""
    return uuid5(cause, name)
