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
"""How often the calendar is looked at: deadlines are days."""
RULES_SECONDS = 60.0
"""How often the directory's kinds are compared with the rules in force."""


def build(platform: Platform) -> Service:
    """Cases, routing and the referral life cycle."""
    database, hour = platform.database("referrals"), platform.settings.reconcile_hour
    messages = Reactions(platform.writer("referrals"), RuleBook(RULES), platform.clock)
    clock = DeadlineClock(database, messages)
    watch = RuleWatch(database, messages.rulebook)
    app = create_app(
        "Aiguillage: referrals",
        "Cases, proposals and referrals, for advisers.",
        platform.clock,
    )
    app.include_router(router(database, AdviserCommands(messages)))
    return Service(
        "referrals",
        app,
        database,
        [
            *subscriptions(platform, database, messages),
            PeriodicTask("deadlines", clock.step, DEADLINE_SECONDS),
            PeriodicTask("rules", watch.step, RULES_SECONDS),
            READ_TABLES.nightly(database, platform.vault, platform.clock, hour),
        ],
        stuck_seconds=platform.settings.stuck_seconds,
        stop_seconds=platform.settings.stop_seconds,
    )
