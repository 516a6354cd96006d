"""JSON for advisers: ``cases``, the ``worklist``; ``rules`` and explanations."""

from fastapi import APIRouter

from infra.postgres.database import Database
from services.referrals.handlers.advisers import AdviserCommands
from services.referrals.routes import cases, rules, worklist


def router(database: Database, advisers: AdviserCommands) -> APIRouter:
    """The routes, on one service's database."""
    routes = APIRouter(prefix="/v1", tags=["referrals"])
    cases.add_reading(routes, database, advisers)
    cases.add_referrals(routes, database, advisers)
    cases.add_appointments(routes, database, advisers)
    cases.add_decisions(routes, database, advisers)
    rules.add(routes, database, advisers)
    worklist.add(routes, database, advisers.reactions.clock)
    return routes
