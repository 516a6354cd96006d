"""The intake service, wired."""

from datetime import timedelta

from infra.messaging.kafka_client import public_topic_of
from infra.platform import Platform
from infra.postgres.group_commit import GroupCommit
from infra.web.app import Service, Worker, create_app
from infra.workers.periodic import PeriodicTask
from services.intake.handlers.arrivals import Intake, Outcome
from services.intake.handlers.erasure import Erasing
from services.intake.handlers.inbound import InboundEvent, InboundValidator
from services.intake.handlers.persons import Persons
from services.intake.handlers.reactions import PublicRecords
from services.intake.handlers.refused import Refusals, RefusedRetention
from services.intake.handlers.retention import Retention
from services.intake.handlers.rights import Rights
from services.intake.model.retention import Policy
from services.intake.projections import READ_TABLES
from services.intake.routes import erasure as erasure_routes
from services.intake.routes import persons as person_routes
from services.intake.routes import refused as refused_routes
from services.intake.routes import retention as retention_routes
from services.intake.routes import rights as rights_routes
from services.intake.routes.events import BODIES, add_routes
from services.intake.subscriptions import public_records, subscriptions

RETENTION_SECONDS = 3600.0


def build(platform: Platform) -> Service:
    """Wire the service: contacts, persons, needs and agreements, from CloudEvents."""
    settings, database, clock = platform.settings, platform.database("intake"), platform.clock
    writer = platform.writer("intake")
    validator = InboundValidator(platform.vault.index, platform.requesters, clock)
    intake = Intake(database, writer, clock)
    group: GroupCommit[InboundEvent, Outcome] = GroupCommit("events", intake.commit)
    persons = Persons(database, writer, clock)
    wait = timedelta(seconds=settings.erasure_wait_seconds)
    erasing = Erasing(database, writer, platform.erasures, clock, wait)
    policy = Policy.parse(settings.retention, settings.retention_sites)
    retention = Retention(database, writer, erasing, policy, clock)
    refused = RefusedRetention(database, clock, settings.refused_days)
    workers: list[Worker] = [
        group,
        *subscriptions(platform, database, persons, erasing, retention),
        PeriodicTask("retention", retention.step, settings.retention_seconds),
        PeriodicTask("eraser", erasing.step, settings.erasure_seconds),
        PeriodicTask("refused records", refused.step, RETENTION_SECONDS),
        READ_TABLES.nightly(database, platform.vault, clock, settings.reconcile_hour),
    ]
    if settings.kafka_bootstrap:
        records = PublicRecords(validator, intake, platform.vault.master, clock)
        workers.append(public_records(settings, database, records))
    app = create_app("Aiguillage: intake", "Takes what municipal systems emit.", clock, BODIES)
    add_routes(app, validator, group)
    app.include_router(person_routes.router(persons))
    refusals = Refusals(database, platform.vault.master, platform.vault.index)
    app.include_router(refused_routes.router(refusals, public_topic_of(settings)))
    app.include_router(erasure_routes.router(erasing))
    app.include_router(rights_routes.router(Rights(database, writer, clock)))
    app.include_router(retention_routes.router(retention))
    return Service(
        "intake",
        app,
        database,
        workers,
        stuck_seconds=settings.stuck_seconds,
        stop_seconds=settings.stop_seconds,
    )
