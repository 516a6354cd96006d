"""The referral service, wired."""

import hashlib
from pathlib import Path
from typing import Any

import orjson
import zen

from contracts.values import PartnerKind
from infra.platform import Platform
from infra.web.app import Service, create_app
from services.referrals.handlers import Handlers
from services.referrals.model.routing import RuleCondition, Rules
from services.referrals.routes import router
from services.referrals.subscriptions import subscriptions

RULES = Path(__file__).with_name("rules.json")


def build(platform: Platform) -> Service:
    """Cases, routing and the referral life cycle."""
    database = platform.database("referrals")
    handlers = Handlers(platform.writer("referrals"), load_rules(RULES), platform.clock)
    app = create_app("Aiguillage: referrals", "Cases, proposals and referrals, for advisers.")
    app.include_router(router(database, handlers))
    return Service(
        "referrals",
        app,
        database,
        subscriptions(platform, database, handlers),
        stuck_seconds=platform.settings.stuck_seconds,
        stop_seconds=platform.settings.stop_seconds,
    )


def load_rules(path: Path) -> Rules:
    """Read a rule table; its digest is that of the file. Conditions are ZEN expressions."""
    content = path.read_bytes()
    table = orjson.loads(content)
    conditions: dict[PartnerKind, list[RuleCondition]] = {}
    for row in table["conditions"]:
        for kind in row["kinds"]:
            conditions.setdefault(PartnerKind(kind), []).append(_condition(row))
    preference = {PartnerKind(kind): value for kind, value in table["preference"].items()}
    digest = hashlib.sha256(content).hexdigest()
    return Rules(table["name"], digest, conditions, preference)


def _condition(row: dict[str, Any]) -> RuleCondition:
    holds = zen.compile_expression(row["when"]).evaluate
    return RuleCondition(
        row["code"], row["text"], row["question"], tuple(row["needs"]), lambda v: holds(dict(v))
    )
