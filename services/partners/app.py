"""The partner service, wired."""

from urllib.parse import urlsplit

from infra.platform import Platform
from infra.settings import Settings
from infra.ticker import Ticker
from infra.web.app import Service, create_app
from infra.webhooks.guard import Guard, parse_networks
from infra.webhooks.sender import Sender
from infra.webhooks.worker import DeliveryWorker
from services.partners.handlers.answers import Answers
from services.partners.handlers.directory import Capacity
from services.partners.handlers.endpoints import Endpoints
from services.partners.handlers.messages import Messages
from services.partners.handlers.outbox import Outbox
from services.partners.handlers.redelivery import Redelivery
from services.partners.handlers.verification import Verification
from services.partners.model.delivery import RetrySchedule
from services.partners.routes import ANSWERS, add_answers, partner_router, router
from services.partners.subscriptions import subscriptions

DRAIN_SHARE = 0.6
"""Of the orderly stop's time, how much sends under way may take."""


def build(platform: Platform) -> Service:
    """Directory, endpoints, deliveries and answers."""
    settings, clock = platform.settings, platform.clock
    database, writer = platform.database("partners"), platform.writer("partners")
    guard = Guard(parse_networks(settings.delivery_allowed_networks))
    schedule = RetrySchedule.parse(settings.delivery_schedule)
    answers = answer_url(settings)
    prover = Sender(guard, clock=clock)
    verification = Verification(
        database, writer, prover, clock, urlsplit(answers).hostname or ""
    )
    worker = DeliveryWorker(
        "sender",
        Outbox(database, writer, clock, schedule, answers),
        Sender(guard, clock=clock),
        database.schema,
        poll_seconds=settings.poll_seconds,
        drain_seconds=settings.stop_seconds * DRAIN_SHARE,
    )
    app = create_app("Aiguillage: partners", "Directory, deliveries, partners' answers.")
    app.include_router(
        router(
            database,
            Endpoints(database, writer, guard, clock),
            Capacity(database, writer, clock),
            Redelivery(database, writer, clock),
            verification,
        )
    )
    app.include_router(
        partner_router(
            database,
            Endpoints(database, writer, guard, clock),
            verification,
            Messages(database, writer, clock, answers),
        )
    )
    add_answers(app, Answers(database, writer, clock))
    return Service(
        "partners",
        app,
        database,
        [
            *subscriptions(platform, database, writer),
            worker,
            Ticker("verification", verification.step, settings.poll_seconds, prover.close),
        ],
        stuck_seconds=settings.stuck_seconds,
        stop_seconds=settings.stop_seconds,
    )


def answer_url(settings: Settings) -> str:
    """Where partners send their answers: under the address that they reach us by."""
    base = settings.public_url or f"http://{settings.host}:{settings.port}"
    return base.rstrip("/") + ANSWERS
