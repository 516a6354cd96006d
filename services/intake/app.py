"""The intake service, wired."""

from infra.groupcommit import GroupCommit
from infra.platform import Platform
from infra.sources.postgres import PostgresSource
from infra.subscription import Subscription
from infra.web.app import Service, Worker, create_app
from services.intake.handlers.arrivals import Arrival, Gate, Intake, Outcome
from services.intake.handlers.persons import Persons
from services.intake.routes.events import add_routes
from services.intake.routes.persons import router
from services.intake.subscriptions import PublicRecords


def build(platform: Platform) -> Service:
    """Contacts, persons, needs and agreements, from CloudEvents."""
    settings, database = platform.settings, platform.database("intake")
    master = platform.vault.master
    gate = Gate(master, platform.requesters)
    intake = Intake(database, platform.writer("intake"), platform.clock)
    group: GroupCommit[Arrival, Outcome] = GroupCommit("events", intake.commit)
    workers: list[Worker] = [group]
    if settings.kafka_bootstrap:
        from infra.sources.kafka import public_source

        records = PublicRecords(gate, intake, master, platform.clock)
        source = public_source(settings, "intake.public")
        workers.append(
            Subscription(
                "public",
                database,
                source,
                records.handle,
                batch_size=settings.batch_size,
                poll_seconds=settings.poll_seconds,
                max_parked_share=settings.max_parked_share,
            )
        )
    persons = Persons(database, platform.writer("intake"), platform.clock)
    own = PostgresSource(database, "intake")
    workers.append(
        platform.subscription("persons", database, "intake", persons.on_own_events, own)
    )
    app = create_app("Aiguillage: intake", "Takes what municipal systems emit.")
    add_routes(app, gate, group)
    app.include_router(router(persons))
    return Service(
        "intake",
        app,
        database,
        workers,
        stuck_seconds=settings.stuck_seconds,
        stop_seconds=settings.stop_seconds,
    )
