"""Why the partner service refuses something, besides what every service may say."""

from infra.web.problems import Problem


class SignatureInvalid(Problem):
    """The signature does not fit; the same for a referral that is not the partner's."""

    status, slug, title = 401, "signature-invalid", "The signature is not valid"


class TimestampStale(Problem):
    """The message was signed too long ago, or in the future."""

    status, slug, title = 401, "timestamp-stale", "The message was signed too long ago"


class NoCredentials(Problem):
    """Nobody registered how France Travail knows the desk."""

    status, slug = 404, "no-credentials"
    title = "No credentials of France Travail are registered"


class CommissionNotMet(Problem):
    """The service takes people only once a commission has met."""

    status, slug, title = 409, "commission-not-met", "The commission has not met yet"


class DuplicateId(Problem):
    """The ``webhook-id`` was used before, for another message."""

    status, slug = 409, "duplicate-id"
    title = "This webhook-id was used for another message"


class DeliveryPending(Problem):
    """The message waits to be sent, or is on its way: there is nothing to send again."""

    status, slug, title = 409, "delivery-pending", "The message is on its way already"


class NoMailbox(Problem):
    """No link can be mailed: no mail server, or no mailbox of the service, is known."""

    status, slug, title = 409, "no-mailbox", "No link can be mailed"


class NotByHand(Problem):
    """The message is not to be handed over by an adviser, or not any more."""

    status, slug = 409, "not-by-hand"
    title = "The message is not to be handed over (any more)"


class StateChanged(Problem):
    """The referral has left the state that the answer says it answers to."""

    status, slug = 409, "state-changed"
    title = "The referral is no longer in the state that you saw"


class TooManySecrets(Problem):
    """So many old secrets of the address still count that no other is made beside them."""

    status, slug, title = 409, "too-many-secrets", "Too many old secrets count"


class Erased(Problem):
    """The person asked to be forgotten: the answer is not kept."""

    status, slug, title = 410, "erased", "The person asked to be forgotten"


class ImportRefused(Problem):
    """Nothing of the directory was imported: ``detail`` says why."""

    status, slug, title = 422, "import-refused", "Nothing was imported"


class ReasonNotYours(Problem):
    """The reason is one that only an adviser or the hub may give."""

    status, slug, title = 422, "reason-not-yours", "The reason is not one that a partner gives"


class TooManySearches(Problem):
    """There are as many searches of offers already as France Travail, or the hub, takes."""

    status, slug, title = 429, "too-many-searches", "Search again in a moment"


class MailedLately(Problem):
    """A link was mailed to the service within the hour: no other is mailed now."""

    status, slug, title = 429, "mailed-lately", "A link was mailed there within the hour"


class FranceTravailRefuses(Problem):
    """France Travail does not take the desk's credentials, or what is asked."""

    status, slug = 502, "france-travail-refuses"
    title = "France Travail refuses our credentials, or what we ask"


class FranceTravailAway(Problem):
    """France Travail does not answer just now, or not as it should."""

    status, slug = 503, "france-travail-away"
    title = "France Travail does not answer just now"
