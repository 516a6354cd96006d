"""Which addresses and URLs deliveries may reach."""

import ipaddress
import socket

import pytest

from infra.delivery.ssrf_guard import (
    BlockedTargetError,
    Guard,
    UnsafeUrlError,
    parse_networks,
    parse_url,
)

STRICT = Guard()
LOOPBACK = Guard(parse_networks("127.0.0.0/8, ::1/128"))

BLOCKED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.8", "192.0.2.1",
    "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0:7f00:1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1",
    "2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1",
    "ff02::1", "::5efe:7f00:1",
]  # fmt: skip
OPEN = [
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "192.0.1.1", "100.128.0.1",
    "::ffff:8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4007:80e::200e",
]  # fmt: skip


@pytest.mark.parametrize("address", BLOCKED)
def test_address_that_leads_inside_is_blocked(address: str):
    assert not STRICT.allows(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", OPEN)
def test_public_address_is_allowed(address: str):
    assert STRICT.allows(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1", "::1"])
def test_network_opened_on_purpose_is_allowed(address: str):
    assert LOOPBACK.allows(ipaddress.ip_address(address))


def test_opening_one_network_opens_no_other():
    assert not LOOPBACK.allows(ipaddress.ip_address("10.0.0.1"))
    assert not LOOPBACK.opened(ipaddress.ip_address("8.8.8.8"))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1%eth0"])
def test_dial_to_a_blocked_address_opens_no_socket(address: str):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(BlockedTargetError) as caught:
        STRICT.dial((family, socket.SOCK_STREAM, 6, "", (address, 443)))
    assert "127" not in str(caught.value)


def test_plain_dial_reaches_only_opened_networks():
    with pytest.raises(BlockedTargetError):
        LOOPBACK.dial_plain((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80)))
    LOOPBACK.dial_plain((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))).close()


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "/path", "ftp://example.org/", "file:///etc/passwd", "https://",
        "https:///x", "javascript:alert(1)", "https://user@example.org/",
        "https://user:word@example.org/", "https://example.org/#part", "https://exa mple.org/",
        "https://example.org\\@evil.org/", "https://example.org:99999/", "https://[::1/",
        "https://exämple.org/", "https://example.org/\n", "https://example.org/" + "x" * 2000,
    ],
)  # fmt: skip
def test_url_that_is_malformed_or_hides_something_is_refused(url: str):
    with pytest.raises(UnsafeUrlError):
        parse_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest", "https://localhost/", "https://localhost./",
        "https://0x7f000001/", "https://2130706433/", "https://0177.0.0.1/", "https://127.1/",
        "https://10.0.0.1:8443/", "http://127.0.0.1/",
    ],
)  # fmt: skip
async def test_url_that_leads_inside_is_refused_in_every_notation(url: str):
    with pytest.raises(UnsafeUrlError):
        await STRICT.check(url)


async def test_refusal_names_neither_the_address_nor_the_host():
    with pytest.raises(UnsafeUrlError) as caught:
        await STRICT.check("https://10.20.30.40/secret-path")
    assert "10.20" not in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_plain_http_is_only_for_opened_networks():
    await LOOPBACK.check("http://127.0.0.1:1234/")
    with pytest.raises(UnsafeUrlError, match="use https"):
        await LOOPBACK.check("http://8.8.8.8/")
    await LOOPBACK.check("https://8.8.8.8/")


@pytest.mark.parametrize("port", [22, 25, 1023])
async def test_ports_of_other_services_are_refused(port: int):
    with pytest.raises(UnsafeUrlError, match="port"):
        await STRICT.check(f"https://8.8.8.8:{port}/")


async def test_name_that_does_not_resolve_is_refused():
    with pytest.raises(UnsafeUrlError, match="resolved"):
        await STRICT.check("https://no-such-host.invalid/")


def test_networks_that_are_malformed_are_refused():
    with pytest.raises(ValueError, match="does not appear"):
        parse_networks("127.0.0.0/8,inside")
