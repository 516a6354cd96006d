"""Why the audit service refuses something, besides what every service may say."""

from infra.web.problems import Problem


class LogDamaged(Problem):
    """Rows of the audit log are missing."""

    status, slug, title = 500, "log-damaged", "Rows of the log are missing"
