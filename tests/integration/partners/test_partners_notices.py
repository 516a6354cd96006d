"""Who learns that an address is disabled."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from infra.messaging.subscription import Subscription
from tests.support.mailbox import Mailbox, mailbox
from tests.support.partners import PARTNER, Hub, Sink, platform_at, register
from tests.support.postgres import Databases

OPERATOR, COURRIEL = "operateur@ville.example", "contact@mission-locale.example"


@pytest.fixture
async def box() -> AsyncIterator[Mailbox]:
    async with mailbox() as box:
        yield box


@pytest.fixture
async def told(databases: Databases, box: Mailbox) -> AsyncIterator[Hub]:
    """A hub that mails, and a partner whose structure has a mailbox."""
    hub = Hub(platform_at(databases, smtp_url=box.url, operator_mail=OPERATOR))
    await hub.prepare()
    async with hub.database.transaction() as tx:
        await tx.execute(
            "UPDATE partners SET structure = (structure::jsonb || $2::text::jsonb)::json "
            "WHERE partner_id = $1",
            PARTNER, f'{{"courriel": "{COURRIEL}"}}',
        )  # fmt: skip
    yield hub
    await hub.close()
    await hub.platform.close()


async def all_of(subscription: Subscription[Any]) -> None:
    while await subscription.step():
        pass


async def gone(hub: Hub, sink: Sink) -> None:
    await register(hub, sink.url)
    await hub.refer()
    await hub.hear()
    sink.replies = [web.Response(status=410)]
    await hub.turn()


async def test_operator_and_partner_are_told_why_and_what_to_do(
    told: Hub, box: Mailbox, sink: Sink
):
    await gone(told, sink)
    await told.hear("notices")
    assert box.recipients == [OPERATOR, COURRIEL]
    assert "n'existe plus" in box.text()
    assert "enregistrer une adresse" in box.text()
    assert sink.url not in box.text()


async def test_notice_is_sent_once(told: Hub, box: Mailbox, sink: Sink):
    await gone(told, sink)
    await told.hear("notices")
    await told.hear("notices")
    assert len(box.messages) == 2


async def test_address_that_was_replaced_is_no_news(told: Hub, box: Mailbox, sink: Sink):
    await register(told, sink.url)
    await register(told, sink.url)
    await told.hear("notices")
    assert box.messages == []


async def test_mailbox_that_is_refused_holds_up_no_other(told: Hub, box: Mailbox, sink: Sink):
    box.refused[OPERATOR] = "550 no such user"
    await gone(told, sink)
    await told.hear("notices")
    assert box.recipients == [COURRIEL]


async def test_mail_server_that_is_busy_is_tried_again_later(
    told: Hub, box: Mailbox, sink: Sink
):
    box.refused[OPERATOR] = "451 try later"
    await gone(told, sink)
    subscription = told._subscription("notices")
    await subscription.source.start(subscription)
    with pytest.raises(OSError, match="mailbox-busy"):
        await all_of(subscription)
    await subscription.source.stop()
    assert box.messages == []
    box.refused.clear()
    await told.hear("notices")
    assert box.recipients == [OPERATOR, COURRIEL]
