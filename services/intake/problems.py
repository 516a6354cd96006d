"""Problems of the intake, besides those that every service may answer with."""

from infra.web.problems import Problem


class SourceNotAllowed(Problem):
    """The key may not speak for the event's ``source``."""

    status, slug, title = 403, "source-not-allowed", "The key may not speak for this source"


class DuplicateId(Problem):
    """The source used this id before, for an event with other content."""

    status, slug = 409, "duplicate-id"
    title = "An event of this source and id came before, with other content"


class MergeRefused(Problem):
    """The persons cannot be merged so, or the merge cannot be taken back."""

    status, slug, title = 409, "merge-refused", "The persons cannot be merged so"


class TooManyEvents(Problem):
    """A batch holds more events than are taken at once."""

    status, slug, title = 413, "too-many-events", "There are too many events in the batch"


class UnknownType(Problem):
    """Nobody knows this type of event."""

    status, slug, title = 422, "unknown-type", "Nobody knows this type of event"


class UnknownPerson(Problem):
    """There is no such person whom the system brought, or was told of."""

    status, slug, title = 422, "unknown-person", "No such person"


class UnknownAgreement(Problem):
    """The person never gave the agreement that is withdrawn."""

    status, slug, title = 422, "unknown-agreement", "The person never gave this agreement"
