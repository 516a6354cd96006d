"""What a body says where a status would mislead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.delivery.webhook.replies import says_failed, says_gone_already


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        (b'{"success": false}', True),
        (b'{"ok": false}', True),
        (b'{"error": "no such person"}', True),
        (b'{"error": {"code": 12}}', True),
        (b'{"errors": ["name"]}', True),
        (b' {"status": "ERROR"}', True),
        (b'{"status": "ko"}', True),
        (b'{"success": true, "error": null, "errors": []}', False),
        (b'{"error": false}', False),
        (b'{"status": "ok"}', False),
        (b'{"status": "received", "id": 7}', False),
        (b'{"status": 7}', False),
        (b'{"success": "false"}', False),
        (b'["error"]', False),
        (b"error", False),
        (b"", False),
        (b'{"error": "cut sho', False),
        (b"{" * 5000, False),
    ],
)
def test_only_a_json_object_that_says_so_has_failed(body: bytes, failed: bool):
    assert says_failed(body) is failed


@pytest.mark.parametrize(
    ("status", "body", "gone"),
    [
        (409, "Demande déjà clôturée".encode(), True),
        (404, "déjà supprimé".encode(), True),
        (422, rb'{"message": "Rendez-vous d\u00e9j\u00e0 annul\u00e9"}', True),
        (400, b"This referral has already been closed", True),
        (404, b"ALREADY DELETED", True),
        (404, b"Not Found", False),
        (409, b"Conflict", False),
        (410, "déjà supprimé".encode(), False),
        (500, "déjà clos".encode(), False),
        (409, b"you closed the door already", False),
    ],
)
def test_words_and_status_together_say_that_it_has_ended(status: int, body: bytes, gone: bool):
    assert says_gone_already(status, body) is gone


@given(st.binary(max_size=200), st.sampled_from([200, 404, 409]))
def test_no_body_is_more_than_it_can_read(body: bytes, status: int):
    says_failed(body)
    says_gone_already(status, body)
