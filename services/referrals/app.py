"""The referral service, wired."""

from pathlib import Path

from infra.platform import Platform
from infra.web.app import Service, create_app
from infra.workers.periodic import PeriodicTask
from services.referrals.handlers.advisers import AdviserCommands
from services.referrals.handlers.deadlines import DeadlineClock
from services.referrals.handlers.reactions import Reactions
from services.referrals.handlers.rulebook import RuleBook
from services.referrals.handlers.rulewatch import RuleWatch
from services.referrals.projections import READ_TABLES
from services.referrals.routes import router
from services.referrals.subscriptions import subscriptions

RULES = Path(__file__).parent / "rules" / "petite-foret.json"
DEADLINE_SECONDS = 60.0
"""Seconds between two looks at the calendar: deadlines are days."""
RULES_SECONDS = 60.0
"""Seconds between two comparisons of the directory's kinds with the rules in force."""


def build(platform: Platform) -> Service:
    """Cases, routing and the referral life cycle."""
    database, hour = platform.database("referrals"), platform.settings.reconcile_hour
    reactions = Reactions(platform.writer("referrals"), RuleBook(RULES), platform.clock)
    deadlines = DeadlineClock(database, reactions)
    watch = RuleWatch(database, reactions.rulebook)
    app = create_app(
        "Aiguillage: referrals",
        "Cases, proposals and referrals, for advisers.",
        platform.clock,
    )
    app.include_router(router(database, AdviserCommands(reactions)))
    return Service(
        "referrals",
        app,
        database,
        [
            *subscriptions(platform, database, reactions),
            PeriodicTask("deadlines", deadlines.step, DEADLINE_SECONDS),
            PeriodicTask("rules", watch.step, RULES_SECONDS),
            READ_TABLES.nightly(database, platform.vault, platform.clock, hour),
        ],
        stuck_seconds=platform.settings.stuck_seconds,
        stop_seconds=platform.settings.stop_seconds,
    )
