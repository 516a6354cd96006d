"""Problems of the referral service, besides those of every service."""

from infra.web.problems import Problem


class AlreadyTried(Problem):
    """The service was asked before in this case: no service is asked twice."""

    status, slug, title = 409, "already-tried", "The service was asked before in this case"


class AppointmentRefused(Problem):
    """The referral can have no appointment now, or has none to say anything of."""

    status, slug, title = 409, "appointment-refused", "This appointment cannot be"


class CaseClosed(Problem):
    """The case has ended: nothing more is decided in it."""

    status, slug, title = 409, "case-closed", "The case has ended"


class StaleProposal(Problem):
    """The case has a newer proposal: that one is confirmed, changed or refused."""

    status, slug = 409, "stale-proposal"
    title = "The case has a newer proposal: look again"
