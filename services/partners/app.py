"""The partner service, wired."""

from urllib.parse import urlsplit

from infra.base.clock import Clock
from infra.base.settings import Settings
from infra.delivery.mail import MailSender
from infra.delivery.sftp import SftpSender
from infra.delivery.ssrf_guard import Guard, parse_networks
from infra.delivery.worker import DeliveryWorker
from infra.platform import Platform
from infra.web.app import Service, create_app
from infra.web.bodies import Body
from infra.web.server import url_of
from infra.workers.periodic import PeriodicTask
from services.partners.adapters.france_travail import Desk
from services.partners.adapters.france_travail_clients import Clients
from services.partners.channels.base import ChannelContext
from services.partners.channels.registry import Channels
from services.partners.handlers.answers import Answers
from services.partners.handlers.capacity import Capacity, CapacityLinks
from services.partners.handlers.compose import SenderProfile
from services.partners.handlers.delivery_queue import DeliveryQueue
from services.partners.handlers.endpoints import Endpoints
from services.partners.handlers.files import Files
from services.partners.handlers.imports import Importer
from services.partners.handlers.links import Links
from services.partners.handlers.manual import Manual
from services.partners.handlers.message_feed import MessageFeed
from services.partners.handlers.offers import OfferSearches
from services.partners.handlers.redelivery import Redelivery
from services.partners.handlers.tokens import ANSWER_PAGE, CAPACITY_PAGE
from services.partners.handlers.verification import Verification
from services.partners.model.delivery import RetrySchedule
from services.partners.pages.answers import add_answer_pages
from services.partners.pages.capacity import add_capacity_pages
from services.partners.pages.magic_links import FORMS
from services.partners.projections import READ_TABLES
from services.partners.routes.admin import router
from services.partners.routes.answers import ANSWERS, add_answers
from services.partners.routes.directory import IMPORT
from services.partners.routes.offers import offers_router
from services.partners.routes.partner import partner_router
from services.partners.subscriptions import notices, subscriptions

BODIES = {
    ANSWERS: Body(open=True),  # signed
    ANSWER_PAGE: FORMS,
    CAPACITY_PAGE: FORMS,
    **IMPORT,
}
DRAIN_SHARE = 0.6
"""Of the orderly stop's time, how much sends under way may take."""


def build(platform: Platform) -> Service:
    """Directory, endpoints, deliveries and answers."""
    settings, clock = platform.settings, platform.clock
    database, writer = platform.database("partners"), platform.writer("partners")
    schedule = RetrySchedule.parse(settings.delivery_schedule)
    answers = answer_url(settings)
    context = channel_context(settings, clock)
    mail, clients, channels = context.mail, context.clients, Channels(context)
    verification = Verification(database, writer, channels, clock)
    letterhead = SenderProfile(
        answers.removesuffix(ANSWERS), answers, settings.link_days, platform.requesters
    )
    worker = DeliveryWorker(
        "sender",
        DeliveryQueue(database, writer, clock, schedule, profile=letterhead, channels=channels),
        channels,
        database.schema,
        poll_seconds=settings.poll_seconds,
        drain_seconds=settings.stop_seconds * DRAIN_SHARE,
    )
    endpoints = Endpoints(database, writer, clock, channels)
    capacity = Capacity(database, writer, clock)
    capacity_links = CapacityLinks(capacity, letterhead, mail)
    app = create_app(
        "Aiguillage: partners", "Directory, deliveries, partners' answers.", clock, BODIES
    )
    app.include_router(
        router(
            database=database,
            endpoints=endpoints,
            capacity=capacity,
            capacity_links=capacity_links,
            redelivery=Redelivery(database, writer, clock),
            verification=verification,
            importer=Importer(database, writer),
            manual=Manual(database, writer, clock, letterhead),
        )
    )
    app.include_router(
        partner_router(
            database=database,
            endpoints=endpoints,
            verification=verification,
            messages=MessageFeed(database, writer, clock, letterhead),
            capacity=capacity,
            capacity_links=capacity_links,
        )
    )
    searches = OfferSearches(database, writer.vault.master, clients, clock)
    app.include_router(offers_router(searches))
    taking = Answers(database, writer, clock)
    add_answers(app, taking)
    collecting = Files(database, writer, taking, SftpSender(context.guard), clock)
    links = Links(
        database=database,
        writer=writer,
        answers=taking,
        clock=clock,
        letterhead=letterhead,
        mail=mail,
    )
    add_answer_pages(app, links)
    add_capacity_pages(app, capacity_links)
    return Service(
        "partners",
        app,
        database,
        [
            *subscriptions(platform, database, writer),
            *([notices(platform, database, mail)] if mail else []),
            worker,
            PeriodicTask("verification", verification.step, settings.poll_seconds),
            PeriodicTask("files", collecting.step, settings.collect_seconds),
            READ_TABLES.nightly(database, writer.vault, clock, settings.reconcile_hour),
        ],
        stuck_seconds=settings.stuck_seconds,
        stop_seconds=settings.stop_seconds,
        on_close=[channels.close_all],
    )


def channel_context(settings: Settings, clock: Clock) -> ChannelContext:
    """Return what channels are built with, as the settings say."""
    guard = Guard(parse_networks(settings.delivery_allowed_networks))
    return ChannelContext(
        settings=settings,
        guard=guard,
        clock=clock,
        origin=urlsplit(answer_url(settings)).hostname or "",
        mail=MailSender(settings.smtp_url, settings.mail_from, clock=clock)
        if settings.smtp_url
        else None,
        clients=Clients(guard, desk_of(settings), clock),
    )


def desk_of(settings: Settings) -> Desk | None:
    """Return the desk as France Travail shows it; none without an address."""
    if not settings.desk_address:
        return None
    return Desk(
        settings.desk_name,
        settings.desk_address,
        settings.desk_email,
        settings.desk_phone,
        settings.desk_structure,
    )


def answer_url(settings: Settings) -> str:
    """Return the address for partners' answers: under the one that they reach us by."""
    base = settings.public_url or url_of(settings.host, settings.port)
    return base.rstrip("/") + ANSWERS
